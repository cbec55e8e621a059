"""Draws charts, heatmaps, forest plots and images as PNG files with matplotlib, off screen."""

import contextlib
import math
import pathlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcifar.figures.chart import Chart, Forest, Heatmap, Series
from jaxcifar.figures.text import legend_label, show_literally
from jaxcifar.system import atomic

CELL = 0.54, 0.4  # inches, the size of a heatmap's cell with a text
SMALL_CELL = 0.13, 0.13  # the same without text, in a heatmap of many classes
MOST_LABELS = 200  # along a side of a heatmap; if there are more, every second, third, … is shown
STYLES = {"train": "--", "test": "-", "validation": ":"}


@contextlib.contextmanager
def drawing(
    path: pathlib.Path, rows: int, columns: int, size: tuple[float, float], **subplots: Any
) -> Iterator[tuple[Any, Any]]:
    """Yields a matplotlib figure and its axes [rows, columns], and saves it at the end.

    The user's own style, which may need LaTeX or hide a text, is ignored but left as it is.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        fig = Figure(figsize=size, layout="constrained", dpi=110)
        FigureCanvasAgg(fig)
        yield fig, fig.subplots(rows, columns, squeeze=False, **subplots)
        save(fig, path)


def save(fig: Any, path: pathlib.Path) -> None:
    """Writes the figure as PNG, atomically; all text appears literally."""
    show_literally(fig, path)
    with atomic.replacing(path) as file:
        fig.savefig(file, format="png")


def draw_charts(path: pathlib.Path, charts: Sequence[Chart], title: str) -> None:
    """Draws charts side by side, with one legend in the last chart."""
    with drawing(path, 1, len(charts), (max(7, 5 * len(charts)), 4)) as (fig, axes):
        for chart, axis in zip(charts, axes[0], strict=True):
            for series in chart.series:
                _draw_series(axis, series)
            axis.set(xlabel=chart.x_label, ylabel=chart.y_label)
            if chart.log:
                axis.set_yscale("log")
            else:
                axis.set_ylim(chart.y_span())
            axis.grid(alpha=0.3)
            if chart.integers:
                axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0][-1].legend(fontsize="small")
        fig.suptitle(title)


def _draw_series(axis: Any, series: Series) -> None:
    look = {"color": f"C{series.colour}"}
    x, y, low, high = (np.array(v, float) for v in (series.x, series.y, series.low, series.high))
    label = legend_label(series.name)
    if series.kind == "steps":
        axis.stairs(y[:-1], x, label=label, **look)
        if low.size:
            axis.stairs(high[:-1], x, baseline=low[:-1], fill=True, alpha=0.3, **look)
        return
    marker = "." if len(x) < 3 else None  # so that a single epoch shows
    axis.plot(x, y, STYLES[series.kind], label=label, marker=marker, **look)
    if low.size:
        axis.fill_between(x, low, high, alpha=0.2, lw=0, **look)


def draw_heatmaps(path: pathlib.Path, maps: Sequence[Heatmap], title: str = "") -> None:
    """Draws heatmaps that have the same rows side by side."""
    rows, small = len(maps[0].rows), any(heatmap.is_crowded for heatmap in maps)
    width, height = SMALL_CELL if small else CELL
    widths = [max(2.4, width * min(len(m.columns), MOST_LABELS)) for m in maps]
    size = (1.6 + sum(widths), 1.2 + height * min(rows, MOST_LABELS))
    with drawing(path, 1, len(maps), size, gridspec_kw={"width_ratios": widths}) as (fig, axes):
        for heatmap, axis in zip(maps, axes[0], strict=True):
            colours = {"cmap": "RdBu_r" if heatmap.signed else "Blues", "aspect": "auto"}
            low = -heatmap.limit if heatmap.signed else 0.0
            image = axis.imshow(heatmap.values, vmin=low, vmax=heatmap.limit, **colours)
            for (row, column), value in () if small else np.ndenumerate(heatmap.values):
                ink = "white" if abs(value) > 0.6 * heatmap.limit else "black"
                style = {"ha": "center", "va": "center", "fontsize": 7, "color": ink}
                axis.text(column, row, heatmap.texts[row][column], **style)
            slanted = {"rotation": 90 if small else 45, "ha": "center" if small else "right"}
            across: dict[str, Any] = {} if max(map(len, heatmap.columns)) < 3 else slanted
            across |= {"fontsize": 6} if small else {}
            for set_ticks, names, styles in (
                (axis.set_xticks, heatmap.columns, across),
                (axis.set_yticks, heatmap.rows, {"fontsize": 6} if small else {}),
            ):
                every = math.ceil(len(names) / MOST_LABELS)
                set_ticks(range(0, len(names), every), names[::every], **styles)
            first = axis is axes[0][0]
            if not first:
                axis.set_yticks(range(rows), [])
            axis.set(xlabel=heatmap.column_label, ylabel=heatmap.row_label if first else "")
            axis.set_title(heatmap.title, fontsize="medium")
            if heatmap.signed:
                fig.colorbar(image, ax=axis, shrink=0.8)
        fig.suptitle(title, fontsize="small")


def draw_explanation(
    path: pathlib.Path,
    pixels: np.ndarray,
    heat: np.ndarray,
    title: str,
    gates: Mapping[str, np.ndarray],
) -> None:
    """Draws an image, the same image under a heat map, and the gates of each block.

    `pixels` is uint8 [H, W, 3], `heat` is [h, w], and `gates` has an array [K] for each block.
    """
    with drawing(path, 1, 2 + bool(gates), (8 if gates else 5.5, 2.9)) as (fig, axes):
        height, width = pixels.shape[:2]
        frame = (-0.5, width - 0.5, height - 0.5, -0.5)
        for axis in axes[0][:2]:
            axis.imshow(pixels, interpolation="nearest")
            axis.set_axis_off()
        limits = {"vmin": 0.0, "vmax": float(heat.max()) or 1.0}
        look = {"cmap": "inferno", "alpha": 0.6, "interpolation": "bilinear"}
        support = axes[0][1].imshow(heat, extent=frame, **limits, **look)
        bar = fig.colorbar(support, ax=axes[0][1], shrink=0.8, ticks=[0, limits["vmax"]])
        bar.ax.set_yticklabels(["none", "most"], fontsize="small")
        axes[0][0].set_title("what the net sees", fontsize="small")
        axes[0][1].set_title("support for the class (Grad-CAM)", fontsize="small")
        if gates:
            axis, table = axes[0][2], np.stack(list(gates.values()))
            limit = 1.6 * float(abs(table).max()) or 1.0  # pale enough for black numbers
            axis.imshow(table, cmap="RdBu_r", aspect="auto", vmin=-limit, vmax=limit)
            for (row, column), value in np.ndenumerate(table):
                axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize="small")
            axis.set_yticks(range(len(gates)), gates, fontsize="small")
            axis.set_xticks(range(table.shape[1]))
            axis.set_xlabel("branch", fontsize="small")
            axis.set_title("weights of the branches", fontsize="small")
        fig.suptitle(title, fontsize="medium")


def draw_samples(path: pathlib.Path, images: np.ndarray, names: Sequence[str], title: str) -> None:
    """Draws images, uint8 [rows, columns, H, W, 3], in rows with these names."""
    rows, columns, height, _, _ = images.shape
    gaps = ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0))
    tiles = np.pad(images, gaps, constant_values=255).transpose(0, 2, 1, 3, 4)
    with drawing(path, 1, 1, (2 + 0.42 * columns, 0.6 + 0.42 * rows)) as (_, axes):
        axis = axes[0][0]
        axis.imshow(tiles.reshape(rows * (height + 2), -1, 3), interpolation="nearest")
        axis.set_yticks((np.arange(rows) + 0.5) * (height + 2), names, fontsize="small")
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_title(title, fontsize="medium")


def draw_forests(
    path: pathlib.Path,
    forests: Sequence[Forest],
    title: str,
    colours: Mapping[str, str],
    markers: Mapping[str, str],
) -> None:
    """Draws forest plots below one another; `colours` and `markers` are the legend."""
    from matplotlib.lines import Line2D

    heights = [len(forest.rows) + 2 for forest in forests]
    size = (9, 1.2 + 0.26 * sum(heights))  # inches; text stays readable at a README's width
    ratios = {"height_ratios": heights}
    with drawing(path, len(forests), 1, size, gridspec_kw=ratios) as (fig, axes):
        for forest, axis in zip(forests, axes[:, 0], strict=True):
            _draw_forest(axis, forest, colours)
        fig.suptitle(textwrap.fill(title, 100), fontsize=9)
        handles = [Line2D([], [], color=c, marker="s", label=name) for name, c in colours.items()]
        handles += [
            Line2D([], [], marker=marker, label=name, color="grey", linestyle="")
            for name, marker in markers.items()
        ]
        fig.legend(handles=handles, loc="outside lower left", ncols=len(handles), fontsize=8)


def _draw_forest(axis: Any, forest: Forest, colours: Mapping[str, str]) -> None:
    for number, row in enumerate(forest.rows):
        right = {"x": 1.01, "y": number, "transform": axis.get_yaxis_transform(), "va": "center"}
        for estimate in row.estimates:
            colour = colours[estimate.look]
            axis.plot([estimate.low, estimate.high], [number, number], color=colour)
            marker = "D" if row.diamond else "o"
            axis.plot(estimate.value, number, marker, color=colour, markersize=5)
            axis.text(s=estimate.text, fontsize=8, **right)
    if forest.zero is not None:
        axis.axvline(forest.zero, color="black", lw=0.8)
    axis.set_yticks(range(len(forest.rows)), [row.label for row in forest.rows], fontsize=9)
    axis.set(xlim=forest.span, ylim=(len(forest.rows) - 0.4, -0.6))
    axis.tick_params(axis="x", labelsize=9)
    axis.grid(axis="x", alpha=0.3)
    axis.set_title(forest.title, fontsize=10, loc="left")
