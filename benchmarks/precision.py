"""bfloat16 against float32: the same seeds trained in both, and how much their accuracies differ.

    python benchmarks/precision.py [--seeds=3] [--pages=PAGE,…] [--work=DIR] [--runs_at_once=M]
    python benchmarks/precision.py --table

Each page is a `jaxcifar.sweep` of compute_dtype, kept under DIR, where the same command goes on.
What came of it is written to results/precision.json, and its table into benchmarks/README.md.
"""

import argparse
import json
import pathlib
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package need not be installed

from jaxcifar.claims import (
    records,
    tables,
)
from jaxcifar.config import files
from jaxcifar.errors import UserError
from jaxcifar.launch.grid import Swept, make_grid
from jaxcifar.run import workdir
from jaxcifar.stats import intervals
from jaxcifar.system import atomic
from jaxcifar.system.command import run_command

OUT = ROOT / "results" / "precision.json"
MARKS = (
    "<!-- precision: made by `python benchmarks/precision.py --table` -->",
    "<!-- /precision -->",
)
PAGES = "simple_cnn.py:base,simple_cnn.py:batchnorm,pooled_cnn.py:lr0.005"
DTYPES = "float32", "bfloat16"
Record = dict[str, Any]


def measure(page: str, seeds: int, out: pathlib.Path, words: list[str]) -> list[Record]:
    """Trains a page in both types; returns the end of each run that the sweep has kept.

    Raises:
      UserError: a run failed; `sweep` has said why.
    """
    command = [sys.executable, "-m", "jaxcifar.sweep", f"--config={page}", f"--seeds={seeds}"]
    command += [f"--sweep=compute_dtype={','.join(DTYPES)}", f"--out={out}", *words]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise UserError(f"the sweep of {page} did not end; its reason is above")
    changes = [word for word in words if word.startswith("--config.")]
    grid = make_grid(page, [Swept("compute_dtype", DTYPES)], changes)
    found = records.read(out, grid.runs, grid.config_of)
    return [
        {"page": files.config_name(page), "dtype": dtype}
        | {key: record[key] for key in ("seed", "seconds", "device", "commit", "data")}
        | {key: record["epochs"][-1][key] for key in ("epoch", "test_accuracy", "test_loss")}
        for dtype, of_run in zip(DTYPES, found.values(), strict=True)
        for record in of_run.values()
    ]


def pairs_of(page: str, runs: list[Record]) -> list[tuple[Record, Record]]:
    """Returns the runs of a page by seed, in float32 and in bfloat16."""
    one, two = (
        {run["seed"]: run for run in runs if (run["page"], run["dtype"]) == (page, dtype)}
        for dtype in DTYPES
    )
    return [(one[seed], two[seed]) for seed in sorted(one.keys() & two.keys())]


def table(runs: list[Record]) -> str:
    """Returns the Markdown table: a row for each page, and one for all of them together."""
    pages = {run["page"]: pairs_of(run["page"], runs) for run in runs}
    differences = {
        page: [two["test_accuracy"] - one["test_accuracy"] for one, two in pairs]
        for page, pairs in pages.items()
    }
    spread = intervals.pool(differences.values())
    if spread is None:
        raise UserError("the table needs two seeds of a net, in both types: --seeds=2")

    def interval(values: list[float]) -> str:
        mean, half = intervals.mean_std(values)[0], intervals.mean_half_width(spread, len(values))
        return f"{mean:+.4f} ± {half:.4f}"

    rows = [
        "| net | n | float32 | bfloat16 | bfloat16 − float32, 95 % interval | minutes a run |",
        "|---|---|---|---|---|---|",
    ]
    for page, pairs in pages.items():
        sides = list(zip(*pairs, strict=True))
        accuracies = [tables.spread([run["test_accuracy"] for run in side]) for side in sides]
        minutes = [intervals.mean_std([run["seconds"] / 60 for run in side])[0] for side in sides]
        rows.append(
            f"| {page} | {len(pairs)} | {' | '.join(accuracies)} | {interval(differences[page])} |"
            f" {minutes[0]:.1f}, {minutes[1]:.1f} |"
        )
    every = [one for of_page in differences.values() for one in of_page]
    rows.append(f"| all | {len(every)} | | | {interval(every)} | |")
    first, commits = runs[0], dict.fromkeys(run["commit"][:7] for run in runs)
    return "\n".join(rows) + (
        f"\n\nThe spread of the differences is pooled over the nets: {spread.std:.4f},"
        f" {spread.dof} degrees of freedom. {first['data']['source']}, {first['epoch']} epochs,"
        f" accuracy on the test images after the last; {first['device']}; commit"
        f" {', '.join(commits)}."
    )


def main() -> None:
    """Runs the command; other words go to `sweep`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N−1")
    parser.add_argument("--pages", default=PAGES, metavar="PAGE,…", help="of configs/")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "checkpoints" / "precision")
    parser.add_argument("--table", action="store_true", help="only: write the README's table")
    options, words = parser.parse_known_args()
    if not options.table:
        runs = []
        for page in options.pages.split(","):
            out = options.work.resolve() / files.config_name(page)
            runs += measure(str(ROOT / "configs" / page), options.seeds, out, words)
            workdir.write_text(OUT, json.dumps(runs, indent=1) + "\n")
    runs = json.loads(OUT.read_text())
    atomic.replace_between_marks(ROOT / "benchmarks" / "README.md", MARKS, table(runs))
    print(table(runs))


if __name__ == "__main__":
    run_command(main)
