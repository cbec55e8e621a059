"""The confusions of many classes: a table of the most confused pairs instead of the matrix."""

from xml.etree import ElementTree

import numpy as np

from jaxcifar import data
from jaxcifar.pages import predictions
from jaxcifar.pages.runs import Run, Scores


def page_of(classes):
    """The confusion section of a run in which only class 7 is confused, with 3, twice."""
    matrix = 5 * np.eye(classes, dtype=int)
    matrix[7, 7], matrix[7, 3] = 3, 2
    labels = np.repeat(np.arange(classes), 5)
    names = tuple(f"class {i}" for i in range(classes))
    split = data.Split(np.zeros((len(labels), 32, 32, 3), np.uint8), labels)
    scores = Scores(split, names, np.eye(classes)[labels], {}, matrix)
    run = Run("run", {"data.source": "synthetic"}, [], {}, None, scores, ())
    return "".join(ElementTree.tostring(e, "unicode") for e in predictions.confusion([run]))


def test_many_classes_are_shown_as_their_most_confused_pairs():
    page = page_of(100)
    assert "The 1 most confused pairs of the 100 classes" in page
    for cell in ("class 7", "class 3", "2", "40.0%"):
        assert f">{cell}<" in page
    assert page.count("<td") == 3
    assert "Most frequent mistakes: class 7 as class 3 (2)." in page


def test_few_classes_are_shown_as_a_matrix():
    assert page_of(10).count("<td") == 10 * 10


def test_mcnemars_test_needs_the_same_images_and_labels():
    images = np.zeros((4, 32, 32, 3), np.uint8)

    def scores(labels):
        split = data.Split(images, np.array(labels))
        return Scores(split, ("a", "b"), np.eye(2)[[0, 1, 0, 1]], {}, np.eye(2, dtype=int))

    def tests(other):
        return predictions._mcnemar([(0, "one", scores([0, 0, 1, 1])), (1, "two", scores(other))])

    assert len(tests([0, 0, 1, 1])) == 1
    assert tests([1, 1, 0, 0]) == []
