"""Intervals for few seeds, against scipy.stats, slow versions and simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from jaxcifar.stats import intervals
from jaxcifar.stats.intervals import Spread


@pytest.mark.parametrize("dof", [1, 2, 4, 9, 76])
@pytest.mark.parametrize("level", [0.05, 0.05 / 45])
def test_quantiles_and_p_values_match_scipy(dof, level):
    t = stats.t(dof)
    assert intervals.t_quantile(dof, level) == pytest.approx(t.ppf(1 - level / 2), rel=1e-9)
    assert intervals.two_sided_p(-3.0, 2.0, dof) == pytest.approx(2 * t.sf(1.5), rel=1e-9)


@pytest.mark.parametrize(
    ("values", "mean"), [([math.inf, 1.0], math.inf), ([math.inf, -math.inf], math.nan)]
)
def test_values_that_are_not_finite_have_no_spread(values, mean):
    found, std = intervals.mean_std(values)
    assert found == pytest.approx(mean, nan_ok=True)
    assert std == 0.0


def test_prediction_factors_match_textbooks():
    """t·√(1 + 1/n), with s from the same n."""
    for n, factor in {2: 15.6, 3: 4.97, 5: 3.04, 10: 2.37}.items():
        assert intervals.prediction_half_width(Spread(1.0, n - 1), n) == pytest.approx(
            factor, abs=0.05
        )


@pytest.mark.parametrize(
    ("values", "mean", "std"), [([2.0], 2.0, 0.0), ([1.0, 3.0], 2.0, math.sqrt(2))]
)
def test_mean_and_sample_deviation(values, mean, std):
    assert intervals.mean_std(values) == pytest.approx((mean, std))
    assert intervals.mean_std([math.inf, 1.0]) == (math.inf, 0.0)


def test_without_spread_every_difference_is_certain():
    assert intervals.two_sided_p(0.1, 0.0, 4) == 0.0
    assert intervals.two_sided_p(0.0, 0.0, 4) == 1.0


def test_spreads_are_pooled_by_their_degrees_of_freedom():
    groups = [
        [1.0, 3.0],
        [5.0],
        [0.0, 3.0, 6.0],
    ]  # variances 2 and 9, with 1 and 2 degrees of freedom
    assert intervals.pool(groups) == (pytest.approx(math.sqrt((2 + 2 * 9) / 3)), 3)
    assert intervals.pool([[1.0], []]) is None


def test_a_spread_that_differs_is_not_pooled():
    """By scipy's F distribution, on either side; one seed has no spread of its own."""
    siblings = [[0.0, 1.0, 2.0]] * 4
    f = stats.f(2, 8)
    for ratio, pooled in ((f.ppf(0.905), False), (f.ppf(0.895), True), (f.ppf(0.09), False)):
        own = [0.0, math.sqrt(ratio), 2 * math.sqrt(ratio)]
        found = intervals.pool_with_siblings(own, siblings)
        assert found == pytest.approx(intervals.pool([own, *siblings] if pooled else [own]))
    assert intervals.pool_with_siblings([7.0], siblings) == intervals.pool(siblings)
    assert intervals.pool_with_siblings([7.0], []) is None


def test_holm_by_hand():
    adjusted = intervals.holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.9, 0.8]) == [1.0, 1.0]
    assert intervals.holm([]) == []


def test_the_fewest_seeds_match_counting_up():
    std, distance, n = 0.01, 0.004, 5

    def decided(seeds):
        return intervals.mean_half_width(Spread(std, seeds - 1), seeds) < distance

    slow = next(seeds for seeds in itertools.count(n + 1) if decided(seeds))
    assert intervals.fewest_seeds(decided, n) == slow
    assert intervals.fewest_seeds(lambda seeds: False, n) == math.inf


def test_the_probability_of_best_matches_all_resamples():
    values = [[3.0, 1.0, 2.0], [2.5, 1.9, 1.8], [0.0, 0.0, 5.5]]
    wins = [
        np.array(values)[:, list(picks)].mean(1).argmax() == 0
        for picks in itertools.product(range(3), repeat=3)
    ]
    assert intervals.probability_of_best(values) == pytest.approx(np.mean(wins), abs=0.02)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_one_more_run_lies_within_its_interval_in_95_percent(n):
    runs = np.random.default_rng(n).standard_normal((20_000, n + 1))
    ours, theirs = runs[:, :n], runs[:, n]
    half = intervals.prediction_half_width(Spread(1.0, n - 1), n) * ours.std(1, ddof=1)
    assert (abs(theirs - ours.mean(1)) <= half).mean() == pytest.approx(0.95, abs=0.006)
