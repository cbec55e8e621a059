"""Learning curves: their description, and the lines that the PNG draws from it."""

import statistics

import numpy as np
import pytest

from jaxcifar.figures import png
from jaxcifar.figures.chart import Chart, Series
from jaxcifar.figures.curves import learning_curves

LINE = {
    "epoch": 1,
    "train_loss": 2.0,
    "train_accuracy": 0.1,
    "test_loss": None,
    "test_accuracy": 0.2,
}
VALIDATION = {"validation_loss": 1.5, "validation_accuracy": 0.3}


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """draw(runs) -> the axes of loss and accuracy in the PNG; nothing is written."""
    figures = []
    monkeypatch.setattr(png, "save", lambda fig, path: figures.append(fig))

    def axes(runs):
        png.draw_charts(tmp_path / "curves.png", learning_curves(runs), "title")
        return figures[-1].axes

    return axes


def epochs(*accuracies, loss=1.0):
    return [
        {
            "epoch": number,
            **{f"{split}_accuracy": value for split in ("train", "test")},
            **{f"{split}_loss": loss for split in ("train", "test")},
        }
        for number, value in enumerate(accuracies, 1)
    ]


@pytest.mark.parametrize("more", [{}, VALIDATION], ids=["test_only", "validation"])
def test_the_curves_show_every_split_there_is(more, draw):
    splits = ["train", "test", "validation"] if more else ["train", "test"]
    for axis, what in zip(draw({"run": [[LINE | more]]}), ("loss", "accuracy"), strict=True):
        shown = {line.get_label(): line.get_ydata()[0] for line in axis.lines}
        assert list(shown) == splits
        for split in splits:
            value = (LINE | more)[f"{split}_{what}"]
            assert shown[split] == value or value is None


def test_a_seed_that_diverged_ends_the_mean_but_not_the_other_metrics(draw):
    whole = [LINE | {"epoch": n} for n in (1, 2, 3)]
    broken = [LINE, LINE | {"epoch": 2, "train_loss": None}]
    train_loss = draw({"run": [broken, whole]})[0].lines[0]
    assert list(train_loss.get_xdata()) == [1, 2, 3]
    np.testing.assert_array_equal(train_loss.get_ydata(), [2.0, np.nan, np.nan])


def test_seeds_are_averaged_by_epoch_and_not_by_position():
    """A run that diverged scores its last epoch, which the others skip."""
    whole = [LINE | {"epoch": n} for n in (5, 10, 15)]
    broken = [LINE | {"epoch": n} for n in (5, 7)]
    accuracy = learning_curves({"run": [broken, whole]})[1].series[0]
    assert accuracy.x == [5, 10, 15]
    np.testing.assert_array_equal(accuracy.y, [0.1, np.nan, np.nan])


def test_curves_are_means_in_bands_of_one_standard_deviation(draw):
    seeds = [epochs(0.1, 0.5), epochs(0.3, 0.6), epochs(0.2, 0.4)]
    axis = draw({"many": seeds, "one": seeds[:1]})[1]
    assert axis.lines[0].get_ydata() == pytest.approx([0.2, 0.5])
    assert axis.lines[2].get_ydata() == pytest.approx([0.1, 0.5])
    assert len(axis.collections) == 2  # train and test of the run with several seeds
    band = axis.collections[0].get_paths()[0].vertices
    std = statistics.stdev([0.1, 0.3, 0.2])
    assert band[:, 1].min() == pytest.approx(0.2 - std)


def test_a_loss_far_beyond_the_others_does_not_flatten_them(draw):
    peak = epochs(*[0.1] * 100)
    peak[0]["train_loss"] = 1e30
    peak[1]["train_loss"] = None
    assert draw({"a": [peak]})[0].get_ylim()[1] < 2
    never = epochs(0.1, 0.1, loss=None)
    draw({"a": [never]})


def test_neither_end_of_a_band_around_a_peak_flattens_the_chart():
    peak = epochs(*[0.1] * 100)
    peak[0]["train_loss"] = 1e30
    low, high = learning_curves({"a": [peak, epochs(*[0.1] * 100)]})[0].y_span()
    assert 0 < low < high < 2


def test_a_chart_whose_values_are_mostly_zero_is_shown_whole():
    chart = Chart("", [Series("a", range(9), [0.0] * 8 + [1.0])], "x", "y")
    assert chart.y_span()[1] > 1
