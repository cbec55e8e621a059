"""Verdicts at their bounds, against scipy's tests, and over thousands of simulated reports."""

import math

import numpy as np
import pytest
from scipy import stats

from jaxcifar.claims import judge, tables
from jaxcifar.claims.claim import (
    ACCURACY,
    LOSS,
    Claim,
    Comparison,
    Metric,
    beats,
    within,
)
from jaxcifar.claims.judge import EXCEEDED, FAILS, HOLDS, UNDECIDED, UNMEASURED
from jaxcifar.stats import intervals
from jaxcifar.stats.intervals import Spread

METRIC = Metric("accuracy", lambda record: record["value"], ACCURACY)
COST = Metric("cost", lambda record: record["value"], LOSS)


def runs(device="1 × cpu", **values):
    """Returns records by run and seed that have only the metric."""
    line = {"train_loss": 1.0}
    return {
        run: {
            seed: {"value": v, "epochs": [line], "class_names": ["a"] * 10, "device": device}
            for seed, v in enumerate(of_run)
        }
        for run, of_run in values.items()
    }


def figure(values, reported, spread=None, metric=METRIC):
    comparison = Comparison(metric, "a", reported, at_most=metric.lower_is_better)
    return judge.judge_figure(comparison, values, spread or intervals.pool([values]))


def statement(values, bound, at_most=False):
    claim = Claim("x", "", (Comparison(METRIC, "a", bound, at_most=at_most),))
    return judge.judge(claim, runs(a=values))


# Five seeds of mean 0.7 and a well-known spread: ± 0.0429 for one more run.
FIVE = [0.68, 0.69, 0.70, 0.71, 0.72]
KNOWN = Spread(0.02, 10**6)
HALF = 1.959964 * 0.02 * math.sqrt(1.2) + 0.00005


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (round(0.7 + HALF - 1e-4, 4), UNDECIDED),
        (round(0.7 + HALF + 1e-4, 4), FAILS),
        (round(0.7 - HALF + 1e-4, 4), UNDECIDED),
        (round(0.7 - HALF - 1e-4, 4), EXCEEDED),
    ],
)
def test_the_verdict_changes_at_the_ends_of_the_prediction_interval(reported, expected):
    assert figure(FIVE, reported, KNOWN).verdict == expected


def test_half_the_last_digit_belongs_to_the_interval():
    """With almost no spread, 0.7 stands for 0.65 to 0.75, but 0.7001 only for itself."""
    exact = Spread(1e-9, 10**6)
    assert figure([0.6501, 0.6501], 0.7, exact).verdict != FAILS
    assert figure([0.6499, 0.6499], 0.7, exact).verdict == FAILS
    assert figure([0.7000, 0.7000], 0.7001, exact).verdict == FAILS


def test_a_figure_holds_if_the_mean_is_known_to_be_close():
    known = Spread(0.01, 10**6)  # the mean of five: ± 0.00877
    assert figure(FIVE, 0.7061, known).verdict == HOLDS
    assert figure(FIVE, 0.7063, known).verdict == UNDECIDED
    assert figure([1.0] * 5, 1.0912, Spread(0.01, 10**6), COST).verdict == EXCEEDED  # of a loss
    assert figure([1.0] * 5, 1.05, Spread(0.04, 10**6), COST).verdict == HOLDS  # a tenth of it
    assert figure([1.0] * 5, 0.901, Spread(0.04, 10**6), COST).verdict == FAILS


def test_the_named_number_of_further_seeds_decides():
    """That many more seeds of the same mean and spread decide, and one fewer does not."""
    cases = ((0.705, 0.009, HOLDS), (0.716, 0.0075, FAILS), (0.684, 0.0075, EXCEEDED))
    for reported, std, expected in cases:
        spread = Spread(std, 4)
        first = figure(FIVE, reported, spread)
        assert first.verdict == UNDECIDED
        for more, verdict in ((first.more_seeds, expected), (first.more_seeds - 1, UNDECIDED)):
            many = FIVE + [0.7] * int(more)
            grown = figure(many, reported, Spread(spread.std, spread.dof + int(more)))
            assert grown.verdict == verdict, (reported, first.more_seeds)


