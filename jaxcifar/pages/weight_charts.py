"""Shows the weights of nets: the filters of the first layer, and the distribution of each layer."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from jaxcifar.claims.measure import weight_histogram
from jaxcifar.figures.chart import share_axes
from jaxcifar.figures.weights import layer_chart, weight_chart
from jaxcifar.pages import svg
from jaxcifar.pages.markup import tag
from jaxcifar.pages.pictures import filter_images, picture, sheet
from jaxcifar.pages.runs import Run, first_filters, kernels

MOST_FILTERS = 192
COLUMNS = 16
FILTER_WIDTH = 2.5  # rem
OPEN_LAYERS = 6  # the charts of more layers are folded


def filters(runs: Sequence[Run]) -> list[Element]:
    """Returns the filters that see the image itself, as small images."""
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
    """Returns the distribution of all weights of the runs, and of each layer of each run."""
    nets = [(i, run.name, run.net) for i, run in enumerate(runs) if run.net is not None]
    if not nets:
        return []
    measured = {
        run.name: [] if run.net is None else [weight_histogram(run.net.variables["params"])]
        for run in runs
    }
    parts = [tag("div", svg.draw(weight_chart("All weights", measured)), class_="charts")]
    for i, name, net in nets:
        layers = [layer_chart(layer, kernel, i) for layer, kernel in kernels(net).items()]
        grid = tag("div", map(svg.draw, share_axes(layers)), class_="charts small")
        opened = "" if len(runs) == 1 and len(layers) <= OPEN_LAYERS else None
        summary = tag("summary", f"The {len(layers)} layers of {name}")
        parts.append(tag("details", summary, grid, open=opened))
    return parts
