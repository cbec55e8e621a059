"""Charts as SVG, complete without a script: page.js adds what a pointer and keys do."""

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from jaxcifar.pages.markup import Child, tag

WIDTH, HEIGHT = 400, 260  # drawn for a phone's width, so that letters stay readable there
LEFT, RIGHT, TOP, BOTTOM = 50, 392, 8, 220
TICKS = 5
COLOURS = 8  # --c0 … of page.css
CURVES = ("train", "test", "validation")
FAR = 100  # times the upper quartile: the few points of a run that diverged

Values = Sequence[float | None]


@dataclasses.dataclass(frozen=True)
class Series:
    """A line of a chart, with a band from `low` to `high` about it, or a whisker at each point.

    `kind` is how it is drawn: train (dashed), test (solid), validation (dotted), points, steps,
    or reference (grey, without values to read). A y that is None or not finite is a gap.
    """

    name: str
    x: Sequence[float]
    y: Values
    colour: int = 0
    kind: str = "test"
    low: Values = ()
    high: Values = ()


@dataclasses.dataclass(frozen=True)
class Axes:
    """What a chart's axes say and span: by themselves, what is drawn.

    With `log` the y axis is logarithmic; `whole` says that x are counts, as epochs are.
    """

    x_label: str
    y_label: str
    log: bool = False
    whole: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


def histogram(name: str, edges: Sequence[float], shares: Sequence[float], colour: int) -> Series:
    """Returns the steps of M shares between M + 1 edges."""
    return Series(name, edges, [*shares, shares[-1]], colour, "steps")


def chart(title: str, series: Sequence[Series], axes: Axes, note: Child = "") -> Element:
    """Returns a figure of the series: the lines, a legend with the value of each, a note."""
    spans = x_span, y_span = _spans(series, axes)
    scale = _Scale(x_span, y_span, axes.log)
    plot = tag("g", (part for s in series for part in _drawn(s, scale)), class_="plot")
    clip = tag("svg", plot, x=LEFT, y=TOP, width=RIGHT - LEFT, height=BOTTOM - TOP, class_="clip")
    plot.set("transform", f"translate({-LEFT} {-TOP})")
    middle = (TOP + BOTTOM) / 2
    svg = tag(
        "svg",
        tag("g", _ticks(spans, axes), class_="ticks"),
        clip,
        tag("text", axes.x_label, x=(LEFT + RIGHT) / 2, y=HEIGHT - 8, class_="label"),
        tag(
            "text",
            axes.y_label,
            class_="label",
            transform=f"translate(11 {middle:g}) rotate(-90)",
        ),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=describe(title, series, axes),
        data_box=json.dumps([LEFT, RIGHT, TOP, BOTTOM]),
        data_spans=json.dumps([*x_span, *y_span]),
        data_log=int(axes.log),
        data_whole=int(axes.whole),
    )
    legend = [_key(s) for s in series if s.kind != "reference"]
    caption = tag("figcaption", title)
    below = tag("p", note, class_="note") if note != "" else None
    last = any(s.kind in CURVES for s in series)
    reading = tag("output", "last values" if last else "", class_="reading", data_of=axes.x_label)
    return tag(
        "figure", caption, svg, reading, tag("ul", legend, class_="legend"), below, class_="chart"
    )


def describe(title: str, series: Iterable[Series], axes: Axes) -> str:
    """Returns a chart in words: of each line, from where to where it goes."""
    words = []
    for s in series:
        values = [(x, y) for x, y in zip(s.x, s.y, strict=True) if _finite(y)]
        if values and s.kind != "reference":
            (first, start), (last, end) = values[0], values[-1]
            words.append(f"{s.name} from {start:.4g} at {first:.4g} to {end:.4g} at {last:.4g}")
    return f"{title}: {axes.y_label} against {axes.x_label}. {'; '.join(words)}"