def test_a_spread_wider_than_the_tolerance_is_never_decided_and_the_reason_is_given():
    judgement = figure(FIVE, 0.72, Spread(0.03, 4))
    assert (judgement.verdict, judgement.more_seeds) == (UNDECIDED, math.inf)
    assert tables.verdict(judgement) == "undecided (more seeds would not decide it)"
    spread_is_wide = "the spread between seeds is wider than the tolerance"
    assert tables.why_never_decided(judgement) == spread_is_wide
    assert tables.why_never_decided(figure([math.inf] * 2, 0.72)) == (
        "a seed's value is not finite"
    )
    assert "exactly at the bound" in tables.why_never_decided(
        statement(FIVE, judgement.tests[0].mean)
    )


def test_one_seed_of_a_single_run_is_not_enough():
    judgement = figure([0.7], 0.7)
    assert (judgement.verdict, judgement.more_seeds) == (UNDECIDED, None)
    assert judge.judge(Claim("x", "", (Comparison(METRIC, "a", 0.5),)), {"a": {}}) == (
        judge.Judgement(UNMEASURED)
    )


@pytest.mark.parametrize("bound", [0.66, 0.68, 0.69, 0.70, 0.71, 0.73])
@pytest.mark.parametrize("at_most", [False, True])
def test_a_statement_is_judged_as_by_scipys_t_test(bound, at_most):
    chance = stats.ttest_1samp(FIVE, bound).pvalue
    good = bound > 0.7 if at_most else bound < 0.7
    expected = (HOLDS if good else FAILS) if chance < 0.05 else UNDECIDED
    judgement = statement(FIVE, bound, at_most)
    assert judgement.verdict == expected
    (test,) = judgement.tests
    assert test.p_value == pytest.approx(chance)
    low, high = stats.ttest_1samp(FIVE, bound).confidence_interval()
    assert test.interval == pytest.approx((low, high))


def test_runs_are_compared_seed_by_seed():
    """Only seeds that both runs have count; a shift that all seeds share does not."""
    found = runs(a=[0.50, 0.60, 0.71, 0.99], b=[0.49, 0.59, 0.70])
    claim = Claim("x", "", (Comparison(METRIC, "a", 0.0, "b"),))
    judgement = judge.judge(claim, found)
    assert judgement.tests[0].values == pytest.approx((0.01, 0.01, 0.01))
    assert judgement.verdict == HOLDS
    paired = stats.ttest_rel([0.50, 0.61, 0.71], [0.49, 0.59, 0.70]).pvalue
    judgement = judge.judge(claim, runs(a=[0.50, 0.61, 0.71], b=[0.49, 0.59, 0.70]))
    assert judgement.tests[0].p_value == pytest.approx(paired)


def test_one_seed_decides_beyond_five_times_the_spread_of_a_difference():
    """A difference between two runs spreads √2 times as far as one: 5·√2·0.0179 = 0.127."""
    others = {"p:c": [0.50, 0.52, 0.54, 0.50, 0.52, 0.54]}  # the spread is 0.0179
    claim = Claim("x", "", (Comparison(METRIC, "p:a", 0.0, "p:b"),))
    for gain, expected in ((0.12, UNDECIDED), (0.13, HOLDS), (-0.12, UNDECIDED), (-0.13, FAILS)):
        found = runs(**{"p:a": [0.5 + gain], "p:b": [0.5], **others})
        assert judge.judge(claim, found).verdict == expected
    alone = judge.judge(claim, runs(**{"p:a": [0.9], "p:b": [0.5]}))
    assert tables.verdict(alone) == "undecided (one seed is not enough)"


