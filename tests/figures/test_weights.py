"""Weight histograms: shares, their band over seeds, and the PNG drawn from them."""

import numpy as np
import pytest

from jaxcifar.figures import png
from jaxcifar.figures.weights import layer_chart, weight_chart


def seed(*counts):
    return {"range": (-1, 1), "counts": counts, "total": 10, "share_below": {"0.001": 0.25}}


def test_several_seeds_are_a_mean_in_a_band_from_least_to_most(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(png, "save", lambda fig, path: figures.append(fig))
    chart = weight_chart("weights", {"a": [seed(2, 8), seed(4, 6)], "none": [], "b": [seed(1, 9)]})
    png.draw_charts(tmp_path / "a.png", [chart], "")
    many, one = chart.series
    assert many.name == "a: 25.0% of the weights within ±0.001"
    assert many.x == [-1, 0, 1]
    assert many.y == pytest.approx([0.3, 0.7, 0.7])
    assert (many.low, many.high) == ([0.2, 0.6, 0.6], [0.4, 0.8, 0.8])
    assert (one.colour, one.low) == (2, ())
    steps = [patch.get_data() for patch in figures[0].axes[0].patches]
    np.testing.assert_allclose(steps[0].values, [0.3, 0.7])
    np.testing.assert_allclose(steps[1].baseline, [0.2, 0.6])


def test_the_shares_of_a_layer_add_up_to_one():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 8))
    chart = layer_chart("conv", kernel, 0)
    assert chart.title == "conv (3×3×3×8)"
    assert sum(chart.series[0].y[:-1]) == pytest.approx(1)
