"""Draws the loss of a learning-rate range test against the learning rate."""

import pathlib
from collections.abc import Mapping

import numpy as np

from jaxcifar.figures import png


def draw(
    path: pathlib.Path,
    rate: np.ndarray,
    loss: np.ndarray,
    smoothed: np.ndarray,
    marks: Mapping[str, float | None],
    title: str,
) -> None:
    """Draws the losses [N] against a logarithmic rate, with vertical lines at marks.

    `smoothed` may be shorter than `loss`, because it lacks losses that are not finite.
    """
    with png.drawing(path, 1, 1, (7, 4)) as (_, axes):
        axis = axes[0][0]
        axis.plot(rate, loss, ".", color="C0", alpha=0.4, label="each batch")
        axis.plot(rate[: len(smoothed)], smoothed, color="C0", label="smoothed")
        for number, (label, mark) in enumerate(marks.items(), 1):
            if mark is not None:
                axis.axvline(mark, color=f"C{number}", ls="--", label=f"{label}: {mark:.2g}")
        if smoothed.size:
            axis.set_ylim(0.9 * min(loss[np.isfinite(loss)]), 1.5 * loss[0])
        axis.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=title)
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
