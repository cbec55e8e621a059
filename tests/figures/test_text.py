"""Names appear in pictures as they are, and a picture of many classes can be read."""

import itertools
import warnings

import numpy as np
import pytest
from matplotlib.text import Text

from jaxcifar.figures import heatmaps, png, text
from jaxcifar.figures.chart import Chart, Series

FOREIGN = ["$x^2$", "_^{", "a [b] $", "lr_0.1^2 $\\frac$", "_hidden"]


@pytest.fixture
def saved(monkeypatch):
    """The figures that are saved."""
    figures, save = [], text.show_literally

    def keep(fig, path):
        figures.append(fig)
        save(fig, path)

    monkeypatch.setattr(png, "show_literally", keep)
    return figures


def shown(fig):
    """The texts of a drawn figure, all of them literal except the numbers of a log axis."""
    return {t.get_text(): t for t in fig.findobj(Text) if t.get_text()}


def test_formulas_in_the_names_of_runs_are_literal(saved, tmp_path):
    series = [Series(name, [1, 2], [0.1, 0.5], i) for i, name in enumerate(FOREIGN)]
    chart = Chart("", series, "epoch", "loss", log=True)
    png.draw_charts(tmp_path / "chart.png", [chart], FOREIGN[1])
    texts = shown(saved[0])
    for name in FOREIGN:
        assert not texts[text.legend_label(name)].get_parse_math()
    labels = saved[0].axes[0].yaxis.get_ticklabels(minor=True)
    assert all(label.get_parse_math() for label in labels)  # 2·10⁻¹


def test_formulas_in_the_names_of_classes_are_literal(saved, tmp_path):
    matrix = np.eye(len(FOREIGN), dtype=int)
    png.draw_heatmaps(tmp_path / "map.png", [heatmaps.confusion(matrix, FOREIGN, FOREIGN[1])])
    texts = shown(saved[0])
    assert all(not texts[name].get_parse_math() for name in FOREIGN)


def test_a_character_that_no_font_has_is_written_as_its_code_and_reported_once(
    saved, tmp_path, monkeypatch
):
    glyphs = text._glyphs
    monkeypatch.setattr(text, "_glyphs", lambda file: glyphs(file) - {"猫"})
    maps = [heatmaps.confusion(np.eye(2, dtype=int), ["猫", "b"], "title 猫")]
    with pytest.warns(UserWarning, match=r"map.png, which shows their codes") as warned:
        png.draw_heatmaps(tmp_path / "map.png", maps)
    assert len(warned) == 1
    assert {"\\u732b", "title \\u732b", "b"} <= shown(saved[0]).keys()


def test_another_font_is_used_for_characters_that_the_usual_one_lacks(saved, tmp_path):
    """STIXNonUnicode and STIXSizeOneSym come with matplotlib."""
    from matplotlib import font_manager

    usual = text._glyphs(font_manager.findfont("DejaVu Sans"))
    stix = text._glyphs(font_manager.findfont("STIXGeneral"))
    character = min(c for c in stix - usual if c.isprintable())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib's, that a glyph is missing
        maps = [heatmaps.confusion(np.eye(2, dtype=int), [character, "b"], "title")]
        png.draw_heatmaps(tmp_path / "map.png", maps)
    assert len(shown(saved[0])[character].get_fontfamily()) == 2


@pytest.mark.parametrize(("classes", "every"), [(30, 1), (100, 1), (450, 3)])
def test_the_labels_of_many_classes_do_not_overlap(classes, every, saved, tmp_path):
    names = [f"class {i}" for i in range(classes)]
    matrix = np.eye(classes, dtype=int)
    png.draw_heatmaps(tmp_path / "map.png", [heatmaps.confusion(matrix, names, "title")])
    axis = saved[0].axes[0]
    labels = axis.get_yticklabels()
    assert [label.get_text() for label in labels] == names[::every]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))
    assert bool(axis.texts) == (classes == 30)
