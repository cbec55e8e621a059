"""Trains a page once for every choice of some of its values, and shows which is best.

python -m jaxcifar.sweep --config=PAGE[:VARIANT] --sweep=KEY=V1,V2,… [--seeds=N] --out=DIR
"""

from jaxcifar import errors

if __name__ == "__main__":
    errors.leave_on_interrupt()  # what follows takes seconds to import

import itertools
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxcifar import files, jobs, overrides
from jaxcifar.claims import records
from jaxcifar.claims.claim import column, diverged
from jaxcifar.claims.intervals import Spread, mean_std, of_mean
from jaxcifar.claims.records import Record, Records
from jaxcifar.claims.tables import spread
from jaxcifar.errors import UserError
from jaxcifar.run import plots, selection, workdir

ASSUMED_MINUTES = 5.0  # of a run, until one has been


class Swept(NamedTuple):
    """A key of the config, and the texts of the values that it is to have."""

    key: str
    values: tuple[str, ...]


class Grid(NamedTuple):
    """The runs of a sweep: their names, and the words that make each of the page."""

    page: str
    swept: tuple[Swept, ...]
    runs: Mapping[str, tuple[str, ...]]

    def config_of(self, run: str, seed: int) -> ConfigDict:
        """Returns the config of a run with a seed."""
        return overrides.load(self.page, [*self.runs[run], f"--config.seed={seed}"])


def read_swept(text: str) -> Swept:
    """Returns "KEY=V1,V2,…" read; a comma inside brackets does not part values."""
    key, _, listed = text.partition("=")
    values = tuple(part.strip() for part in re.split(r",(?![^(\[]*[)\]])", listed))
    key = key.strip().removeprefix("config.")
    if not key or not all(values):
        raise UserError(f"--sweep={text}; expected KEY=V1,V2,… with a value between the commas")
    if len(set(values)) < len(values):
        raise UserError(f"--sweep={text} has a value twice")
    if key == "seed":
        raise UserError("--sweep=seed: the seeds are 0 to N−1 of --seeds=N")
    return Swept(key, values)


def make_grid(page: str, swept: Sequence[Swept], words: Sequence[str]) -> Grid:
    """Returns every combination of the values; each of their configs is checked.

    Raises:
      UserError: a key is swept twice or unknown, or a value is none for it.
    """
    if len({one.key for one in swept}) < len(swept):
        raise UserError("--sweep: a key is swept twice")
    runs = {}
    for values in itertools.product(*(one.values for one in swept)):
        pairs = [f"{one.key}={value}" for one, value in zip(swept, values, strict=True)]
        name = ",".join(re.sub(r"[^\w.=+-]", "_", pair) for pair in pairs)
        runs[name] = (*words, *(f"--config.{pair}" for pair in pairs))
    grid = Grid(page, tuple(swept), runs)
    for run in runs:
        grid.config_of(run, 0)
    return grid


def plan(grid: Grid, seeds: int, cores: int, found: Records) -> list[jobs.Job]:
    """Returns the runs that are missing, seed by seed, so that an early look compares all."""
    minutes = [record["seconds"] / 60 for of_run in found.values() for record in of_run.values()]
    expected = mean_std(minutes)[0] if minutes else ASSUMED_MINUTES
    return [
        jobs.Job(run, seed, expected, cores, grid.config_of(run, seed))
        for seed in range(seeds)
        for run in grid.runs
        if seed not in found[run]
    ]


def split_of(record: Record) -> str:
    """Returns the split that runs are compared on: validation, or test where there is none."""
    return selection.split(record["epochs"][-1])


def last(record: Record) -> float:
    """Returns the accuracy after the last epoch."""
    return column(record, f"{split_of(record)}_accuracy")[-1]


def best(record: Record) -> float:
    """Returns the accuracy of the best epoch."""
    return max(column(record, f"{split_of(record)}_accuracy"))


def table(found: Records) -> str:
    """Returns the Markdown table of the runs, the best mean accuracy after the last epoch first."""
    done = {run: list(seeds.values()) for run, seeds in found.items() if seeds}
    split = split_of(next(iter(done.values()))[0]) if done else "test"
    rows = [
        f"| run | n | {split} accuracy, last | best (selected on {split}) | train accuracy |"
        " minutes |",
        "|---|---|---|---|---|---|",
    ]
    for run in sorted(done, key=lambda run: -mean_std([last(r) for r in done[run]])[0]):
        of_run = done[run]
        cells = [run + " (diverged)" * diverged(found[run]), str(len(of_run))]
        train = [column(record, "train_accuracy")[-1] for record in of_run]
        minutes = mean_std([record["seconds"] / 60 for record in of_run])[0]
        cells += [spread([last(r) for r in of_run]), spread([best(r) for r in of_run])]
        rows.append(f"| {' | '.join([*cells, spread(train), f'{minutes:.1f}'])} |")
    missing = [run for run in found if run not in done]
    return "\n".join(rows) + (f"\n\nNot yet run: {', '.join(missing)}." if missing else "")


