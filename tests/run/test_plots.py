import pytest

from jaxcifar.run import plots

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
