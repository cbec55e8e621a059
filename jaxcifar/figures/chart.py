"""Describes charts, heatmaps and forest plots as plain data."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

Values = Sequence[float | None]
Span = tuple[float, float]
MANY = 30  # rows or columns of a heatmap
FAR = 100  # times the upper quartile; only the curve or band of a diverged run goes beyond it


@dataclasses.dataclass(frozen=True)
class Series:
    """One line of a chart, with a band (or whiskers, for points) from `low` to `high`.

    `kind` sets the look: train (dashed), test (solid), validation (dotted), points, steps, or
    reference (grey, without values to read). A y that is None or not finite leaves a gap.
    """

    name: str
    x: Sequence[float]
    y: Values
    colour: int = 0
    kind: str = "test"
    low: Values = ()
    high: Values = ()


@dataclasses.dataclass(frozen=True)
class Chart:
    """Series on one pair of axes. Without a range, an axis spans the data.

    `log` makes the y axis logarithmic; `integers` puts ticks at whole x only.
    """

    title: str
    series: Sequence[Series]
    x_label: str
    y_label: str
    log: bool = False
    integers: bool = False
    x_range: Span | None = None
    y_range: Span | None = None

    @property
    def has_line(self) -> bool:
        """Whether a series has two values or more, without which a chart would be a dot."""
        return any(sum(map(is_finite, series.y)) > 1 for series in self.series)

    def x_span(self) -> Span:
        """Returns the ends of the x axis."""
        if self.x_range:
            return self.x_range
        x = [value for series in self.series for value in series.x] or [0.0]
        low, high = float(min(x)), float(max(x))
        return (low, high) if high > low else (low - 0.5, low + 0.5)

    def y_span(self) -> Span:
        """Returns the ends of the y axis (their log10 if `log`), leaving out far peaks of curves.

        The few huge losses of a run that diverged would flatten everything else.
        """
        if self.y_range:
            return self.y_range
        scaled = (scale(v, self.log) for s in self.series for v in (*s.y, *s.low, *s.high))
        y = np.array([value for value in scaled if value is not None] or [0.0])
        keep_all = self.log or any(series.kind == "steps" for series in self.series)  # a histogram
        far = 0.0 if keep_all else FAR * float(np.percentile(abs(y), 75))
        if far:
            y = y[abs(y) <= far]
        low, high = float(y.min()), float(y.max())
        if self.log:  # whole powers of ten, so that at least two have a tick
            return math.floor(low), max(math.ceil(high), math.floor(low) + 1)
        margin = 0.04 * (high - low) or 0.1 * abs(high) or 1.0
        return low - margin, high + margin


def share_axes(charts: Sequence[Chart]) -> list[Chart]:
    """Returns the charts with one range for every axis that several of them have, by its label."""
    shared = []
    for one in charts:
        x = [o.x_span() for o in charts if o.x_label == one.x_label]
        y = [o.y_span() for o in charts if (o.y_label, o.log) == (one.y_label, one.log)]
        shared.append(dataclasses.replace(one, x_range=_union(x), y_range=_union(y)))
    return shared


def _union(spans: Sequence[Span]) -> Span:
    return min(low for low, _ in spans), max(high for _, high in spans)


@dataclasses.dataclass(frozen=True)
class Heatmap:
    """A table of texts, coloured by `values` [R, C] from −limit (or 0, unless signed) to limit."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    row_label: str
    column_label: str
    texts: Sequence[Sequence[str]]
    values: np.ndarray
    limit: float = 1.0
    signed: bool = False

    @property
    def is_crowded(self) -> bool:
        """Whether there are too many cells to read a text in each."""
        return max(len(self.rows), len(self.columns)) > MANY


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value with its interval, in words too. `look` is a verdict or a colour ("c0", "c1", …)."""

    value: float
    low: float
    high: float
    look: str
    text: str


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a forest plot, with a label and what it means in words."""

    label: str
    estimates: Sequence[Estimate]
    diamond: bool = False
    words: str = ""


@dataclasses.dataclass(frozen=True)
class Forest:
    """A forest plot: rows of intervals on one scale from span[0] to span[1], a line at `zero`."""

    title: str
    rows: Sequence[Row]
    span: tuple[float, float]
    zero: float | None = None


def is_finite(value: float | None) -> bool:
    """Returns whether a value can be drawn."""
    return value is not None and math.isfinite(value)


def scale(value: float | None, log: bool) -> float | None:
    """Returns the value, or its log10, or None if it cannot be drawn."""
    if value is None or not math.isfinite(value) or (log and value <= 0):
        return None
    return math.log10(value) if log else value
