"""Charts as SVG: the values can be read back from the paths."""

import json
import math
import re

import numpy as np
import pytest

from jaxcifar.figures.chart import Chart, Series
from jaxcifar.figures.curves import learning_curves
from jaxcifar.figures.weights import histogram
from jaxcifar.pages import svg as charts
from jaxcifar.pages.svg import BOTTOM, LEFT, RIGHT, TOP


def read_back(figure, number=0):
    """Returns the values of a line, from the coordinates of its points."""
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


def draw(*series, **options):
    return charts.draw(Chart("a", series, "x", "y", **options))


def flat(pairs):
    return [value for pair in pairs for value in pair]


def test_a_line_goes_through_its_values():
    values = [(1, 2.3), (2, 1.1), (3, 0.7), (5, 0.9)]
    x, y = zip(*values, strict=True)
    figure = draw(Series("a", x, y))
    assert flat(read_back(figure)) == pytest.approx(flat(values), abs=0.005)
    assert figure.find("svg").get("aria-label").endswith("a from 2.3 at 1 to 0.9 at 5")


def test_a_logarithmic_line_goes_through_the_logarithms_and_leaves_out_zero():
    figure = draw(Series("a", [1, 2, 3, 4], [1.0, 0.0, 1e-3, 1e-2]), log=True)
    assert flat(read_back(figure)) == pytest.approx([1, 0, 3, -3, 4, -2], abs=0.02)


def test_values_that_are_not_finite_leave_a_gap():
    y = [1.0, 2.0, None, 3.0, math.nan, 1.5, 1.0]
    figure = draw(Series("a", range(7), y))
    path = figure.find("svg/svg/g/path")
    assert re.findall("[MLh]", path.get("d")) == ["M", "L", "M", "h", "M", "L"]  # h: a dot
    assert json.loads(path.get("data-y")) == [1.0, 2.0, None, 3.0, None, 1.5, 1.0]


def test_a_far_peak_of_a_run_that_diverged_does_not_flatten_the_chart():
    y = [1.0, 0.8, 0.6, 0.5, 1e9]
    figure = draw(Series("a", range(5), y))
    assert json.loads(figure.find("svg").get("data-spans"))[3] < 2
    assert max(y for _, y in read_back(figure)) > 2  # outside the chart, and clipped there


@pytest.mark.parametrize("series", [[], [Series("a", [], [])], [Series("a", [3], [0.5])]])
def test_one_point_or_none_can_be_drawn(series):
    x0, x1, y0, y1 = json.loads(draw(*series)[1].get("data-spans"))
    assert x1 > x0
    assert y1 > y0


def test_a_single_epoch_is_a_visible_dot():
    """A line of no length shows only its round ends, and only lines with `points` have them."""
    path = draw(Series("a", [3, 4], [0.5, None])).find("svg/svg/g/path")
    assert "points" in path.get("class").split()


def test_steps_are_drawn_over_their_bins():
    figure = draw(histogram("a", np.arange(3), np.array([0.25, 0.75]), 0))
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
def test_the_grid_has_round_steps(low, high, whole, step):
    assert charts.nice_step(low, high, whole) == pytest.approx(step)


def test_a_band_goes_up_along_one_side_and_back_along_the_other():
    s = Series("a", [0, 1], [1.0, 2.0], low=[0.0, 1.0], high=[2.0, 3.0])
    band = draw(s, y_range=(0, 3)).find("svg/svg/g/path")
    corners = re.findall(r"[\d.]+ [\d.]+", band.get("d"))
    heights = [(BOTTOM - float(c.split()[1])) / (BOTTOM - TOP) * 3 for c in corners]
    assert heights == pytest.approx([2, 3, 1, 0], abs=0.01)


def test_a_band_of_steps_is_a_box_for_each_bin_down_to_zero_on_a_log_axis():
    shares, band = np.array([0.1, 0.2]), (np.array([0.0, 0.1]), np.array([0.1, 0.2]))
    figure = draw(histogram("a", np.arange(3), shares, 0, band), log=True)
    boxes = re.findall(r"M[^Z]+Z", figure.find("svg/svg/g/path").get("d"))
    assert ["V90000.00" in box for box in boxes] == [True, False]


def test_a_seed_that_diverged_ends_the_mean_as_in_the_png():
    line = {"train_loss": 2.0, "train_accuracy": 0.1}
    whole = [line | {"epoch": n} for n in (1, 2, 3)]
    broken = [whole[0], whole[1] | {"train_loss": None}]
    loss, accuracy = learning_curves({"run": [broken, whole]})
    values = [
        json.loads(path.get("data-y"))
        for chart in (loss, accuracy)
        for path in charts.draw(chart).iter("path")
        if path.get("data-y")
    ]
    assert values == [[2.0, None, None], [0.1, 0.1, None]]