def nice_step(low: float, high: float, whole: bool = False) -> float:
    """Returns a step of 1, 2 or 5 times a power of ten, so that about TICKS are in the span."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    return max(step, 1.0) if whole else step


@dataclasses.dataclass(frozen=True)
class _Scale:
    """Values to places in the picture."""

    x_span: tuple[float, float]
    y_span: tuple[float, float]
    log: bool

    def x(self, value: float) -> float:
        low, high = self.x_span
        return LEFT + (RIGHT - LEFT) * (value - low) / (high - low)

    def y(self, value: float | None) -> float | None:
        value = _up(value, self.log)
        if value is None:
            return None
        low, high = self.y_span
        return min(max(BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low), -9e4), 9e4)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _up(value: float | None, log: bool) -> float | None:
    """The value as the axis has it; None for what has no place on it."""
    if value is None or not math.isfinite(value) or (log and value <= 0):
        return None
    return math.log10(value) if log else value


def _spans(series: Sequence[Series], axes: Axes) -> tuple[tuple[float, float], tuple[float, float]]:
    """What the axes span: all that is drawn, but for the few points of a run that diverged."""
    x = [value for s in series for value in s.x] or [0.0]
    ups = (_up(v, axes.log) for s in series for v in (*s.y, *s.low, *s.high))
    y = np.array([value for value in ups if value is not None] or [0.0])
    if not axes.log:
        y = y[y <= max(FAR * float(np.percentile(y, 75)), 0.0)] if (y > 0).any() else y
    low, high = float(y.min()), float(y.max())
    margin = 0.04 * (high - low) or 0.1 * abs(high) or 1.0
    x_low, x_high = float(min(x)), float(max(x))
    wide = (x_low, x_high) if x_high > x_low else (x_low - 0.5, x_high + 0.5)
    return axes.x_range or wide, axes.y_range or (low - margin, high + margin)


def _drawn(series: Series, scale: _Scale) -> Iterable[Element]:
    """The band or whiskers, and the line, with the values that it shows."""
    kind = "points" if sum(map(_finite, series.y)) == 1 else series.kind  # a line has two
    look = f"series {kind} c{series.colour % COLOURS}"
    x = [scale.x(value) for value in series.x]
    if series.low and series.kind == "points":
        ends = zip(x, map(scale.y, series.low), map(scale.y, series.high), strict=True)
        lines = "".join(f"M{a:.2f} {b:.2f}V{c:.2f}" for a, b, c in ends if b is not None)
        yield tag("path", d=lines, class_=f"whisker {look}")
    elif series.low:
        high = [(a, b) for a, b in zip(x, map(scale.y, series.high), strict=True) if b is not None]
        low = [(a, b) for a, b in zip(x, map(scale.y, series.low), strict=True) if b is not None]
        around = "L".join(f"{a:.2f} {b:.2f}" for a, b in [*high, *low[::-1]])
        yield tag("path", d=f"M{around}Z" if around else "M0 0", class_=f"band {look}")
    values = None if series.kind == "reference" else json.dumps([_short(v) for v in series.y])
    where = None if series.kind == "reference" else json.dumps([_short(v) for v in series.x])
    path = _path(x, [scale.y(value) for value in series.y], series.kind)
    yield tag("path", d=path, class_=look, data_x=where, data_y=values)


def _path(x: Sequence[float], y: Values, kind: str) -> str:
    """A path through the points; a point alone, or each of `points`, is a dot."""
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


def _ticks(spans: tuple[tuple[float, float], tuple[float, float]], axes: Axes) -> Iterable[Element]:
    """The grid and its numbers; page.js draws the same where one has zoomed."""
    scale = _Scale(*spans, log=False)
    for low, high, whole, across in ((*spans[0], axes.whole, False), (*spans[1], axes.log, True)):
        step = nice_step(low, high, whole)
        for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
            value = n * step
            text = f"1e{value:g}" if across and axes.log else f"{value:.6g}"
            if across:
                y = scale.y(value)
                yield tag("path", d=f"M{LEFT} {y:.2f}H{RIGHT}")
                yield tag("text", text, x=LEFT - 5, y=f"{(y or 0) + 4:.2f}", class_="y")
            else:
                yield tag("path", d=f"M{scale.x(value):.2f} {TOP}V{BOTTOM}")
                yield tag("text", text, x=f"{scale.x(value):.2f}", y=BOTTOM + 15)


def _key(series: Series) -> Element:
    """A line of the legend, with the last value; pressed, it shows or hides what it names."""
    last = next((y for y in reversed(series.y) if _finite(y)), None)
    sample = "M12 6h0" if series.kind == "points" else "M1 6H23"
    line = f"series {series.kind} c{series.colour % COLOURS}"
    drawn = tag("svg", tag("path", d=sample, class_=line), viewBox="0 0 24 12", aria_hidden="true")
    value = tag("output", f"{last:.4g}" if last is not None and series.kind in CURVES else "")
    text = tag("span", series.name)
    return tag(
        "li",
        tag("button", drawn, text, value, type="button", aria_pressed="true"),
    )
