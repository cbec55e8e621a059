"""How a claim of a report is judged from the records of runs.

A report gives one run, our side n seeds. A figure is compared with what one more run of ours
would give, never with the interval of our mean: one run is not a mean. A statement is a paired
comparison, seed by seed. Sources: Bouthillier et al. 2021 (arXiv 2103.03098), Jordan 2023
(2304.01910), Spence & Stanley 2016, Lakens, Improving your statistical inferences, chapter 9.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from jaxcifar.claims.claim import LOSS, Claim, Comparison, diverged
from jaxcifar.claims.records import Records
from jaxcifar.stats import intervals
from jaxcifar.stats.intervals import LEVEL, Spread, mean_std

HOLDS, FAILS, EXCEEDED = "holds", "does not hold", "exceeded"
UNDECIDED, UNMEASURED = "undecided", "not yet measured"
TOLERANCE = {LOSS: 0.1}  # of the reported number; else in points of accuracy:
POINTS = 0.015
ONE_SEED_DECIDES = 5.0  # times the spread between runs


class Test(NamedTuple):
    """A comparison's numbers by seed, its 95 % interval, and the chance of it, two-sided.

    The interval is of one more run for a figure, of the mean for a statement; None where the
    spread is not known.
    """

    comparison: Comparison
    values: tuple[float, ...]
    interval: tuple[float, float] | None
    chance: float

    @property
    def margin(self) -> float:
        """How far the mean is on the good side of the bound."""
        return self.comparison.margin(mean_std(self.values)[0])

    @property
    def closeness(self) -> float:
        """The margin in half widths of the interval: the least of a statement's decides it."""
        if self.interval is None or self.interval[0] == self.interval[1]:
            return self.margin
        return self.margin / (self.interval[1] - self.interval[0]) * 2


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A verdict and what it stands on.

    `more` seeds would decide an undecided claim if they leave mean and spread as they are:
    infinity where no number would, None where one seed does not tell. `against` is the chance of
    what speaks against the claim, `chance_of_best` that of the named run of a sweep.
    """

    verdict: str
    tests: tuple[Test, ...] = ()
    against: float = 1.0
    more: float | None = None
    chance_of_best: float | None = None

    @property
    def n(self) -> int:
        return min((len(test.values) for test in self.tests), default=0)


def judge_all(claims: Iterable[Claim], records: Records) -> dict[Claim, Judgement]:
    """Returns the judgement of every claim; "does not hold" is corrected for their number (Holm).

    One that the correction takes back is undecided.
    """
    judged = {claim: judge(claim, records) for claim in claims}
    measured = [claim for claim, judgement in judged.items() if judgement.n]
    chances = intervals.holm([judged[claim].against for claim in measured])
    for claim, chance in zip(measured, chances, strict=True):
        if judged[claim].verdict == FAILS and chance > LEVEL:
            judged[claim] = judge(claim, records, LEVEL / len(measured))
    return judged


def judge(claim: Claim, records: Records, fail_level: float = LEVEL) -> Judgement:
    """Returns the judgement of one claim; `fail_level` is the level of "does not hold"."""
    values = [part.values(records, claim.device) for part in claim.comparisons]
    if not all(values):
        return Judgement(UNMEASURED)
    parts = [
        (part, own, spread_between_runs(part, own, records))
        for part, own in zip(claim.comparisons, values, strict=True)
    ]
    if claim.reported is not None:
        return judge_figure(*parts[0], fail_level)
    judgement = judge_statement([compare(*part) for part in parts], fail_level)
    if not claim.best:
        return judgement
    return dataclasses.replace(judgement, chance_of_best=_chance_of_best(claim, records))


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
        return Judgement(UNDECIDED, (Test(comparison, tuple(values), None, 1.0),), more=more)
    distance, worse = abs(mean - reported), comparison.margin(mean) < 0
    tolerance = TOLERANCE[LOSS] * reported if comparison.metric.unit == LOSS else POINTS
    beyond, level = max(distance - half_digit, 0.0), fail_level if worse else LEVEL

    def outside(spread: Spread, n: int) -> bool:
        return distance > intervals.one_more_run(spread, n, level) + half_digit

    def agrees(spread: Spread, n: int) -> bool:
        return distance + intervals.of_mean(spread, n) <= tolerance

    def decided(seeds: int) -> bool:
        better_known = Spread(spread.std, spread.freedom + seeds - n)
        return outside(better_known, seeds) or agrees(better_known, seeds)

    half = intervals.one_more_run(spread, n) + half_digit
    chance = intervals.two_sided(beyond, spread.std * math.sqrt(1 + 1 / n), spread.freedom)
    tests = (Test(comparison, tuple(values), (mean - half, mean + half), chance),)
    against = chance if worse else 1.0
    if outside(spread, n):
        return Judgement(FAILS if worse else EXCEEDED, tests, against)
    if agrees(spread, n):
        return Judgement(HOLDS, tests, against)
    return Judgement(UNDECIDED, tests, against, intervals.fewest_seeds(decided, n) - n)


def compare(comparison: Comparison, values: Sequence[float], spread: Spread | None) -> Test:
    """Tests the values by seed against the bound; one seed, against the spread between runs."""
    n, (mean, std) = len(values), mean_std(values)
    margin = comparison.margin(mean)
    if n == 1 or not math.isfinite(mean):
        far = spread is not None and abs(margin) > ONE_SEED_DECIDES * spread.std
        chance = intervals.two_sided(margin, spread.std, spread.freedom) if far and spread else 1.0
        return Test(comparison, tuple(values), None, chance)
    half = intervals.of_mean(Spread(std, n - 1), n)
    chance = intervals.two_sided(margin, std / math.sqrt(n), n - 1)
    return Test(comparison, tuple(values), (mean - half, mean + half), chance)


def judge_statement(tests: Sequence[Test], fail_level: float = LEVEL) -> Judgement:
    """Judges a statement by its comparisons, corrected for their number (Holm).

    It holds if all hold, and does not if one is on the bad side.
    """
    chances = intervals.holm([test.chance for test in tests])
    pairs = list(zip(tests, chances, strict=True))
    against = min((chance for test, chance in pairs if test.margin < 0), default=1.0)
    if against <= fail_level:
        return Judgement(FAILS, tuple(tests), against)
    if all(chance <= LEVEL and test.margin > 0 for test, chance in pairs):
        return Judgement(HOLDS, tuple(tests), against)
    if any(test.interval is None for test in tests):
        return Judgement(UNDECIDED, tuple(tests), against)
    return Judgement(UNDECIDED, tuple(tests), against, _more_for_statement(tests, fail_level))


def _more_for_statement(tests: Sequence[Test], fail_level: float) -> float:
    """Returns how many more seeds decide: the first to fail, or the last to hold."""

    def more(test: Test, level: float) -> float:
        n, std = len(test.values), mean_std(test.values)[1]

        def decided(seeds: int) -> bool:
            return intervals.of_mean(Spread(std, seeds - 1), seeds, level) < abs(test.margin)

        return 0 if decided(n) else intervals.fewest_seeds(decided, n) - n

    bad = [more(test, fail_level / len(tests)) for test in tests if test.margin < 0]
    return min(bad) if bad else max(more(test, LEVEL / len(tests)) for test in tests)


def spread_between_runs(
    comparison: Comparison, values: Sequence[float], records: Records
) -> Spread | None:
    """Returns the spread of the comparison's metric between seeds of one run.

    Pooled over the runs of the same page, without those that diverged, and without all others
    where the run's own spread is another.
    """
    page = comparison.run.partition(":")[0]
    groups = {
        run: [comparison.metric.of(record) for record in seeds.values()]
        for run, seeds in records.items()
        if run.partition(":")[0] == page and not diverged(seeds)
    }
    if comparison.other:
        return intervals.pool(groups.values())
    groups.pop(comparison.run, None)
    return intervals.pool_with_siblings(values, groups.values())


def _chance_of_best(claim: Claim, records: Records) -> float:
    """Returns the chance, by resampling the seeds that all have, that the named run is best."""
    seeds = sorted(set.intersection(*(set(records[run]) for run in claim.runs)))
    of = claim.comparisons[0].metric.of
    return intervals.chance_of_best([[of(records[r][s]) for s in seeds] for r in claim.runs])
