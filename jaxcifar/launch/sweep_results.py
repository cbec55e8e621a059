"""The results of a sweep: its table and its pictures."""

import itertools
import math
import pathlib

from jaxcifar.claims.claim import column, diverged
from jaxcifar.claims.records import Record, Records
from jaxcifar.claims.tables import spread
from jaxcifar.figures import curves, png
from jaxcifar.launch.grid import Grid
from jaxcifar.run import selection, workdir
from jaxcifar.stats.intervals import Spread, mean_half_width, mean_std


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
    fig, axes = png.figure(1, 1, (7, 4.5))
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
            mean_half_width(Spread(std, n - 1), n) if n > 1 else 0.0
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
    png.save(fig, path)


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
        png.draw_charts(out / "curves.png", curves.learning_curves(runs), grid.page)
        draw_accuracy(out / "accuracy.png", grid, found)
        text += "\n![accuracy](accuracy.png)\n\n![curves](curves.png)\n"
    workdir.write_text(out / "README.md", text)
    print(f"\n{table(found)}\n\nwrote {out / 'README.md'}")
