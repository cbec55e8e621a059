"""Writes the results of the claims: tables, pictures, READMEs."""

import pathlib
import sys

from jaxcifar import errors
from jaxcifar.claims import figures, records, tables
from jaxcifar.claims.judge import judge_all
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.errors import UserError
from jaxcifar.run import workdir
from jaxcifar.system import atomic


def write_table(out: pathlib.Path) -> None:
    """Writes the pictures, out/README.md, and the claims table of the README beside `out`.

    A README there that has no place for the table, or cannot be written, is left as it is.
    """
    found = records.read(out, RUNS)
    judged = judge_all(CLAIMS, found)
    atomic.check_writable(out, "--out")
    pictures = figures.draw(out, found, judged)
    workdir.write_text(out / "README.md", tables.page(out, found, judged, pictures))
    print(f"wrote {out / 'README.md'} and {len(pictures)} pictures; {tables.verdicts(judged)}")
    readme = out.resolve().parent / "README.md"
    if readme.exists():
        table = tables.headline_table(judged, found)
        try:
            atomic.replace_between_marks(readme, tables.MARKS, table)
        except (UserError, OSError, UnicodeDecodeError) as error:
            why = errors.first_line(error)
            print(f"no table beside {out}: {why}; it is left as it is", file=sys.stderr)
        else:
            print(f"wrote the table of {readme}")
