"""Judges the claims of the reports from the records of runs.

A report gives the result of one run; we have n seeds. A reported figure is compared with the
interval for one more run of ours, not with the interval of our mean, because one run is not a mean.
A statement is tested by comparing two runs seed by seed, or one run with a bound.

Sources: Bouthillier et al. 2021 (arXiv 2103.03098), Jordan 2023 (arXiv 2304.01910), Spence &
Stanley 2016, and Lakens, Improving your statistical inferences, chapter 9.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from jaxcifar.claims.claim import BEST, LAST, LOSS, Claim, Comparison, no_better_than_guessing
from jaxcifar.claims.records import Records
from jaxcifar.stats import intervals
from jaxcifar.stats.intervals import LEVEL, Spread, mean_std

HOLDS, FAILS, EXCEEDED = "holds", "does not hold", "exceeded"
UNDECIDED, UNMEASURED = "undecided", "not yet measured"
VERDICTS = (HOLDS, EXCEEDED, UNDECIDED, FAILS, UNMEASURED)
LOSS_TOLERANCE = 0.1  # a fraction of the reported loss
ACCURACY_TOLERANCE = 0.015
ONE_SEED_DECIDES = 5.0  # standard deviations of what is compared


class Test(NamedTuple):
    """A comparison with its value for each seed, its 95 % interval and its two-sided p-value.

    For a figure, the interval is that of one more run, and None if the spread is unknown. For a
    statement, it is that of the mean, and None for a single seed. If the metric is taken at the
    best epoch, `last_epoch` has the values at the last epoch.
    """

    comparison: Comparison
    values: tuple[float, ...]
    interval: tuple[float, float] | None
    p_value: float
    last_epoch: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        return mean_std(self.values)[0]

    @property
    def margin(self) -> float:
        """The distance of the mean from the bound, positive on the good side."""
        return self.comparison.margin(self.mean)

    @property
    def closeness(self) -> float:
        """The margin in half widths of the interval; without an interval, the margin itself."""
        if self.interval is None or self.interval[0] == self.interval[1]:
            return self.margin
        return self.margin / (self.interval[1] - self.interval[0]) * 2


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A verdict and the numbers behind it.

    `p_against` is the p-value of the evidence against the claim. `more_seeds` is the number of
    further seeds that would decide an undecided claim if the mean and the spread stayed as they
    are. It is infinity if no number would, and None if one seed is too few to tell. If the claim
    names one run as the best, `probability_of_best` is the probability that it is the best.
    """

    verdict: str
    tests: tuple[Test, ...] = ()
    p_against: float = 1.0
    more_seeds: float | None = None
    probability_of_best: float | None = None

    @property
    def n(self) -> int:
        return min((len(test.values) for test in self.tests), default=0)

    @property
    def closest(self) -> Test:
        """The deciding test, which has the smallest closeness (negative on the bad side)."""
        return min(self.tests, key=lambda test: test.closeness)


def judge_all(claims: Iterable[Claim], records: Records) -> dict[Claim, Judgement]:
    """Returns the judgement of every claim.

    "does not hold" is corrected for the number of claims (Holm), and so is the number of seeds that
    an undecided claim needs. A claim that fails only without the correction is undecided.
    """
    judged = {claim: judge(claim, records) for claim in claims}
    measured = [claim for claim, judgement in judged.items() if judgement.n]
    adjusted = intervals.holm([judged[claim].p_against for claim in measured])
    for claim, p_value in zip(measured, adjusted, strict=True):
        verdict = judged[claim].verdict
        if verdict == UNDECIDED or (verdict == FAILS and p_value > LEVEL):
            judged[claim] = judge(claim, records, LEVEL / len(measured))
    return judged


def judge(claim: Claim, records: Records, fail_level: float = LEVEL) -> Judgement:
    """Returns the judgement of one claim.

    `fail_level` is the significance level for "does not hold".
    """
    values = [part.values(records, claim.device) for part in claim.comparisons]
    if not all(values):
        return Judgement(UNMEASURED)
    parts = [
        (part, own, spread_of_seeds(part, own, records))
        for part, own in zip(claim.comparisons, values, strict=True)
    ]
    if claim.reported is not None:
        judgement = judge_figure(*parts[0], fail_level)
    else:
        judgement = judge_statement([compare(*part) for part in parts], fail_level)
    best = _probability_of_best(claim, records) if claim.best else None
    tests = tuple(_with_last_epoch(test, records, claim.device) for test in judgement.tests)
    return dataclasses.replace(judgement, tests=tests, probability_of_best=best)


def _with_last_epoch(test: Test, records: Records, device: str) -> Test:
    if test.comparison.metric is not BEST:
        return test
    last = dataclasses.replace(test.comparison, metric=LAST)
    return test._replace(last_epoch=last.values(records, device))


