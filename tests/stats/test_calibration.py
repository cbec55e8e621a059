"""Calibration, against closed forms and a slow, obvious version."""

import numpy as np
import pytest

from jaxcifar.stats.calibration import cross_entropy, ece, fit_temperature, reliability


def two_classes(confidence, right):
    """Returns probabilities [N, 2] that predict class 0 with these confidences, and labels."""
    confidence = np.array(confidence)
    return np.stack([confidence, 1 - confidence], 1), np.where(right, 0, 1)


def test_confidence_equal_to_accuracy_is_no_error():
    """Confidence 0.75, three of four correct."""
    assert ece(*two_classes([0.75] * 4, [1, 1, 1, 0])) == 0.0


def test_the_error_at_full_confidence_is_the_error_rate():
    assert ece(*two_classes([1.0] * 10, [1] * 7 + [0] * 3)) == pytest.approx(0.3)


def test_a_guess_is_calibrated_if_the_classes_are_balanced():
    labels = np.arange(10).repeat(5)
    assert ece(np.full((50, 10), 0.1), labels) == pytest.approx(0.0, abs=1e-12)


def test_bins_by_hand():
    """Two bins: (0, 0.5] has a tie of two classes, which is its upper edge; (0.5, 1] has three."""
    probabilities, labels = two_classes([0.5, 0.6, 0.8, 1.0], [1, 1, 0, 1])
    bins = reliability(probabilities, labels, bins=2)
    assert bins.images.tolist() == [1, 3]
    assert bins.hits.tolist() == [1, 2]
    assert bins.confidence == pytest.approx([0.5, 0.8])
    # |1 − 0.5| of one image, |2/3 − 0.8| of three
    assert ece(probabilities, labels, bins=2) == pytest.approx((0.5 + 3 * (0.8 - 2 / 3)) / 4)


def test_the_error_matches_a_slow_obvious_version():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.full(10, 0.3), 500).astype(np.float32)
    labels = generator.integers(0, 10, 500)
    expected, bins = 0.0, 15
    for m in range(bins):
        inside = [
            (p.max(), p.argmax() == label)
            for p, label in zip(probabilities, labels, strict=True)
            if m / bins < p.max() <= (m + 1) / bins
        ]
        if inside:
            confidence, accuracy = np.mean([c for c, _ in inside]), np.mean([r for _, r in inside])
            expected += len(inside) / 500 * abs(accuracy - confidence)
    assert ece(probabilities, labels) == pytest.approx(expected, rel=1e-6)
    assert reliability(probabilities, labels).images.sum() == 500


@pytest.fixture(scope="module")
def calibrated():
    """Returns logits of 20,000 images, and labels drawn from their softmax."""
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(20_000, 10))
    noise = generator.gumbel(size=logits.shape)
    return logits, (logits + noise).argmax(1)


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5])
def test_the_temperature_undoes_a_scaling_of_the_logits(calibrated, factor):
    logits, labels = calibrated
    found = fit_temperature(factor * logits, labels)
    assert found == pytest.approx(factor, rel=0.02)  # the noise of the draw, about four σ
    assert found == pytest.approx(factor * fit_temperature(logits, labels), rel=1e-4)
    for other in (0.99, 1.01):
        least, more = (cross_entropy(factor * logits / t, labels) for t in (found, other * found))
        assert least < more
    scaled = np.exp(factor * logits / found)
    assert ece(scaled / scaled.sum(1, keepdims=True), labels) < 0.01
    np.testing.assert_array_equal((factor * logits / found).argmax(1), logits.argmax(1))


def test_the_best_temperature_for_two_classes_has_a_closed_form():
    """Every image has logits (3, 0) and seven of ten are right: σ(3/T) = 0.7."""
    logits, labels = np.tile([3.0, 0.0], (10, 1)), np.repeat([0, 1], [7, 3])
    assert fit_temperature(logits, labels) == pytest.approx(3 / np.log(0.7 / 0.3), rel=1e-5)
    assert cross_entropy(logits, labels) == pytest.approx(
        -0.7 * np.log(1 / (1 + np.exp(-3))) - 0.3 * np.log(1 / (1 + np.exp(3)))
    )


def test_without_a_best_temperature_it_is_close_to_an_end():
    logits = np.tile([3.0, 0.0], (10, 1))
    assert fit_temperature(logits, np.zeros(10, int)) < 0.1  # all are right
    assert fit_temperature(logits, np.ones(10, int)) > 50  # none is
