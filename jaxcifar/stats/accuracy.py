"""Confidence intervals and paired tests for accuracies."""

import math

import numpy as np
from scipy import special  # importing scipy.stats takes a second


def wilson(hits: int, n: int, level: float = 0.05) -> tuple[float, float]:
    """Returns Wilson's interval (1927) at 1 − level for the share hits / n.

    Unlike p ± z·√(p(1−p)/n), it stays within 0 to 1 and is valid for few images and for shares near
    1. For n = 0 it is 0 to 1.
    """
    if not n:
        return 0.0, 1.0
    z, share = float(special.ndtri(1 - level / 2)), hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = max(centre - half, 0.0) if hits else 0.0
    high = min(centre + half, 1.0) if hits < n else 1.0
    return low, high


def mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[int, int, float]:
    """Compares two nets by the images [N] that each classifies correctly.

    Returns the numbers of images that only the first or only the second classifies correctly, and
    the p-value of McNemar's exact test (1947) that the nets are equally accurate. If they are, each
    of these images is equally likely to count in either number.
    """
    alone, other_alone = int((first & ~second).sum()), int((second & ~first).sum())
    below = special.bdtr(min(alone, other_alone), alone + other_alone, 0.5)
    return alone, other_alone, min(1.0, 2 * float(below))


def p_text(p_value: float) -> str:
    """Returns a p-value as text, such as "p = 0.03", or "p < 1e-300" if it is smaller."""
    return f"p = {p_value:.2g}" if p_value >= 1e-300 else "p < 1e-300"
