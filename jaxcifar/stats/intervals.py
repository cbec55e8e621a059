"""Intervals for few seeds: what one more run would give, where a mean lies, how many seeds decide.

Student's t throughout; no record and no claim is known here. Sources: Spence & Stanley 2016 (doi
10.1371/journal.pone.0162874) for prediction intervals, Bancroft 1944 for the preliminary test
before pooling, Holm 1979 for many tests at once.
"""

import bisect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special  # scipy.stats takes a second to import

LEVEL = 0.05
POOLING_LEVEL = 0.2  # lenient on purpose: spreads that are pooled by mistake make false verdicts
MOST_SEEDS = 10**6


class Spread(NamedTuple):
    """A standard deviation between seeds, and the degrees of freedom that it is known by."""

    std: float
    freedom: int


def quantile(freedom: int, level: float = LEVEL) -> float:
    """Returns t(1 − level/2, freedom): 1 − level lies within ± that."""
    return float(special.stdtrit(freedom, 1 - level / 2))


def two_sided(distance: float, std: float, freedom: int) -> float:
    """Returns the chance of a t as far from 0 as distance/std, on either side."""
    if std == 0:
        return 0.0 if distance else 1.0
    return float(2 * special.stdtr(freedom, -abs(distance) / std))


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the sample standard deviation (0 for one value)."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2 or not math.isfinite(mean):
        return mean, 0.0
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def pool(groups: Iterable[Sequence[float]]) -> Spread | None:
    """Returns the spread within groups, s² = Σ(n−1)s² / Σ(n−1); None without two of any."""
    found = [(len(group) - 1, mean_std(group)[1] ** 2) for group in groups if len(group) > 1]
    freedom, squares = sum(n for n, _ in found), math.fsum(n * v for n, v in found)
    return Spread(math.sqrt(squares / freedom), freedom) if found else None


def pool_with_siblings(own: Sequence[float], siblings: Iterable[Sequence[float]]) -> Spread | None:
    """Returns the spread of `own` and its siblings together, or its own where that is another.

    It is another where an F test of its variance against theirs says so at POOLING_LEVEL.
    """
    alone, others = pool([own]), pool(siblings)
    if alone is None or others is None:
        return alone or others
    if others.std == 0 or alone.std == 0:
        return alone
    ratio = (alone.std / others.std) ** 2
    below = float(special.fdtr(alone.freedom, others.freedom, ratio))
    if 2 * min(below, 1 - below) < POOLING_LEVEL:
        return alone
    freedom = alone.freedom + others.freedom
    squares = alone.freedom * alone.std**2 + others.freedom * others.std**2
    return Spread(math.sqrt(squares / freedom), freedom)


def one_more_run(spread: Spread, n: int, level: float = LEVEL) -> float:
    """Returns the half width of the prediction interval, about the mean of n, for one more run."""
    return quantile(spread.freedom, level) * spread.std * math.sqrt(1 + 1 / n)


def of_mean(spread: Spread, n: int, level: float = LEVEL) -> float:
    """Returns the half width of the interval of a mean of n."""
    return quantile(spread.freedom, level) * spread.std / math.sqrt(n)


def holm(chances: Sequence[float]) -> list[float]:
    """Returns the p-values adjusted for being so many (Holm 1979), in their order."""
    adjusted, highest = [0.0] * len(chances), 0.0
    for rank, i in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        highest = max(highest, (len(chances) - rank) * chances[i])
        adjusted[i] = min(highest, 1.0)
    return adjusted


def fewest_seeds(decided: Callable[[int], bool], n: int) -> float:
    """Returns the fewest seeds above n for which `decided` is true, as it stays; else infinity."""
    counts = range(n + 1, MOST_SEEDS + 1)
    found = bisect.bisect_left(counts, True, key=decided)
    return counts[found] if found < len(counts) else math.inf


def chance_of_best(values: Sequence[Sequence[float]], draws: int = 10_000) -> float:
    """Returns how often the first of values [runs, seeds] has the highest mean.

    Over `draws` samples of the seeds, with replacement, the same seeds for every run.
    """
    table = np.array(values)
    seeds = table.shape[1]
    picks = np.random.default_rng(0).integers(seeds, size=(draws, seeds))
    return float((table[:, picks].mean(2).argmax(0) == 0).mean())