def test_the_best_of_a_sweep_beats_every_other_run():
    noise = np.array([-0.01, 0.0, 0.01, 0.005, -0.005])
    claim = Claim("x", "", beats(METRIC, "a", "abc"), best=True)

    def sweep(a, b, c):
        shifted = (a + noise, b + noise[::-1], c + np.roll(noise, 1))
        return judge.judge(claim, runs(**dict(zip("abc", shifted, strict=True))))

    best = sweep(0.7, 0.6, 0.5)
    assert (best.verdict, best.probability_of_best) == (HOLDS, 1.0)
    assert sweep(0.7, 0.8, 0.5).verdict == FAILS
    close = sweep(0.7, 0.699, 0.5)
    assert close.verdict == UNDECIDED
    assert 0.3 < close.probability_of_best < 0.9
    assert tables.indistinguishable(close) == ", not distinguishable from b"
    assert close.more_seeds > 10


def test_two_runs_are_similar_within_a_bound_on_both_sides():
    claim = Claim("x", "", within(METRIC, "a", 0.02, "b"))
    base = [0.50, 0.51, 0.52, 0.53, 0.54]
    for gain, expected in ((0.0, HOLDS), (0.04, FAILS), (-0.04, FAILS), (0.019, UNDECIDED)):
        ours = [v + gain + e for v, e in zip(base, (0.002, -0.002, 0, 0.001, -0.001), strict=True)]
        assert judge.judge(claim, runs(a=ours, b=base)).verdict == expected


def test_a_speed_claim_counts_only_on_the_kind_of_device_it_names():
    claim = Claim("x", "", (Comparison(METRIC, "a", 225.4),), device="NVIDIA")
    assert judge.judge(claim, runs(a=[900.0, 901.0])).verdict == UNMEASURED
    assert judge.judge(claim, runs("1 × NVIDIA H200", a=[900.0, 901.0])).verdict == HOLDS


def test_a_run_no_better_than_guessing_is_not_pooled():
    found = runs(**{"p:a": FIVE, "p:b": [0.1, 0.1], "p:c": FIVE, "q:d": [0.1, 0.9]})
    found["p:b"][1]["epochs"] = [{"train_loss": None}]
    part = Comparison(METRIC, "p:a", 0.7)
    assert judge.spread_of_seeds(part, FIVE, found) == intervals.pool([FIVE, FIVE])


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_values_that_are_not_finite_are_not_pooled(bad):
    assert intervals.pool([FIVE, [0.7, bad]]) == intervals.pool([FIVE])
    assert intervals.pool_with_siblings(FIVE, [[bad, 0.1]]) == intervals.pool([FIVE])


def test_one_infinite_seed_of_several_decides_nothing_but_all_of_them_do():
    claim = Claim("x", "", (Comparison(COST, "p:a", 1.0, at_most=True),))
    others = {"p:b": [0.50, 0.52, 0.54]}
    for costs, expected in (
        ([0.5, 0.6, math.inf], UNDECIDED),
        ([math.nan, 0.5], UNDECIDED),
        ([math.inf, math.inf], FAILS),
    ):
        judgement = judge.judge(claim, runs(**{"p:a": costs}, **others))
        assert judgement.verdict == expected, costs
        if expected == UNDECIDED:
            assert tables.verdict(judgement) == "undecided (more seeds would not decide it)"


def reports(n, off, count, siblings=3, ratio=1.0):
    """Returns the share of each verdict over simulated reports, `off` deviations above ours.

    The spread of the judged run is `ratio` times that of its siblings.
    """
    rng, std = np.random.default_rng(n), 0.005
    ours = 0.7 + std * rng.standard_normal((count, siblings + 1, n))
    ours[:, 1:] = 0.7 + (ours[:, 1:] - 0.7) / ratio
    theirs = 0.7 + std * (off + rng.standard_normal(count))
    found = [
        figure(own[0], float(r), intervals.pool_with_siblings(own[0], own[1:])).verdict
        for own, r in zip(ours, theirs, strict=True)
    ]
    return {verdict: found.count(verdict) / count for verdict in (HOLDS, FAILS, EXCEEDED)}


@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_true_figure_is_refuted_in_at_most_5_of_100_reports(n):
    found = reports(n, off=0.0, count=10_000)
    assert found[FAILS] <= 0.05
    assert found[EXCEEDED] <= 0.05


