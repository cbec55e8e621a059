"""The axes of charts."""

import math
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from jaxcifar.figures.chart import Chart, Series, share_axes


def test_charts_share_the_axes_that_have_the_same_label():
    one = Chart("a", [Series("a", [1, 5], [0.0, 1.0])], "epoch", "loss")
    two = Chart("b", [Series("b", [3, 9], [2.0, 3.0])], "epoch", "loss")
    other = Chart("c", [Series("c", [2, 4], [0.1, 0.2])], "epoch", "accuracy")
    shared = share_axes([one, two, other])
    assert {chart.x_span() for chart in shared} == {(1.0, 9.0)}
    assert shared[0].y_span() == shared[1].y_span() == (one.y_span()[0], two.y_span()[1])
    assert shared[2].y_span() == other.y_span()


def test_the_peak_of_a_histogram_is_in_the_chart_but_that_of_a_curve_may_not_be():
    values = [0.0, 0.0001, 0.97, 0.0001, 0.0]
    steps = Chart("a", [Series("a", range(6), [*values, 0.0], kind="steps")], "x", "share")
    assert steps.y_span()[1] > 0.97
    assert Chart("a", [Series("a", range(5), values)], "x", "loss").y_span()[1] < 0.1


@pytest.mark.parametrize("rates", [[0.1, 0.1], [0.0028, 0.003], [1e-7, 0.3], [0.0, 1e-3]])
def test_a_logarithmic_axis_spans_whole_powers_of_ten(rates):
    chart = Chart("a", [Series("a", [1, 2], rates)], "epoch", "learning rate", log=True)
    low, high = chart.y_span()
    assert (low, high) == (round(low), round(high))
    assert low < high
    drawn = [math.log10(rate) for rate in rates if rate]
    assert low <= min(drawn)
    assert max(drawn) <= high


def test_a_chart_of_dots_has_no_line():
    assert not Chart("a", [Series("a", [1], [2.0]), Series("b", [1], [1.0])], "x", "y").has_line
    assert not Chart("a", [Series("a", [1, 2], [2.0, None])], "x", "y").has_line
    assert Chart("a", [Series("a", [1, 2], [2.0, 1.0])], "x", "y").has_line


DRAW = """
import pathlib
import matplotlib
from jaxcifar.figures.chart import Chart, Series
from jaxcifar.figures.png import draw_charts
before = dict(matplotlib.rcParams)
series = Series("a_b", [1, 2, 3], [0.1, 0.2, 0.4])
draw_charts(pathlib.Path("chart.png"), [Chart("a", [series], "epoch", "loss")], "run")
assert dict(matplotlib.rcParams) == before
"""
COMMAND = """
from jaxcifar.system import command
def main():
    import matplotlib
command.run_command(main)
"""


def test_the_users_own_style_changes_nothing_and_is_kept(tmp_path):
    """A style may need LaTeX."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nlines.linewidth: 9\n")
    drawn = set()
    for own in ({}, {"MATPLOTLIBRC": str(tmp_path)}):
        env = os.environ | {"PYTHONPATH": str(ROOT)} | own
        folder = tmp_path / f"with{len(own)}"
        folder.mkdir()
        subprocess.run([sys.executable, "-c", DRAW], cwd=folder, env=env, check=True)
        drawn.add((folder / "chart.png").read_bytes())
    assert len(drawn) == 1


def test_a_command_needs_no_backend_of_matplotlib():
    """A notebook sets one that may be unknown to the command's environment."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "nonsense"}
    subprocess.run([sys.executable, "-c", COMMAND], env=env, check=True)
