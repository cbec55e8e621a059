"""Heatmaps: texts and colours, and the PNG drawn from them."""

import numpy as np

from jaxcifar.figures import heatmaps, png


def test_a_confusion_matrix_shows_counts_coloured_by_the_share_of_the_class():
    heatmap = heatmaps.confusion(np.array([[3, 1], [0, 0]]), ("cat", "dog"), "")
    assert heatmap.texts == [["3", "1"], ["·", "·"]]
    np.testing.assert_array_equal(heatmap.values, [[0.75, 0.25], [0, 0]])


def test_gates_are_coloured_by_the_difference_from_the_branch_mean(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(png, "save", lambda fig, path: figures.append(fig))
    heatmap = heatmaps.mean_gates("block", np.array([[0.25, 1.0], [0.75, 1.0]]), ("cat", "dog"))
    np.testing.assert_array_equal(heatmap.values, [[-0.25, 0], [0.25, 0]])
    assert heatmap.limit == 0.25
    png.draw_heatmaps(tmp_path / "a.png", [heatmap, heatmap], "")
    axis = figures[0].axes[0]
    assert [text.get_text() for text in axis.texts] == ["0.250", "1.000", "0.750", "1.000"]
    assert axis.images[0].get_clim() == (-0.25, 0.25)


def test_names_with_dollars_and_control_characters_are_drawn_as_they_are(tmp_path):
    names = [r"$\frac$", "$x", "a\x1b[31m"]
    confusion = heatmaps.confusion(np.eye(3, dtype=int), names, r"$\bad$")
    png.draw_heatmaps(tmp_path / "a.png", [confusion], r"$\worse$")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_class_without_images_has_no_gates_and_changes_no_other():
    nan = float("nan")
    means = np.array([[0.25, 1.0], [nan, nan], [0.75, 1.0]])
    heatmap = heatmaps.mean_gates("block", means, ("cat", "bird", "dog"))
    np.testing.assert_array_equal(heatmap.values, [[-0.25, 0], [0, 0], [0.25, 0]])
    assert heatmap.limit == 0.25
    assert heatmap.texts[1] == ["–", "–"]
