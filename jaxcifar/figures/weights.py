"""Makes charts of the distributions of weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcifar.figures.chart import Chart, Series

LAYER_BINS = 41


def histogram(
    name: str, edges: np.ndarray, shares: np.ndarray, colour: int, band: Sequence[np.ndarray] = ()
) -> Series:
    """Returns a histogram of M shares between M + 1 edges as a series of steps.

    If `band` is given, a band goes from band[0] to band[1].
    """
    y, *sides = ([*side.tolist(), float(side[-1])] for side in (shares, *band))
    return Series(name, edges.tolist(), y, colour, "steps", *sides)


def weight_chart(title: str, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Chart:
    """Returns the chart of all weights of each run, from its seeds' histograms (`measure.py`).

    If a run has several seeds, the chart shows their mean and a band from the smallest to the
    largest share.
    """
    series = []
    for number, (run, seeds) in enumerate(runs.items()):
        if not seeds:
            continue
        shares = np.array([np.array(seed["counts"]) / seed["total"] for seed in seeds])
        low, high = seeds[0]["range"]
        edges = np.linspace(low, high, shares.shape[1] + 1)
        near_zero = np.mean([seed["share_below"]["0.001"] for seed in seeds])
        name = f"{run}: {near_zero:.1%} of the weights within ±0.001"
        band = (shares.min(0), shares.max(0)) if len(seeds) > 1 else ()
        series.append(histogram(name, edges, shares.mean(0), number, band))
    return Chart(title, series, "weight", "share of weights per bin", log=True)


def layer_chart(name: str, kernel: np.ndarray, colour: int) -> Chart:
    """Returns the chart of one layer's weights."""
    low, high = float(kernel.min()), float(kernel.max())
    margin = max(abs(low), 1.0) / 2 if low == high else 0.0
    ends = (low - margin, high + margin)
    counts, edges = np.histogram(kernel.astype(np.float64), LAYER_BINS, ends)
    steps = histogram(name, edges, counts / kernel.size, colour)
    shape = "×".join(map(str, kernel.shape))
    return Chart(f"{name} ({shape})", [steps], "weight", "share of weights per bin")
