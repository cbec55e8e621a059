import numpy as np
import pytest

from jaxcifar.figures import plots

LINE = {
    "epoch": 1,
    "train_loss": 2.0,
    "train_accuracy": 0.1,
    "test_loss": None,
    "test_accuracy": 0.2,
}
VALIDATION = {"validation_loss": 1.5, "validation_accuracy": 0.3}


@pytest.mark.parametrize("more", [{}, VALIDATION], ids=["test_only", "validation"])
def test_the_curves_show_every_split_there_is(more, monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(plots, "save", lambda fig, path: figures.append(fig))
    plots.curves(tmp_path / "curves.png", {"run": [[LINE | more]]}, "a run")
    splits = ["train", "test", "validation"] if more else ["train", "test"]
    for axis, what in zip(figures[0].axes, ("loss", "accuracy"), strict=True):
        shown = {line.get_label(): line.get_ydata()[0] for line in axis.lines}
        assert list(shown) == splits
        for split in splits:
            value = (LINE | more)[f"{split}_{what}"]
            assert shown[split] == value or value is None


def test_a_seed_that_diverged_ends_the_mean_and_not_the_others(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(plots, "save", lambda fig, path: figures.append(fig))
    whole = [LINE | {"epoch": n} for n in (1, 2, 3)]
    broken = [LINE, LINE | {"epoch": 2, "train_loss": None}]
    plots.curves(tmp_path / "curves.png", {"run": [broken, whole]}, "a run")
    train_loss = figures[0].axes[0].lines[0]
    assert list(train_loss.get_xdata()) == [1, 2, 3]
    np.testing.assert_array_equal(train_loss.get_ydata(), [2.0, np.nan, np.nan])
