"""The pictures: learning curves, confusion matrices, the loss against the rate."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcifar.system import atomic

Lines = Sequence[Mapping[str, Any]]  # the metrics of a run's epochs
STYLES = {"train": "--", "test": "-", "validation": ":"}


def figure(rows: int, columns: int, size: tuple[float, float], **subplots: Any) -> Any:
    """Returns a matplotlib figure and its axes, without a screen and without global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=size, layout="constrained", dpi=110)
    FigureCanvasAgg(fig)
    return fig, fig.subplots(rows, columns, squeeze=False, **subplots)


def save(fig: Any, path: pathlib.Path) -> None:
    """Writes the figure as PNG, atomically."""
    with atomic.replacing(path) as file:
        fig.savefig(file, format="png")


def curves(path: pathlib.Path, runs: Mapping[str, Sequence[Lines]], title: str) -> None:
    """Draws loss and accuracy against epoch: a colour per run, which has one or more seeds.

    Training is dashed, test solid and validation, where there is one, dotted; of several seeds
    their mean, and a band of one standard deviation on either side.
    """
    fig, axes = figure(1, 2, (10, 4))
    for number, (label, seeds) in enumerate(runs.items()):
        colour = f"C{number}"
        prefix = f"{label} " if len(runs) > 1 else ""
        for axis, what in zip(axes[0], ("loss", "accuracy"), strict=True):
            for split, style in STYLES.items():
                key = f"{split}_{what}"
                scored = [[line for line in lines if key in line] for lines in seeds]
                epochs = [line["epoch"] for line in max(scored, key=len)]
                if not epochs:
                    continue
                values = np.full((len(seeds), len(epochs)), np.nan)  # one that diverged is shorter
                for row, lines in zip(values, scored, strict=True):
                    row[: len(lines)] = [_number(line[key]) for line in lines]
                # a marker, so that a single epoch shows
                marker = "." if len(epochs) < 3 else None
                mean, name = values.mean(0), prefix + split
                axis.plot(epochs, mean, style, color=colour, label=name, marker=marker)
                if len(seeds) > 1:
                    std = values.std(0, ddof=1)
                    axis.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
    for axis, what in zip(axes[0], ("loss", "accuracy"), strict=True):
        axis.set(xlabel="epoch", ylabel=what)
        _leave_out_peaks(axis)
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0][1].legend(fontsize="small")
    fig.suptitle(title)
    save(fig, path)


def _leave_out_peaks(axis: Any) -> None:
    """Ends the axis where the curves are, if a few points of one that diverged are far beyond."""
    drawn = np.concatenate([line.get_ydata() for line in axis.lines])
    drawn = drawn[np.isfinite(drawn)]
    usual = drawn[drawn <= 100 * np.percentile(drawn, 75)] if drawn.size else drawn
    if 0 < usual.size < drawn.size:
        axis.set_ylim(0, 1.1 * usual.max())


def confusion(path: pathlib.Path, matrix: np.ndarray, names: Sequence[str], title: str) -> None:
    """Draws a confusion matrix [C, C] of counts, rows the true class, columns the predicted."""
    fig, axes = figure(1, 1, (7, 6.2))
    axis = axes[0][0]
    share = matrix / matrix.sum(1, keepdims=True).clip(1)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    axis.set_xticks(ticks, names, rotation=45, ha="right")
    axis.set_yticks(ticks, names)
    axis.set(xlabel="predicted", ylabel="true", title=title)
    for i in ticks:
        for j in ticks:
            colour = "white" if share[i, j] > 0.5 else "black"
            axis.text(j, i, matrix[i, j], ha="center", va="center", color=colour, fontsize=8)
    save(fig, path)


def rates(
    path: pathlib.Path,
    rate: np.ndarray,
    loss: np.ndarray,
    smoothed: np.ndarray,
    marks: Mapping[str, float | None],
    title: str,
) -> None:
    """Draws loss and smoothed loss [N] against the rate, on a logarithmic axis, and marks rates."""
    fig, axes = figure(1, 1, (7, 4))
    axis = axes[0][0]
    axis.plot(rate, loss, ".", color="C0", alpha=0.4, label="a batch")
    axis.plot(rate[: len(smoothed)], smoothed, color="C0", label="smoothed")
    for number, (label, mark) in enumerate(marks.items(), 1):
        if mark is not None:
            axis.axvline(mark, color=f"C{number}", ls="--", label=f"{label}: {mark:.2g}")
    if smoothed.size:
        axis.set_ylim(0.9 * min(loss[np.isfinite(loss)]), 1.5 * loss[0])
    axis.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=title)
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    save(fig, path)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
