"""Whether a net is right as often as it says: reliability bins, the error over them, its remedy.

Source: Guo et al. 2017, On Calibration of Modern Neural Networks (arXiv 1706.04599). A net's
confidence in an image is the probability of the class that it predicts.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

BINS = 15  # as in the paper
TEMPERATURES = (0.01, 100.0)


class Bins(NamedTuple):
    """Images by confidence in M bins of one width over 0 to 1, each with its upper edge.

    Arrays [M]: how many images a bin has, how many of them are right, and their mean confidence
    (0 in an empty bin).
    """

    images: np.ndarray
    hits: np.ndarray
    confidence: np.ndarray


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Bins:
    """Returns the bins of probabilities [N, K], where the labels [N] are the true classes."""
    confidence = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == labels
    number = (np.ceil(confidence * bins).astype(int) - 1).clip(0, bins - 1)
    count = np.bincount(number, minlength=bins)
    total = np.bincount(number, confidence, bins)
    return Bins(count, np.bincount(number[right], minlength=bins), total / count.clip(1))


def ece(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Returns the expected calibration error of probabilities [N, K] on labels [N], 0 to 1.

    The mean over the images of how far apart accuracy and confidence of their bin are.
    """
    images, hits, confidence = reliability(probabilities, labels, bins)
    return float(abs(hits - images * confidence).sum() / images.sum())


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean of −log p of the true classes: logits [N, K], labels [N]."""
    log_p = special.log_softmax(logits, 1)
    return float(-np.take_along_axis(log_p, labels[:, None], 1).mean())


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the T within TEMPERATURES by which logits [N, K] divided say best what is true.

    That is of the least cross entropy on labels [N], which has but one minimum. Where every image
    is right, or fewer than by chance, T is towards an end.
    """
    from scipy import optimize  # which takes half a second to import

    logits = logits.astype(np.float64)
    ends = np.log(TEMPERATURES)
    options = {"xatol": 1e-6}
    found = optimize.minimize_scalar(
        lambda x: cross_entropy(logits / np.exp(x), labels), bounds=ends, options=options
    )
    return float(np.exp(found.x))
