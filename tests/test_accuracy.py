"""The interval of an accuracy: scipy.stats and the equation that it solves as oracles."""

import math

import pytest
from scipy import stats

from jaxcifar.accuracy import wilson


@pytest.mark.parametrize(
    ("hits", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (971, 1000), (9394, 10**4)]
)
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_it_is_scipys(hits, n, level):
    low, high = stats.binomtest(hits, n).proportion_ci(1 - level, method="wilson")
    assert wilson(hits, n, level) == pytest.approx((low, high), abs=1e-12)


def test_its_ends_are_the_shares_that_the_count_is_just_compatible_with():
    """|hits/n − p| = z·√(p(1−p)/n), which defines it."""
    for p in wilson(7, 40):
        assert abs(7 / 40 - p) == pytest.approx(1.959963985 * math.sqrt(p * (1 - p) / 40))


def test_none_and_all_and_nothing():
    assert wilson(0, 50)[0] == 0.0
    assert wilson(50, 50)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)
