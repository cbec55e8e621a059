"""Intervals and tests for few seeds: for one more run, for the mean, and for many claims at once.

Everything uses Student's t. Sources: Spence & Stanley 2016 (doi 10.1371/journal.pone.0162874) for
prediction intervals, Bancroft 1944 for the preliminary test before pooling, Holm 1979 for many
tests at once.
"""

import bisect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special  # importing scipy.stats takes a second

LEVEL = 0.05
POOLING_LEVEL = 0.2  # high on purpose: pooling spreads that differ leads to false verdicts
MOST_SEEDS = 10**6
RESAMPLES = 10_000


class Spread(NamedTuple):
    """A standard deviation between seeds and its degrees of freedom."""

    std: float
    dof: int


def t_quantile(dof: int, level: float = LEVEL) -> float:
    """Returns the t such that 1 − level of Student's distribution lies within ±t."""
    return float(special.stdtrit(dof, 1 - level / 2))


def two_sided_p(distance: float, std: float, dof: int) -> float:
    """Returns the two-sided p-value of t = distance / std."""
    if std == 0:
        return 0.0 if distance else 1.0
    return float(2 * special.stdtr(dof, -abs(distance) / std))


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the sample standard deviation (0 for one value).

    If a value is not finite, neither is the mean, and the standard deviation is 0.
    """
    if not all(map(math.isfinite, values)):
        return sum(values) / len(values), 0.0  # `fsum` raises on inf − inf
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def pool(groups: Iterable[Sequence[float]]) -> Spread | None:
    """Returns the spread within groups, s² = Σ(n−1)s² / Σ(n−1), or None if no group has two values.

    Groups of one value, or with a value that is not finite, do not count.
    """
    found = [
        Spread(mean_std(group)[1], len(group) - 1)
        for group in groups
        if len(group) > 1 and all(map(math.isfinite, group))
    ]
    dof = sum(spread.dof for spread in found)
    squares = math.fsum(spread.dof * spread.std**2 for spread in found)
    return Spread(math.sqrt(squares / dof), dof) if found else None


def pool_with_siblings(own: Sequence[float], siblings: Iterable[Sequence[float]]) -> Spread | None:
    """Returns the spread of a run, pooled with the spread of similar runs unless the two differ.

    The spreads differ if an F test of their variances is significant at POOLING_LEVEL.
    """
    groups = list(siblings)
    alone, others = pool([own]), pool(groups)
    if alone is None or others is None:
        return alone or others
    if others.std == 0 or alone.std == 0:
        return alone
    below = float(special.fdtr(alone.dof, others.dof, (alone.std / others.std) ** 2))
    return alone if 2 * min(below, 1 - below) < POOLING_LEVEL else pool([own, *groups])


def prediction_half_width(spread: Spread, n: int, level: float = LEVEL) -> float:
    """Returns the half width of the interval for one more run, around the mean of n runs."""
    return t_quantile(spread.dof, level) * spread.std * math.sqrt(1 + 1 / n)


def mean_half_width(spread: Spread, n: int, level: float = LEVEL) -> float:
    """Returns the half width of the confidence interval of a mean of n runs."""
    return t_quantile(spread.dof, level) * spread.std / math.sqrt(n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for their number (Holm 1979) and returns them in the same order."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, (len(p_values) - rank) * p_values[i])
        adjusted[i] = min(highest, 1.0)
    return adjusted


def fewest_seeds(decided: Callable[[int], bool], n: int) -> float:
    """Returns the fewest seeds above n for which `decided` is true, or infinity.

    Once true, `decided` must stay true for all higher numbers.
    """
    counts = range(n + 1, MOST_SEEDS + 1)
    found = bisect.bisect_left(counts, True, key=decided)
    return counts[found] if found < len(counts) else math.inf


def probability_of_best(values: Sequence[Sequence[float]]) -> float:
    """Returns how often the first run has the highest mean when the seeds are resampled.

    `values` is [runs, seeds]. Each resample has seeds drawn with replacement, the same ones for
    every run.
    """
    table = np.array(values)
    seeds = table.shape[1]
    picks = np.random.default_rng(0).integers(seeds, size=(RESAMPLES, seeds))
    return float((table[:, picks].mean(2).argmax(0) == 0).mean())
