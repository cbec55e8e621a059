"""Draws charts as SVG. They are complete without a script; page.js adds pointer and keys."""

import json
import math
from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

from jaxcifar.figures.chart import Chart, Series, Span, Values, is_finite, scale
from jaxcifar.figures.curves import SPLITS
from jaxcifar.pages.markup import Child, tag

WIDTH, HEIGHT = 400, 260  # a phone's width, so that text stays readable there
LEFT, RIGHT, TOP, BOTTOM = 50, 392, 8, 220
TICKS = 5
COLOURS = 8  # --c0 … of page.css


def draw(chart: Chart, note: Child = "") -> Element:
    """Returns a figure: the lines, a legend with the value of each, and a note."""
    plot = tag("g", (part for s in chart.series for part in _drawn(s, chart)), class_="plot")
    clip = tag("svg", plot, x=LEFT, y=TOP, width=RIGHT - LEFT, height=BOTTOM - TOP, class_="clip")
    plot.set("transform", f"translate({-LEFT} {-TOP})")
    turned = f"translate(11 {(TOP + BOTTOM) / 2:g}) rotate(-90)"
    svg = tag(
        "svg",
        tag("g", _ticks(chart), class_="ticks"),
        clip,
        tag("text", chart.x_label, x=(LEFT + RIGHT) / 2, y=HEIGHT - 8, class_="label"),
        tag("text", chart.y_label, class_="label", transform=turned),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=describe(chart),
        data_box=json.dumps([LEFT, RIGHT, TOP, BOTTOM]),
        data_spans=json.dumps([*chart.x_span(), *chart.y_span()]),
        data_log=int(chart.log),
        data_whole=int(chart.integers),
    )
    legend = tag("ul", (_key(s) for s in chart.series if s.kind != "reference"), class_="legend")
    idle = "last values" if any(s.kind in SPLITS for s in chart.series) else ""
    reading = tag("output", idle, class_="reading", data_of=chart.x_label)
    below = tag("p", note, class_="note") if note != "" else None
    return tag(
        "figure", tag("figcaption", chart.title), svg, reading, legend, below, class_="chart"
    )


def describe(chart: Chart) -> str:
    """Returns a chart in words: where each line starts and ends."""
    words = []
    for s in chart.series:
        values = [(x, y) for x, y in zip(s.x, s.y, strict=True) if is_finite(y)]
        if values and s.kind != "reference":
            (first, start), (last, end) = values[0], values[-1]
            words.append(f"{s.name} from {start:.4g} at {first:.4g} to {end:.4g} at {last:.4g}")
    return f"{chart.title}: {chart.y_label} against {chart.x_label}. {'; '.join(words)}"


