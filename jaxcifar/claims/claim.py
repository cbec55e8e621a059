"""What a claim is: comparisons of a metric, between two runs or with a number, and its words."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from jaxcifar.claims.records import Record, Records

ACCURACY, LOSS = "accuracy", "loss"


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number of one record. `unit` says what its differences are in; less of a loss is better."""

    name: str
    of: Callable[[Record], float]
    unit: str

    @property
    def lower(self) -> bool:
        return self.unit == LOSS


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A run's metric, less that of `other` on the same seed where there is one, with a bound.

    It is met at `bound` or above, with `lower` true at `bound` or below.
    """

    metric: Metric
    run: str
    bound: float
    other: str = ""
    lower: bool = False

    @property
    def runs(self) -> tuple[str, ...]:
        return (self.run, self.other) if self.other else (self.run,)

    def values(self, records: Records, device: str = "") -> tuple[float, ...]:
        """Returns the number of each seed that the runs have on that kind of device."""
        found = []
        for seed in sorted(set.intersection(*(set(records[run]) for run in self.runs))):
            of_seed = [records[run][seed] for run in self.runs]
            if all(device in record["device"] for record in of_seed):
                first, *second = (self.metric.of(record) for record in of_seed)
                found.append(first - sum(second))
        return tuple(found)

    def margin(self, value: float) -> float:
        """Returns how far a value is on the good side of the bound."""
        return self.bound - value if self.lower else value - self.bound


@dataclasses.dataclass(frozen=True)
class Claim:
    """One sentence or figure of a report.

    A figure (`reported`) has one comparison, with the reported number. A statement holds if each
    of its comparisons does. `device` is in the name of the kind of device that it speaks of.
    """

    id: str
    text: str
    comparisons: tuple[Comparison, ...]
    reported: float | None = None
    best: bool = False
    device: str = ""
    note: str = ""

    @property
    def report(self) -> str:
        return self.id[:3]

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(run for part in self.comparisons for run in part.runs))


def figure_claim(
    id: str, run: str, reported: float, text: str, key: str = "test_accuracy", **options
) -> Claim:
    """A reported number: the metric `key` after the last epoch."""
    return _figure(id, last_epoch(key), run, reported, text, **options)


def best_figure_claim(id: str, run: str, reported: float, text: str, **options) -> Claim:
    """A reported best test accuracy: the maximum over the epochs, selected on the test set."""
    return _figure(id, BEST, run, reported, text, **options)


def _figure(id: str, metric: Metric, run: str, reported: float, text: str, **options) -> Claim:
    comparison = Comparison(metric, run, reported, lower=metric.lower)
    return Claim(id, text, (comparison,), reported, **options)


def statement_claim(
    id: str, text: str, metric: Metric, run: str, bound: float, lower: bool = False, **options
) -> Claim:
    """A statement about one number of a run: at least, with `lower` at most, a bound."""
    return Claim(id, text, (Comparison(metric, run, bound, lower=lower),), **options)


def gain_claim(
    id: str, better: str, worse: str, at_least: float, text: str, metrics: Sequence[Metric] = ()
) -> Claim:
    """A statement that one run's metrics, its best test accuracy, are above another's."""
    return Claim(
        id, text, tuple(Comparison(m, better, at_least, worse) for m in metrics or (BEST,))
    )


def within_claim(
    id: str, text: str, metric: Metric, run: str, bound: float, other: str = ""
) -> Claim:
    """A statement that a number, or the difference of two runs, is within ± a bound."""
    above = Comparison(metric, run, -bound, other)
    below = Comparison(metric, run, bound, other, lower=True)
    return Claim(id, text, (above, below))


def best_claim(id: str, run: str, sweep: Iterable[str], text: str, metric: Metric) -> Claim:
    """A statement that a run beats each other of a sweep."""
    others = (Comparison(metric, run, 0.0, other) for other in sweep if other != run)
    return Claim(id, text, tuple(others), best=True)


def last_epoch(key: str) -> Metric:
    """The metric `key` after the last epoch."""
    unit = LOSS if key.endswith("loss") else ACCURACY
    return Metric(f"{key.replace('_', ' ')}, last epoch", lambda r: column(r, key)[-1], unit)


def column(record: Record, key: str) -> list[float]:
    """Returns a metric of every epoch that has it; infinite where it was not finite."""
    values = [line[key] for line in record["epochs"] if key in line]
    return [math.inf if value is None else value for value in values]


def diverged(seeds: Mapping[int, Record]) -> bool:
    """Returns whether a seed of a run ended with a training loss no better than guessing's."""
    return any(
        column(record, "train_loss")[-1] >= math.log(len(record["class_names"]))
        for record in seeds.values()
    )


LAST = last_epoch("test_accuracy")
BEST = Metric(
    "test accuracy, best epoch (selected on test)",
    lambda record: max(column(record, "test_accuracy")),
    ACCURACY,
)
