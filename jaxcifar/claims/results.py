"""Writes the results of the claims: the READMEs and the charts."""

import pathlib
import sys

from jaxcifar import errors
from jaxcifar.claims import figures, records, tables
from jaxcifar.claims.judge import judge_all
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.errors import UserError
from jaxcifar.system import atomic, output


def write_table(out: pathlib.Path) -> None:
    """Writes the charts, out/README.md, and the claims table in the README beside `out`.

    If that README has no marks for the table, or cannot be written, it is left unchanged.
    """
    found = records.read(out, RUNS)
    judged = judge_all(CLAIMS, found)
    atomic.check_writable(out, "--out")
    with output.busy("drawing the charts"):
        pictures = figures.draw(out, found, judged)
    atomic.write_text(out / "README.md", tables.results_readme(out, found, judged, pictures))
    print(f"wrote {out / 'README.md'} and {len(pictures)} charts; {tables.verdicts(judged)}")
    readme = out.resolve().parent / "README.md"
    if readme.exists():
        table = tables.headline_table(judged)
        try:
            atomic.replace_between_marks(readme, tables.MARKS, table)
        except (UserError, OSError, UnicodeDecodeError) as error:
            why = errors.first_line(error)
            print(f"no table beside {out}: {why}; left unchanged", file=sys.stderr)
        else:
            print(f"wrote the table in {readme}")
