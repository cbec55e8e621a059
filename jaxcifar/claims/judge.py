"""How a claim of a report is judged from the records of runs.

A claim measures one number for each seed. A figure holds if our mean does not fall short of the
reported one by more than two standard deviations, or by 1.5 points (10 % of a loss) with one
seed. A statement holds if the mean of the named comparison reaches its bound.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from jaxcifar.claims.records import Record, Records, best, by_seed, column, last, mean_std

Runs = Mapping[str, Record]


@dataclasses.dataclass(frozen=True)
class Claim:
    """One sentence or figure of a report.

    `measure(records by run)` is the number of one seed, `what` says it in words. A figure has
    `reported`; `bound` is what a statement's number must reach. With `lower` true, less is better.
    """

    id: str
    text: str
    runs: tuple[str, ...]
    what: str
    measure: Callable[[Runs], float]
    reported: float | None = None
    bound: float | None = None
    lower: bool = False
    note: str = ""

    @property
    def report(self) -> str:
        return self.id[:3]


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A verdict, the numbers of the seeds that it stands on, and whether ours beat a figure."""

    verdict: str
    values: tuple[float, ...]
    better: bool = False


def judge(claim: Claim, records: Records) -> Judgement:
    """Returns "holds", "does not hold" or "not yet measured"."""
    values = tuple(claim.measure(runs) for runs in by_seed(records, claim.runs))
    if not values:
        return Judgement("not yet measured", ())
    mean, std = mean_std(values)
    if claim.reported is None:
        assert claim.bound is not None
        slack, goal = 0.0, claim.bound
    else:
        one_seed = 0.1 * claim.reported if claim.lower else 0.015
        slack, goal = 2 * std if len(values) > 1 else one_seed, claim.reported
    ahead = goal - mean if claim.lower else mean - goal
    return Judgement(
        "holds" if ahead >= -slack else "does not hold",
        values,
        better=claim.reported is not None and ahead > slack,
    )


def judge_all(claims: Iterable[Claim], records: Records) -> dict[Claim, Judgement]:
    """Returns the judgement of every claim."""
    return {claim: judge(claim, records) for claim in claims}


def figure_claim(
    id: str, run: str, reported: float, text: str, key: str = "test_accuracy", **options
) -> Claim:
    """A reported number: the metric `key` after the last epoch."""
    what = f"{key.replace('_', ' ')}, last epoch"
    measure = lambda runs: last(runs[run], key)  # noqa: E731
    lower = key.endswith("loss")
    return Claim(id, text, (run,), what, measure, reported=reported, lower=lower, **options)


def best_figure_claim(id: str, run: str, reported: float, text: str, **options) -> Claim:
    """A reported best test accuracy: the maximum over the epochs, selected on the test set."""
    what = "test accuracy, best epoch (selected on test)"
    return Claim(id, text, (run,), what, lambda runs: best(runs[run]), reported=reported, **options)


def gain_claim(id: str, better: str, worse: str, at_least: float, text: str, **options) -> Claim:
    """A statement that one run's best test accuracy is above another's."""
    what = f"best test accuracy, {_short(better)} − {_short(worse)}"
    measure = lambda runs: best(runs[better]) - best(runs[worse])  # noqa: E731
    return Claim(id, text, (better, worse), what, measure, bound=at_least, **options)


def statement_claim(
    id: str,
    text: str,
    runs: tuple[str, ...],
    what: str,
    measure: Callable[[Runs], float],
    **options,
) -> Claim:
    """A statement with a comparison of its own."""
    return Claim(id, text, runs, what, measure, **options)


def best_of_claim(id: str, run: str, sweep: Mapping[float, str], text: str, **options) -> Claim:
    """A statement that a run has the highest best test accuracy of a sweep."""

    def lead(runs: Runs) -> float:
        return best(runs[run]) - max(best(runs[other]) for other in sweep.values() if other != run)

    what = f"best test accuracy, {_short(run)} − the best of the others"
    return Claim(id, text, tuple(sweep.values()), what, lead, bound=0.0, **options)


def loss_rise(record: Record) -> float:
    """How far the test loss of the last epoch is above its minimum."""
    return last(record, "test_loss") - min(column(record, "test_loss"))


def loss_drop(record: Record, epoch: int) -> float:
    """The ratio of the training losses after `epoch` + 1 and after `epoch`."""
    losses = column(record, "train_loss")
    return losses[epoch] / losses[epoch - 1]


def overfit(record: Record) -> float:
    """Training minus test accuracy after the last epoch."""
    return last(record, "train_accuracy") - last(record, "test_accuracy")


def near_zero(record: Record) -> float:
    """The share of weights with |w| < 0.001."""
    return record["weights"]["share_below"]["0.001"]


def _short(run: str) -> str:
    return run.removeprefix("simple_cnn:").removeprefix("pooled_cnn:")
