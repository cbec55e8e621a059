"""The pictures: learning curves, confusion matrices."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcifar import files

STYLES = {"train": "--", "test": "-", "validation": ":"}


def figure(rows: int, columns: int, size: tuple[float, float]) -> Any:
    """Returns a matplotlib figure and its axes, without a screen and without global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=size, layout="constrained", dpi=110)
    FigureCanvasAgg(fig)
    return fig, fig.subplots(rows, columns, squeeze=False)


def save(fig: Any, path: pathlib.Path) -> None:
    """Writes the figure as PNG, atomically."""
    with files.replacing(path) as file:
        fig.savefig(file, format="png")


def curves(path: pathlib.Path, runs: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> None:
    """Draws loss and accuracy against epoch: a colour per run.

    Training is dashed, test solid and validation, where there is one, dotted.
    """
    fig, axes = figure(1, 2, (10, 4))
    for number, (label, lines) in enumerate(runs.items()):
        epochs = [line["epoch"] for line in lines]
        prefix = f"{label} " if len(runs) > 1 else ""
        for axis, what in zip(axes[0], ("loss", "accuracy"), strict=True):
            for split, style in STYLES.items():
                if f"{split}_{what}" not in lines[0]:
                    continue
                values = [_number(line[f"{split}_{what}"]) for line in lines]
                # a marker, so that a single epoch shows
                marker = "." if len(lines) < 3 else None
                axis.plot(
                    epochs, values, style, color=f"C{number}", label=prefix + split, marker=marker
                )
    for axis, what in zip(axes[0], ("loss", "accuracy"), strict=True):
        axis.set(xlabel="epoch", ylabel=what)
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0][1].legend(fontsize="small")
    fig.suptitle(title)
    save(fig, path)


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


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