def nice_step(low: float, high: float, whole: bool = False) -> float:
    """Returns 1, 2 or 5 times a power of ten, so that about TICKS steps are in the span."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    return max(step, 1.0) if whole else step


def tick_values(low: float, high: float, whole: bool = False) -> list[float]:
    """Returns the multiples of a round step from low to high."""
    step = nice_step(low, high, whole)
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [n * step for n in numbers]


def _place(value: float, span: Span, start: float, end: float) -> float:
    """Returns the coordinate of a value, from `start` to `end` if it is within the span."""
    low, high = span
    return min(max(start + (end - start) * (value - low) / (high - low), -9e4), 9e4)


def shown(value: float) -> str:
    """Returns a value for the legend: four decimals, as in the tables, or four digits."""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 10 else f"{value:.4g}"


def _drawn(series: Series, chart: Chart) -> Iterable[Element]:
    """Returns the band or whiskers, and the line with the values for page.js to show."""
    kind = "points" if sum(map(is_finite, series.y)) == 1 else series.kind  # a line needs two
    look = f"series {kind} c{series.colour % COLOURS}"
    x_span, y_span = chart.x_span(), chart.y_span()
    x = [_place(value, x_span, LEFT, RIGHT) for value in series.x]
    scaled = ([scale(v, chart.log) for v in row] for row in (series.y, series.low, series.high))
    y, low, high = (
        [None if v is None else _place(v, y_span, BOTTOM, TOP) for v in row] for row in scaled
    )
    if low:
        shape = "whisker" if series.kind == "points" else "band"
        yield tag("path", d=_band(x, low, high, series.kind) or "M0 0", class_=f"{shape} {look}")
    values = {"data_x": series.x, "data_y": series.y} if series.kind != "reference" else {}
    data = {key: json.dumps([_short(v) for v in row]) for key, row in values.items()}
    yield tag("path", d=_path(x, y, series.kind), class_=look, **data)


def _band(x: Sequence[float], low: Values, high: Values, kind: str) -> str:
    """Returns the outline of what lies between two lines, or a whisker for each point."""
    if kind == "steps":  # a box for each bin; on a logarithmic axis, 0 is far below
        boxes = zip(x[:-1], x[1:], low[:-1], high[:-1], strict=True)
        return "".join(
            f"M{a:.2f} {top:.2f}H{b:.2f}V{9e4 if end is None else end:.2f}H{a:.2f}Z"
            for a, b, end, top in boxes
            if top is not None
        )
    ends = [e for e in zip(x, low, high, strict=True) if e[1] is not None and e[2] is not None]
    if kind == "points":
        return "".join(f"M{a:.2f} {b:.2f}V{c:.2f}" for a, b, c in ends)
    around = [(a, c) for a, _, c in ends] + [(a, b) for a, b, _ in ends[::-1]]
    return f"M{'L'.join(f'{a:.2f} {b:.2f}' for a, b in around)}Z" if around else ""


def _path(x: Sequence[float], y: Values, kind: str) -> str:
    """Returns a path through the points; a lone point, or each of `points`, is a dot."""
    words, joined = [], False
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        if b is None:
            joined = False
            continue
        alone = not joined and (i + 1 == len(y) or y[i + 1] is None)
        if kind == "points" or alone:
            words.append(f"M{a:.2f} {b:.2f}h0")
        elif kind == "steps" and joined:
            words.append(f"H{a:.2f}V{b:.2f}")
        else:
            words.append(f"{'L' if joined else 'M'}{a:.2f} {b:.2f}")
        joined = True
    return "".join(words) or "M0 0"


def _short(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def _ticks(chart: Chart) -> Iterable[Element]:
    """Returns the grid and its numbers; page.js draws the same after zooming."""
    x_span, y_span = chart.x_span(), chart.y_span()
    for value in tick_values(*x_span, chart.integers):
        x = f"{_place(value, x_span, LEFT, RIGHT):.2f}"
        yield tag("path", d=f"M{x} {TOP}V{BOTTOM}")
        yield tag("text", f"{value:.6g}", x=x, y=BOTTOM + 15)
    for value in tick_values(*y_span, chart.log):
        y = _place(value, y_span, BOTTOM, TOP)
        yield tag("path", d=f"M{LEFT} {y:.2f}H{RIGHT}")
        text = f"1e{value:g}" if chart.log else f"{value:.6g}"
        yield tag("text", text, x=LEFT - 5, y=f"{y + 4:.2f}", class_="y")


def _key(series: Series) -> Element:
    """Returns a legend entry with the last value; pressing it shows or hides the line."""
    last = next((y for y in reversed(series.y) if is_finite(y)), None)
    sample = "M12 6h0" if series.kind == "points" else "M1 6H23"
    line = f"series {series.kind} c{series.colour % COLOURS}"
    drawn = tag("svg", tag("path", d=sample, class_=line), viewBox="0 0 24 12", aria_hidden="true")
    value = tag("output", shown(last) if last is not None and series.kind in SPLITS else "")
    name = tag("span", series.name)
    return tag("li", tag("button", drawn, name, value, type="button", aria_pressed="true"))
