"""Calibration and the page of a run, with numbers computed by hand."""

import types

import numpy as np
from scipy import special

from jaxcifar import data
from jaxcifar.pages import predictions
from jaxcifar.pages.runs import Run, Scores
from jaxcifar.stats import calibration
from jaxcifar.stats.accuracy import wilson
from jaxcifar.weights import evaluation


def test_a_temperature_is_fitted_on_a_random_half_and_scored_on_the_other(monkeypatch):
    """Random, because the images may be sorted by class."""
    calls = {"fit_temperature": [], "ece": [], "cross_entropy": []}
    for name, made in calls.items():
        monkeypatch.setattr(
            calibration, name, lambda x, labels, made=made: made.append((x, labels)) or 4.0
        )
    labels = np.repeat(np.arange(10), 20)
    logits = np.random.default_rng(0).normal(size=(200, 10))
    dataset = types.SimpleNamespace(
        test=data.Split(None, labels), validation=data.Split(None, labels[:0])
    )
    found = evaluation.fit_temperature(None, dataset, "test", logits)
    assert (found["fitted_images"], found["images"]) == (100, 100)
    ((fit, fit_labels),) = calls["fit_temperature"]
    (before, its_labels), (after, _) = calls["cross_entropy"]
    rows = np.concatenate([fit, before])
    order, whole = np.lexsort(rows.T), np.lexsort(logits.T)
    np.testing.assert_array_equal(rows[order], logits[whole])  # each image is in one half
    np.testing.assert_array_equal(np.concatenate([fit_labels, its_labels])[order], labels[whole])
    assert np.bincount(fit_labels, minlength=10).min() > 0
    np.testing.assert_allclose(after, before / 4.0)
    for (p, same), divided in zip(calls["ece"], (before, after), strict=True):
        np.testing.assert_allclose(p, special.softmax(divided, 1))
        np.testing.assert_array_equal(same, its_labels)


def test_the_page_gives_each_class_its_accuracy_and_each_bin_its_hits(monkeypatch):
    labels = np.array([0, 0, 0, 0, 1, 1])
    sure = np.array([0.95, 0.95, 0.95, 0.55, 0.95, 0.55])
    right = np.array([True, True, False, True, True, False])
    predicted = np.where(right, labels, 1 - labels)
    probabilities = np.where(np.arange(2) == predicted[:, None], sure[:, None], 1 - sure[:, None])
    split = data.Split(np.zeros((6, 32, 32, 3), np.uint8), labels)
    gates = {"block0": np.array([[5.0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [0, 1]])}
    matrix = np.array([[3, 1], [1, 1]])
    scores = Scores(split, ("cat", "dog"), probabilities, gates, matrix)
    run = Run("net", {"data.source": "synthetic"}, [], {}, None, scores, ())
    for name, hits, images in (("cat", 3, 4), ("dog", 1, 2)):
        estimate = predictions._estimate(scores, name, 0)
        assert estimate.value == hits / images
        assert (estimate.low, estimate.high) == wilson(hits, images)
    charts = []
    monkeypatch.setattr(predictions.svg, "draw", lambda chart, *_: charts.append(chart) or "")
    words = "".join(predictions.calibration([run])[0].itertext())
    assert "mean confidence 0.817, accuracy 0.667. The net is overconfident" in words
    _, points = charts[0].series
    np.testing.assert_allclose(points.x, [0.55, 0.95])
    np.testing.assert_allclose(points.y, [1 / 2, 3 / 4])
    text = "".join("".join(e.itertext()) for e in predictions.gates([run]))
    assert "single images with the largest gates: cat, dog, cat, cat, cat, dog" in text
