"""Writes the results of a sweep as a table and two charts."""

import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcifar.claims.claim import column, no_better_than_guessing
from jaxcifar.claims.records import Record, Records
from jaxcifar.claims.tables import format_mean_std, not_yet
from jaxcifar.figures import curves, png
from jaxcifar.launch.grid import Grid
from jaxcifar.run import selection
from jaxcifar.stats.intervals import Spread, mean_half_width, mean_std
from jaxcifar.system import atomic, output

LOG_FROM = 4  # the ratio of the largest to the smallest value from which the x axis is logarithmic


def split_of(record: Record) -> str:
    """Returns the split on which runs are compared, "validation" if there is one, else "test"."""
    return selection.split_of(record["epochs"][-1])


def accuracies(seeds: Mapping[int, Record]) -> list[list[float]]:
    """Returns the accuracy of each seed after each epoch that was scored."""
    return [column(record, f"{split_of(record)}_accuracy") for record in seeds.values()]


def format_table(found: Records) -> str:
    """Returns the runs as a Markdown table, with the best mean accuracy of the last epoch first.

    Runs that are scored on validation images come before those that are scored on test images.
    """
    done = {run: seeds for run, seeds in found.items() if seeds}
    split = {run: split_of(next(iter(seeds.values()))) for run, seeds in done.items()}
    selected = "best epoch (selected on the same images)"
    rows = [["run", "n", "scored on", "last epoch", selected, "train accuracy", "minutes"]]
    last = {run: [values[-1] for values in accuracies(seeds)] for run, seeds in done.items()}
    for run in sorted(done, key=lambda run: (split[run] == "test", -mean_std(last[run])[0])):
        seeds = done[run]
        best = [max(values) for values in accuracies(seeds)]
        train = [column(record, "train_accuracy")[-1] for record in seeds.values()]
        minutes = mean_std([record["seconds"] / 60 for record in seeds.values()])[0]
        name = run + " (no better than guessing)" * no_better_than_guessing(seeds)
        numbers = map(format_mean_std, (last[run], best, train))
        rows.append([name, str(len(seeds)), split[run], *numbers, f"{minutes:.1f}"])
    return output.markdown_table(rows) + not_yet((r for r in found if r not in done), "Not yet run")


def draw_accuracy(path: pathlib.Path, grid: Grid, found: Records) -> None:
    """Draws mean accuracy against the first swept key, with 95 % intervals of the means.

    Each combination of the other keys is one line; a cross marks a run no better than guessing.
    """
    with png.drawing(path, 1, 1, (7, 4.5)) as (fig, axes):
        axis, swept = axes[0][0], grid.swept[0]
        numbers = [_number(value) for value in swept.values]
        numeric = all(map(math.isfinite, numbers))
        x_of = dict(zip(swept.values, numbers if numeric else range(len(numbers)), strict=True))
        for number, (label, runs) in enumerate(_lines(grid).items()):
            points = [(x_of[value], found[run]) for value, run in runs.items() if found[run]]
            _draw_line(axis, points, f"C{number}", label)
        if numeric and min(numbers) > 0 and max(numbers) >= LOG_FROM * min(numbers):
            axis.set_xscale("log")
        axis.set_xticks(list(x_of.values()), swept.values)
        axis.minorticks_off()
        axis.set(xlabel=swept.key, ylabel="accuracy after the last epoch, mean and 95 % interval")
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize="small")
        fig.suptitle(grid.config_file)


def _lines(grid: Grid) -> dict[str, dict[str, str]]:
    """Returns the runs of each line of the chart, by the value of the first swept key.

    The values of the other keys label the line.
    """
    lines: dict[str, dict[str, str]] = {}
    choices = itertools.product(*(one.values for one in grid.swept))
    for run, (first, *others) in zip(grid.runs, choices, strict=True):
        pairs = zip(grid.swept[1:], others, strict=True)
        label = ", ".join(f"{one.key}={value}" for one, value in pairs)
        lines.setdefault(label, {})[first] = run
    return lines


def _draw_line(
    axis: Any, points: list[tuple[float, Mapping[int, Record]]], colour: str, label: str
) -> None:
    """Draws the mean of the seeds at each x, and a cross where one was no better than guessing."""
    points = sorted(points, key=lambda point: point[0])
    last = [[values[-1] for values in accuracies(seeds)] for _, seeds in points]
    xs, means = [x for x, _ in points], [mean_std(values)[0] for values in last]
    half_widths = list(map(_half_width, last))
    axis.errorbar(xs, means, half_widths, fmt="o-", color=colour, capsize=3, label=label or None)
    bad = [i for i, (_, seeds) in enumerate(points) if no_better_than_guessing(seeds)]
    style = {"color": colour, "markersize": 11, "label": "no better than guessing" if bad else None}
    axis.plot([xs[i] for i in bad], [means[i] for i in bad], "x", **style)


def _half_width(values: Sequence[float]) -> float:
    """Returns the half width of the 95 % interval of the mean; 0 for one value."""
    n = len(values)
    return mean_half_width(Spread(mean_std(values)[1], n - 1), n) if n > 1 else 0.0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def write_results(out: pathlib.Path, grid: Grid, found: Records) -> None:
    """Writes out/README.md with the table and, once a run is recorded, the two charts."""
    table = format_table(found)
    text = f"# Sweep of {grid.config_file}\n\n{table}\n"
    runs = {run: [r["epochs"] for r in seeds.values()] for run, seeds in found.items() if seeds}
    if runs:
        png.draw_charts(out / "curves.png", curves.learning_curves(runs), grid.config_file)
        draw_accuracy(out / "accuracy.png", grid, found)
        text += "\n![accuracy](accuracy.png)\n\n![curves](curves.png)\n"
    atomic.write_text(out / "README.md", text)
    output.show(f"\n{table}\n\nwrote {out / 'README.md'}")
