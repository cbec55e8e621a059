"""A net's weights as parts of a page: what its first layer looks for, how large they all are."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

import numpy as np

from jaxcifar.claims.measure import weight_histogram
from jaxcifar.pages import charts
from jaxcifar.pages.charts import Axes
from jaxcifar.pages.findings import Run, first_filters, kernels
from jaxcifar.pages.markup import tag
from jaxcifar.pages.pictures import filters as filter_images
from jaxcifar.pages.pictures import picture, sheet

MOST_FILTERS = 192
COLUMNS = 16
FILTER_WIDTH = 2.5  # in letters of the page (rem)
LAYERS_SHOWN = 6  # the others are folded
LAYER_BINS = 41


def filters(runs: Sequence[Run]) -> list[Element]:
    """Returns the kernels that see the image itself, as small images."""
    parts = []
    for run in runs:
        kernel = None if run.net is None else first_filters(run.net)
        if kernel is None:
            continue
        height, width, _, n = kernel.shape
        shown = filter_images(kernel[..., :MOST_FILTERS])
        alt = f"the first {len(shown)} of {n} filters of {height} by {width} pixels of {run.name}"
        columns = min(COLUMNS, len(shown))
        style = f"width:{FILTER_WIDTH * columns}rem"
        enlarged = picture(sheet(shown, columns), alt, class_="sheet", style=style)
        some = f", the first {len(shown)}" if len(shown) < n else ""
        caption = (
            f"{run.name}: {n} filters of {height}×{width} pixels{some}. Each is scaled to its own"
            " largest weight; grey is 0."
        )
        parts.append(tag("figure", tag("figcaption", caption), enlarged))
    return parts


def histograms(runs: Sequence[Run]) -> list[Element]:
    """Returns the distribution of all weights of the runs, and of each layer of each."""
    series, layers = [], []
    for i, run in enumerate(runs):
        if run.net is None:
            continue
        found = weight_histogram(run.net.variables["params"])
        low, high = found["range"]
        edges = np.linspace(low, high, len(found["counts"]) + 1)
        shares = [count / found["total"] for count in found["counts"]]
        series.append(charts.histogram(run.name, edges.tolist(), shares, i))
        made = [_layer(name, kernel, i) for name, kernel in kernels(run.net).items()]
        title = f"Each layer of {run.name}, {len(made)} in all"
        grid = tag("div", made, class_="charts small")
        opened = "" if len(runs) == 1 and len(made) <= LAYERS_SHOWN else None
        layers.append(tag("details", tag("summary", title), grid, open=opened))
    if not series:
        return []
    axes = Axes("weight", "share of all per bin", log=True)
    whole = charts.chart("All weights", series, axes)
    return [tag("div", whole, class_="charts"), *layers]


def _layer(name: str, kernel: np.ndarray, colour: int) -> Element:
    counts, edges = np.histogram(kernel, LAYER_BINS)
    shares = (counts / kernel.size).tolist()
    steps = charts.histogram(name, edges.tolist(), shares, colour)
    shape = "×".join(map(str, kernel.shape))
    return charts.chart(f"{name} ({shape})", [steps], Axes("weight", "share per bin"))