def judge_figure(
    comparison: Comparison,
    values: Sequence[float],
    spread: Spread | None,
    fail_level: float = LEVEL,
) -> Judgement:
    """Judges a reported number, the comparison's bound, by the interval for one more run."""
    reported, n, mean = comparison.bound, len(values), mean_std(values)[0]
    half_digit = 0.5 * 10.0 ** int(Decimal(repr(reported)).as_tuple().exponent)
    if spread is None or not math.isfinite(mean):
        more = None if spread is None else math.inf
        return Judgement(UNDECIDED, (Test(comparison, tuple(values), None, 1.0),), more_seeds=more)
    distance, worse = abs(mean - reported), comparison.margin(mean) < 0
    is_loss = comparison.metric.unit == LOSS
    tolerance = LOSS_TOLERANCE * reported if is_loss else ACCURACY_TOLERANCE
    beyond, level = max(distance - half_digit, 0.0), fail_level if worse else LEVEL
    half = intervals.prediction_half_width(spread, n) + half_digit

    def outside(spread: Spread, n: int) -> bool:
        return distance > intervals.prediction_half_width(spread, n, level) + half_digit

    def agrees(spread: Spread, n: int) -> bool:
        return distance <= half and distance + intervals.mean_half_width(spread, n) <= tolerance

    def decided(seeds: int) -> bool:
        better_known = Spread(spread.std, spread.dof + seeds - n)
        return outside(better_known, seeds) or agrees(better_known, seeds)

    p_value = intervals.two_sided_p(beyond, spread.std * math.sqrt(1 + 1 / n), spread.dof)
    tests = (Test(comparison, tuple(values), (mean - half, mean + half), p_value),)
    against = p_value if worse else 1.0
    if outside(spread, n):
        return Judgement(FAILS if worse else EXCEEDED, tests, against)
    if agrees(spread, n):
        return Judgement(HOLDS, tests, against)
    return Judgement(UNDECIDED, tests, against, intervals.fewest_seeds(decided, n) - n)


def compare(comparison: Comparison, values: Sequence[float], spread: Spread | None) -> Test:
    """Tests the values against the bound, using their own spread or, for one seed, `spread`.

    Several seeds of which some are not finite decide nothing, but all of them infinite do.
    """
    n, (mean, std) = len(values), mean_std(values)
    margin = comparison.margin(mean)
    if n == 1 or not math.isfinite(mean):
        p_value = 1.0
        if spread is not None and (n == 1 or all(map(math.isinf, values))):
            # the difference between two runs spreads √2 times as far as one run
            std = spread.std * (math.sqrt(2) if comparison.other else 1)
            if abs(margin) > ONE_SEED_DECIDES * std:
                p_value = intervals.two_sided_p(margin, std, spread.dof)
        return Test(comparison, tuple(values), None, p_value)
    half = intervals.mean_half_width(Spread(std, n - 1), n)
    p_value = intervals.two_sided_p(margin, std / math.sqrt(n), n - 1)
    return Test(comparison, tuple(values), (mean - half, mean + half), p_value)


def judge_statement(tests: Sequence[Test], fail_level: float = LEVEL) -> Judgement:
    """Judges a statement by its comparisons, corrected for their number (Holm).

    The statement holds if every comparison holds. It does not hold if one comparison is
    significantly on the wrong side.
    """
    adjusted = intervals.holm([test.p_value for test in tests])
    pairs = list(zip(tests, adjusted, strict=True))
    against = min((p_value for test, p_value in pairs if test.margin < 0), default=1.0)
    if against <= fail_level:
        return Judgement(FAILS, tuple(tests), against)
    if all(p_value <= LEVEL and test.margin > 0 for test, p_value in pairs):
        return Judgement(HOLDS, tuple(tests), against)
    if any(test.interval is None for test in tests):
        more = None if any(len(test.values) == 1 for test in tests) else math.inf
        return Judgement(UNDECIDED, tuple(tests), against, more)
    return Judgement(UNDECIDED, tuple(tests), against, _seeds_to_decide(tests, fail_level))


def _seeds_to_decide(tests: Sequence[Test], fail_level: float) -> float:
    """Returns how many more seeds would make the statement fail or hold.

    If any test is on the wrong side, one such test is enough to fail; otherwise all must hold.
    """

    def more(test: Test, level: float) -> float:
        n, std = len(test.values), mean_std(test.values)[1]

        def decided(seeds: int) -> bool:
            half = intervals.mean_half_width(Spread(std, seeds - 1), seeds, level)
            return half < abs(test.margin)

        return 0 if decided(n) else intervals.fewest_seeds(decided, n) - n

    bad = [more(test, fail_level / len(tests)) for test in tests if test.margin < 0]
    return min(bad) if bad else max(more(test, LEVEL / len(tests)) for test in tests)


def spread_of_seeds(
    comparison: Comparison, values: Sequence[float], records: Records
) -> Spread | None:
    """Returns the spread of the comparison's metric between seeds of one run.

    The spread is pooled over the runs of the same config file that learned something. If the
    comparison has only one run, the spread of that run is pooled only if it does not differ
    significantly from that of the others.
    """
    config = comparison.run.partition(":")[0]
    groups = {
        run: [comparison.metric.of(record) for record in seeds.values()]
        for run, seeds in records.items()
        if run.partition(":")[0] == config and not no_better_than_guessing(seeds)
    }
    if comparison.other:
        return intervals.pool(groups.values())
    groups.pop(comparison.run, None)
    return intervals.pool_with_siblings(values, groups.values())


def _probability_of_best(claim: Claim, records: Records) -> float:
    """Returns how often the named run is best in resamples of the seeds that all runs have."""
    seeds = sorted(set.intersection(*(set(records[run]) for run in claim.runs)))
    of = claim.comparisons[0].metric.of
    return intervals.probability_of_best([[of(records[r][s]) for s in seeds] for r in claim.runs])
