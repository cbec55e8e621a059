"""Charts: a line, read back from its path, is the values that it was drawn of."""

import json
import math
import re

import pytest

from jaxcifar.pages import charts
from jaxcifar.pages.charts import BOTTOM, LEFT, RIGHT, TOP, Axes, Series


def read_back(figure, number=0):
    """The values of a line, from the places of its points in the picture."""
    svg = figure.find("svg")
    x0, x1, y0, y1 = json.loads(svg.get("data-spans"))
    path = [p for p in svg.iter("path") if p.get("data-y")][number]
    points = [tuple(map(float, p)) for p in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path.get("d"))]
    return [
        (
            x0 + (x - LEFT) / (RIGHT - LEFT) * (x1 - x0),
            y0 + (BOTTOM - y) / (BOTTOM - TOP) * (y1 - y0),
        )
        for x, y in points
    ]


def flat(pairs):
    return [value for pair in pairs for value in pair]


def test_a_line_goes_through_its_values():
    values = [(1, 2.3), (2, 1.1), (3, 0.7), (5, 0.9)]
    x, y = zip(*values, strict=True)
    figure = charts.chart("loss", [Series("a", x, y)], Axes("epoch", "loss"))
    assert flat(read_back(figure)) == pytest.approx(flat(values), abs=0.005)
    assert figure.find("svg").get("aria-label").endswith("a from 2.3 at 1 to 0.9 at 5")


def test_a_logarithmic_line_goes_through_the_logarithms_and_leaves_out_what_has_none():
    figure = charts.chart(
        "a", [Series("a", [1, 2, 3, 4], [1.0, 0.0, 1e-3, 1e-2])], Axes("x", "y", True)
    )
    assert flat(read_back(figure)) == pytest.approx([1, 0, 3, -3, 4, -2], abs=0.02)


def test_what_is_not_finite_is_a_gap():
    y = [1.0, 2.0, None, 3.0, math.nan, 1.5, 1.0]
    figure = charts.chart("a", [Series("a", range(7), y)], Axes("x", "y"))
    path = figure.find("svg/svg/g/path")
    assert re.findall("[MLh]", path.get("d")) == ["M", "L", "M", "h", "M", "L"]  # h: a dot
    assert json.loads(path.get("data-y")) == [1.0, 2.0, None, 3.0, None, 1.5, 1.0]


def test_the_few_points_of_a_run_that_diverged_do_not_flatten_the_others():
    y = [1.0, 0.8, 0.6, 0.5, 1e9]
    figure = charts.chart("a", [Series("a", range(5), y)], Axes("x", "y"))
    assert json.loads(figure.find("svg").get("data-spans"))[3] < 2
    assert max(y for _, y in read_back(figure)) > 2  # beyond the picture, and cut off there


@pytest.mark.parametrize("series", [[], [Series("a", [], [])], [Series("a", [3], [0.5])]])
def test_little_or_nothing_is_drawn_too(series):
    x0, x1, y0, y1 = json.loads(charts.chart("a", series, Axes("x", "y"))[1].get("data-spans"))
    assert x1 > x0
    assert y1 > y0


def test_one_epoch_is_a_dot_that_is_seen():
    """A line of no length is drawn by its round ends alone, which `points` have."""
    path = charts.chart("a", [Series("a", [3, 4], [0.5, None])], Axes("x", "y")).find(
        "svg/svg/g/path"
    )
    assert "points" in path.get("class").split()


def test_steps_stand_over_their_bins():
    figure = charts.chart("a", [charts.histogram("a", [0, 1, 2], [0.25, 0.75], 0)], Axes("x", "y"))
    d = figure.find("svg/svg/g/path").get("d")
    middle, right = (LEFT + RIGHT) / 2, RIGHT
    heights = re.fullmatch(rf"M{LEFT:.2f} (.+)H{middle:.2f}V(.+)H{right:.2f}V(.+)", d)
    low, high, end = (float(value) for value in heights.groups())
    assert high == end < low  # the second bin is the higher


@pytest.mark.parametrize(
    ("low", "high", "whole", "step"),
    [
        (0, 1, False, 0.2),
        (0, 30, True, 10),
        (1, 3, True, 1),
        (0, 1e-4, False, 2e-5),
        (-3, 4, False, 2),
    ],
)
def test_steps_of_the_grid_are_round(low, high, whole, step):
    assert charts.nice_step(low, high, whole) == pytest.approx(step)


def test_a_band_goes_up_along_one_side_and_back_along_the_other():
    s = Series("a", [0, 1], [1.0, 2.0], low=[0.0, 1.0], high=[2.0, 3.0])
    band = charts.chart("a", [s], Axes("x", "y", y_range=(0, 3))).find("svg/svg/g/path")
    corners = re.findall(r"[\d.]+ [\d.]+", band.get("d"))
    heights = [(BOTTOM - float(c.split()[1])) / (BOTTOM - TOP) * 3 for c in corners]
    assert heights == pytest.approx([2, 3, 1, 0], abs=0.01)
