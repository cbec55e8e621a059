"""Intervals and tests for accuracies, against scipy.stats and closed forms."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from jaxcifar.stats.accuracy import mcnemar, p_text, wilson


@pytest.mark.parametrize(
    ("hits", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (971, 1000), (9394, 10**4)]
)
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_wilson_matches_scipy(hits, n, level):
    low, high = stats.binomtest(hits, n).proportion_ci(1 - level, method="wilson")
    assert wilson(hits, n, level) == pytest.approx((low, high), abs=1e-12)


def test_the_ends_of_wilsons_interval_solve_its_equation():
    """The ends p satisfy |hits/n − p| = z·√(p(1−p)/n)."""
    for p in wilson(7, 40):
        assert abs(7 / 40 - p) == pytest.approx(1.959963985 * math.sqrt(p * (1 - p) / 40))


def test_wilson_without_hits_without_misses_and_without_images():
    assert wilson(0, 50)[0] == 0.0
    assert wilson(50, 50)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 5), (5, 0), (3, 3), (4, 11), (260, 198), (7, 1)])
def test_mcnemar_is_the_binomial_test_of_a_fair_coin(b, c):
    """It is twice the tail Σ C(n, k)/2ⁿ, at most 1, and matches scipy."""
    n, fewer = b + c, min(b, c)
    tail = Fraction(sum(math.comb(n, k) for k in range(fewer + 1)), 2**n)
    first, second = (np.array([x] * b + [not x] * c + [True, False]) for x in (True, False))
    *counts, p_value = mcnemar(first, second)
    assert counts == [b, c]
    assert p_value == pytest.approx(float(min(2 * tail, 1)), rel=1e-12)
    if n:
        assert p_value == pytest.approx(stats.binomtest(b, n).pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0, "p < 1e-300"), (1e-310, "p < 1e-300"), (0.0312, "p = 0.031"), (1, "p = 1")],
)
def test_a_p_value_is_never_printed_as_zero(p, text):
    assert p_text(p) == text
