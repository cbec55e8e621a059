"""Tables of a page: facts side by side, numbers as colours, intervals on one scale."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from jaxcifar.pages.charts import COLOURS, nice_step
from jaxcifar.pages.markup import Child, tag


class Span(NamedTuple):
    """An interval and the value in it, in a colour of the page: "c0" …, or a verdict's name."""

    value: float
    low: float
    high: float
    colour: str

    @classmethod
    def of_run(cls, value: float, ends: tuple[float, float], number: int) -> "Span":
        return cls(value, *ends, f"c{number % COLOURS}")


class Row(NamedTuple):
    """A line of `intervals`: what it is of, its spans, and the same in words."""

    label: Child
    spans: Sequence[Span]
    text: Child
    mark: float | None = None


def plain(caption: str, head: Sequence[Child], rows: Iterable[Sequence[Child]]) -> Element:
    """Returns a table whose first column names the rows; it scrolls by itself where it is wide."""
    body = [
        tag("tr", tag("th", row[0], scope="row"), (tag("td", cell) for cell in row[1:]))
        for row in rows
    ]
    top = tag("thead", tag("tr", (tag("th", cell, scope="col") for cell in head)))
    table = tag("table", tag("caption", caption), top, tag("tbody", body))
    return scrolling(table, caption)


def scrolling(child: Element, name: str) -> Element:
    """Returns a box that scrolls sideways, by keys too."""
    return tag("div", child, class_="scroll", tabindex="0", role="region", aria_label=name)


def heat(
    caption: str,
    corner: str,
    rows: Sequence[str],
    columns: Sequence[str],
    texts: Sequence[Sequence[str]],
    shares: np.ndarray,
) -> Element:
    """Returns a table coloured by shares [R, C] of −1 (one colour) by 0 (none) to 1 (another)."""
    head = (tag("th", tag("span", name), scope="col") for name in columns)
    body = []
    for name, line, values in zip(rows, texts, shares, strict=True):
        cells = [tag("th", name, scope="row")]
        for text, share in zip(line, values, strict=True):
            look = "plus" if share >= 0 else "minus"
            cells.append(tag("td", text, class_=look, style=f"--s:{abs(share):.0%}"))
        body.append(tag("tr", cells))
    top = tag("thead", tag("tr", tag("th", corner), head))
    table = tag("table", tag("caption", caption), top, tag("tbody", body), class_="heat")
    return scrolling(table, caption)


def intervals(
    caption: str, rows: Sequence[Row], span: tuple[float, float], zero: float | None = None
) -> Element:
    """Returns a table of intervals on one scale, with a line at `zero`: a forest plot."""
    low, high = span

    def place(value: float) -> float:
        return 100 * (min(max(value, low), high) - low) / (high - low)

    step = nice_step(low, high)
    ticks = [n * step for n in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]
    body = [_interval_row(row, place, ticks, zero) for row in rows]
    scale = (tag("span", f"{tick:.6g}", style=f"left:{place(tick):.2f}%") for tick in ticks)
    foot = tag("tr", tag("td"), tag("td", tag("div", scale, class_="scale")), tag("td"))
    table = tag("table", tag("caption", caption), tag("tbody", body), class_="intervals")
    table.append(tag("tfoot", foot, aria_hidden="true"))
    return table


def _interval_row(
    row: Row, place: Callable[[float], float], ticks: Sequence[float], zero: float | None
) -> Element:
    height = 6 * max(len(row.spans), 2)
    lines = [tag("path", d=f"M{place(t):.2f} 0V{height}", class_="grid") for t in ticks]
    if zero is not None:
        lines.append(tag("path", d=f"M{place(zero):.2f} 0V{height}", class_="zero"))
    for i, span in enumerate(row.spans):
        y = height * (i + 0.5) / len(row.spans)
        bar = f"M{place(span.low):.2f} {y:.1f}H{place(span.high):.2f}"
        lines.append(tag("path", d=bar, class_=f"bar {span.colour}"))
        dot = f"M{place(span.value):.2f} {y:.1f}h0"
        lines.append(tag("path", d=dot, class_=f"dot {span.colour}"))
    box = {"viewBox": f"0 0 100 {height}", "preserveAspectRatio": "none", "aria_hidden": "true"}
    svg = tag("svg", lines, style=f"height:{2.2 * height}px", **box)
    return tag("tr", tag("th", row.label, scope="row"), tag("td", svg), tag("td", row.text))