def draw_accuracy(path: pathlib.Path, grid: Grid, found: Records) -> None:
    """Draws accuracy against the first swept key, with 95 % intervals of the means.

    A line for each choice of the other keys; a cross where a run diverged.
    """
    fig, axes = plots.figure(1, 1, (7, 4.5))
    axis, first = axes[0][0], grid.swept[0]
    numbers = [_number(value) for value in first.values]
    numeric = all(math.isfinite(value) for value in numbers)
    places = numbers if numeric else list(range(len(numbers)))
    lines: dict[str, list[tuple[float, str]]] = {}
    choices = itertools.product(*(one.values for one in grid.swept))
    for run, values in zip(grid.runs, choices, strict=True):
        label = ", ".join(f"{o.key}={v}" for o, v in zip(grid.swept[1:], values[1:], strict=True))
        lines.setdefault(label, []).append((places[first.values.index(values[0])], run))
    for number, (label, points) in enumerate(lines.items()):
        drawn = sorted((place, run) for place, run in points if found[run])
        means = [mean_std([last(r) for r in found[run].values()]) for _, run in drawn]
        counts = [len(found[run]) for _, run in drawn]
        halves = [
            of_mean(Spread(std, n - 1), n) if n > 1 else 0.0
            for (_, std), n in zip(means, counts, strict=True)
        ]
        x, y = [place for place, _ in drawn], [mean for mean, _ in means]
        colour = f"C{number}"
        axis.errorbar(x, y, halves, fmt="o-", color=colour, capsize=3, label=label or None)
        bad = [i for i, (_, run) in enumerate(drawn) if diverged(found[run])]
        style = {"color": colour, "markersize": 11, "label": "diverged" if bad else None}
        axis.plot([x[i] for i in bad], [y[i] for i in bad], "x", **style)
    if not numeric:
        axis.set_xticks(places, first.values)
    elif min(numbers) > 0 and max(numbers) > 10 * min(numbers):
        axis.set_xscale("log")
    axis.set(xlabel=first.key, ylabel="accuracy after the last epoch, mean and 95 % interval")
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[1]:
        axis.legend(fontsize="small")
    fig.suptitle(grid.page)
    plots.save(fig, path)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def write(out: pathlib.Path, grid: Grid, found: Records) -> None:
    """Writes out/README.md, the table and the two pictures."""
    runs = {run: [r["epochs"] for r in seeds.values()] for run, seeds in found.items() if seeds}
    text = f"# Sweep of {grid.page}\n\n{table(found)}\n"
    if runs:
        plots.curves(out / "curves.png", runs, grid.page)
        draw_accuracy(out / "accuracy.png", grid, found)
        text += "\n![accuracy](accuracy.png)\n\n![curves](curves.png)\n"
    workdir.write_text(out / "README.md", text)
    print(f"\n{table(found)}\n\nwrote {out / 'README.md'}")


def main() -> None:
    """Runs the command; exit status 130 where a signal stopped it, 1 where a run failed."""
    parser = errors.command_parser(
        "sweep",
        "Trains every choice of some values of a page, with several seeds.",
        epilog="Other values are set by --config.KEY=VALUE. The same command again goes on.",
    )
    parser.add_argument("--config", required=True, metavar="FILE.py[:VARIANT]", help="the page")
    parser.add_argument(
        "--sweep", required=True, action="append", metavar="KEY=V1,V2,…", help="more: a grid"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N−1")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="side by side; 0: all pay")
    parser.add_argument("--cores", type=int, default=1, metavar="C", help="of each job; 0: all")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="every N-th, from the I-th")
    parser.add_argument("--out", required=True, type=pathlib.Path, metavar="DIR")
    text = "so many seeds in one program, on a GPU; nothing of them is saved on the way"
    parser.add_argument("--runs_at_once", type=int, default=1, metavar="M", help=text)
    known, words = parser.parse_known_args()
    jobs.check(known.seeds, known.jobs, known.cores, at_once=known.runs_at_once)
    grid = make_grid(known.config, [read_swept(text) for text in known.sweep], words)
    nothing: Records = {run: {} for run in grid.runs}
    wanted = jobs.shard(plan(grid, known.seeds, known.cores, nothing), known.shard)
    found = records.read(known.out, grid.runs, grid.config_of)
    missing = [job for job in wanted if job.seed not in found[job.run]]
    files.writable(known.out, "--out")
    place = jobs.Place(known.out, known.out / "checkpoints")
    outcome = jobs.run_all(missing, place, known.jobs, at_once=known.runs_at_once)
    write(known.out, grid, records.read(known.out, grid.runs, grid.config_of))
    jobs.end(outcome)


if __name__ == "__main__":
    errors.run_command(main)
