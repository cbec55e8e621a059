"""Draws plain tables, heatmaps and forest plots as HTML tables."""

from collections.abc import Callable, Iterable, Sequence
from xml.etree.ElementTree import Element

from jaxcifar.figures.chart import Forest, Heatmap, Row
from jaxcifar.pages.markup import Child, tag
from jaxcifar.pages.svg import tick_values


def plain(caption: str, head: Sequence[Child], rows: Iterable[Sequence[Child]]) -> Element:
    """Returns a table whose first column names the rows; a wide table scrolls on its own."""
    body = [
        tag("tr", tag("th", row[0], scope="row"), (tag("td", cell) for cell in row[1:]))
        for row in rows
    ]
    top = tag("thead", tag("tr", (tag("th", cell, scope="col") for cell in head)))
    table = tag("table", tag("caption", caption), top, tag("tbody", body))
    return scrolling(table, caption)


def scrolling(child: Element, name: str) -> Element:
    """Returns a box that scrolls sideways, also with the arrow keys."""
    return tag("div", child, class_="scroll", tabindex="0", role="region", aria_label=name)


def heat(heatmap: Heatmap, caption: str) -> Element:
    """Returns a table whose cells have one colour above zero and another below."""
    turned = (tag("span", name) if len(name) > 2 else name for name in heatmap.columns)
    head = (tag("th", name, scope="col") for name in turned)
    shares = heatmap.values / heatmap.limit
    body = []
    for name, texts, row in zip(heatmap.rows, heatmap.texts, shares, strict=True):
        cells = [tag("th", name, scope="row")]
        for text, share in zip(texts, row, strict=True):
            look = "plus" if share >= 0 else "minus"
            cells.append(tag("td", text, class_=look, style=f"--s:{abs(share):.0%}"))
        body.append(tag("tr", cells))
    corner = f"{heatmap.row_label} ↓ {heatmap.column_label} →"
    top = tag("thead", tag("tr", tag("th", corner), head))
    table = tag("table", tag("caption", caption), top, tag("tbody", body), class_="heat")
    return scrolling(table, caption)


def forest(plot: Forest, link: str = "") -> Element:
    """Returns a forest plot without empty rows; with `link`, a label links to link + label."""
    low, high = plot.span

    def place(value: float) -> float:
        return 100 * (min(max(value, low), high) - low) / (high - low)

    ticks = tick_values(low, high)
    grid = [tag("path", d=f"M{place(t):.2f} 0V100", class_="grid") for t in ticks]
    if plot.zero is not None:
        grid.append(tag("path", d=f"M{place(plot.zero):.2f} 0V100", class_="zero"))
    body = [_forest_row(row, place, grid, link) for row in plot.rows if row.estimates]
    scale = (tag("span", f"{tick:.6g}", style=f"left:{place(tick):.2f}%") for tick in ticks)
    foot = tag("tr", tag("td"), tag("td", tag("div", scale, class_="scale")), tag("td"))
    table = tag("table", tag("caption", plot.title), tag("tbody", body), class_="intervals")
    table.append(tag("tfoot", foot, aria_hidden="true"))
    return table


def css_class(look: str) -> str:
    """Returns the class in page.css of a colour ("c0") or a verdict ("does not hold")."""
    return look.replace(" ", "-")


def _forest_row(
    row: Row, place: Callable[[float], float], grid: Iterable[Element], link: str
) -> Element:
    height = 6 * max(len(row.estimates), 2)
    lines = list(grid)
    for i, estimate in enumerate(row.estimates):
        y, look = height * (i + 0.5) / len(row.estimates), css_class(estimate.look)
        bar = f"M{place(estimate.low):.2f} {y:.1f}H{place(estimate.high):.2f}"
        lines.append(tag("path", d=bar, class_=f"bar {look}"))
        lines.append(tag("path", d=f"M{place(estimate.value):.2f} {y:.1f}h0", class_=f"dot {look}"))
    box = {"viewBox": f"0 0 100 {height}", "preserveAspectRatio": "none", "aria_hidden": "true"}
    svg = tag("svg", lines, style=f"height:{2.2 * height}px", **box)
    label = tag("a", row.label, href=link + row.label) if link else row.label
    words = tag("small", row.words) if row.words else None
    looks = [f"line {css_class(e.look)}" if len(row.estimates) > 1 else None for e in row.estimates]
    texts = [tag("div", e.text, class_=c) for e, c in zip(row.estimates, looks, strict=True)]
    return tag("tr", tag("th", label, words, scope="row"), tag("td", svg), tag("td", texts))
