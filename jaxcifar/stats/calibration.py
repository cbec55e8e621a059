"""Reliability bins, the expected calibration error, and temperature scaling.

Source: Guo et al. 2017, On Calibration of Modern Neural Networks (arXiv 1706.04599). A net's
confidence in an image is the probability of the class it predicts.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

BINS = 15  # as in the paper
TEMPERATURES = (0.01, 100.0)


class Bins(NamedTuple):
    """Images by confidence, in M bins of equal width from 0 to 1 that include their upper edge.

    The arrays [M] hold the number of images in a bin, how many of them are classified correctly,
    and their mean confidence (0 in an empty bin).
    """

    images: np.ndarray
    hits: np.ndarray
    confidence: np.ndarray


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Bins:
    """Returns the bins for probabilities [N, K] and true classes [N]."""
    confidence = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == labels
    number = (np.ceil(confidence * bins).astype(int) - 1).clip(0, bins - 1)
    count = np.bincount(number, minlength=bins)
    total = np.bincount(number, confidence, bins)
    return Bins(count, np.bincount(number[right], minlength=bins), total / count.clip(1))


def ece(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Returns the expected calibration error, 0 to 1, for probabilities [N, K] and labels [N].

    It is the mean of |accuracy − confidence| over the bins, weighted by their numbers of images.
    """
    images, hits, confidence = reliability(probabilities, labels, bins)
    return float(abs(hits - images * confidence).sum() / images.sum())


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean of −log p of the true classes, for logits [N, K] and labels [N]."""
    log_p = special.log_softmax(logits, 1)
    return float(-np.take_along_axis(log_p, labels[:, None], 1).mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the T within TEMPERATURES that minimises the cross entropy of logits / T.

    The cross entropy has a single minimum over T. If all images are classified correctly, or fewer
    than by guessing, this T is close to an end of TEMPERATURES.
    """
    from scipy import optimize  # importing it takes half a second

    logits = logits.astype(np.float64)
    ends = np.log(TEMPERATURES)
    options = {"xatol": 1e-6}
    found = optimize.minimize_scalar(
        lambda x: cross_entropy(logits / np.exp(x), labels), bounds=ends, options=options
    )
    return float(np.exp(found.x))