@pytest.mark.parametrize("ratio", [0.5, 1.4, 2.0, 3.0])
@pytest.mark.parametrize("n", [3, 5, 9])
def test_the_interval_covers_as_many_reports_as_the_page_says(n, ratio):
    """The twelve siblings are as many as the runs of simple_cnn."""
    assert "such an interval covers 86 to 95 % of further runs" in " ".join(tables.JUDGING.split())
    found = reports(n, off=0.0, count=2_000, siblings=12, ratio=ratio)
    covered = 1 - found[FAILS] - found[EXCEEDED]
    assert 0.855 <= covered <= 0.96


def test_a_figure_that_is_off_by_three_deviations_is_refuted_in_most_reports():
    assert reports(5, off=3.0, count=2_000)[FAILS] > 0.5
    assert reports(10, off=3.0, count=2_000)[FAILS] > 0.6


def test_of_many_true_claims_one_is_refuted_in_at_most_5_of_100():
    """Holm's correction over 45 statements whose true value is their bound."""
    rng, claims, times = np.random.default_rng(0), 45, 100
    parts = [Comparison(METRIC, f"p{i}:a", 0.0) for i in range(claims)]
    listed = [Claim(str(i), "", (part,)) for i, part in enumerate(parts)]
    wrong, uncorrected = 0, 0
    for _ in range(times):
        values = rng.standard_normal((claims, 5))
        found = runs(**{part.run: v for part, v in zip(parts, values, strict=True)})
        judged = judge.judge_all(listed, found).values()
        wrong += any(judgement.verdict == FAILS for judgement in judged)
        uncorrected += any(judgement.p_against <= 0.05 for judgement in judged)
    assert wrong / times <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / times)
    assert uncorrected / times > 0.5


def test_a_refutation_that_does_not_survive_the_correction_is_undecided():
    true = [Claim(str(i), "", (Comparison(METRIC, "a", 0.1),)) for i in range(9)]
    found = runs(a=FIVE)
    bound = 0.7 + 3.0 * intervals.mean_std(FIVE)[1] / math.sqrt(5)  # p = 0.04
    claim = Claim("x", "", (Comparison(METRIC, "a", bound),))
    assert judge.judge_all([claim], found)[claim].verdict == FAILS
    taken_back = judge.judge_all([claim, *true], found)[claim]
    assert taken_back.verdict == UNDECIDED
    assert 0 < taken_back.more_seeds < 20


def test_a_refuted_figure_does_not_hold_after_the_correction():
    """Twenty true claims widen the interval; it stays outside the 95 % that the page shows."""
    true = [Claim(str(i), "", (Comparison(METRIC, "b", 0.5),)) for i in range(20)]
    values = [0.6975, 0.7000, 0.7025, 0.6990, 0.7010] * 6
    claim = Claim("x", "", (Comparison(METRIC, "a", 0.7045),), reported=0.7045)
    found = runs(a=values, b=FIVE)
    assert judge.judge_all([claim], found)[claim].verdict == FAILS
    assert judge.judge_all([claim, *true], found)[claim].verdict == UNDECIDED


def test_the_seeds_that_an_undecided_claim_needs_are_corrected_for_the_number_of_claims():
    claim = Claim("x", "", (Comparison(METRIC, "a", 0.705),))
    true = [Claim(str(i), "", (Comparison(METRIC, "a", 0.1),)) for i in range(20)]
    alone = judge.judge_all([claim], runs(a=FIVE))[claim]
    among = judge.judge_all([claim, *true], runs(a=FIVE))[claim]
    assert alone.verdict == among.verdict == UNDECIDED
    assert alone.more_seeds < among.more_seeds < math.inf
    needed = 5 + int(among.more_seeds)
    shape = np.sin(np.arange(needed) * 2.0)
    same = 0.7 + intervals.mean_std(FIVE)[1] * (shape - shape.mean()) / shape.std(ddof=1)
    decided = judge.judge_all([claim, *true], runs(a=list(same)))[claim]
    assert decided.verdict == FAILS
