"""Defines a claim: its text, and comparisons of a metric with a number or between two runs."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping

from jaxcifar.claims.records import Record, Records

ACCURACY, LOSS = "accuracy", "loss"


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number computed from one record. `unit` is the unit of its differences."""

    name: str
    of: Callable[[Record], float]
    unit: str

    @property
    def lower_is_better(self) -> bool:
        return self.unit == LOSS


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Compares a run's metric, or its difference from `other` seed by seed, with a bound.

    The value must be at least `bound`, or with `at_most` no more than `bound`.
    """

    metric: Metric
    run: str
    bound: float
    other: str = ""
    at_most: bool = False

    @property
    def runs(self) -> tuple[str, ...]:
        return (self.run, self.other) if self.other else (self.run,)

    def values(self, records: Records, device: str = "") -> tuple[float, ...]:
        """Returns the value of each seed that all runs have, on devices whose name has `device`."""
        found = []
        for seed in sorted(set.intersection(*(set(records[run]) for run in self.runs))):
            of_seed = [records[run][seed] for run in self.runs]
            if all(device in record["device"] for record in of_seed):
                first, *second = (self.metric.of(record) for record in of_seed)
                found.append(first - sum(second))
        return tuple(found)

    def margin(self, value: float) -> float:
        """Returns the distance of a value from the bound, positive on the good side."""
        return self.bound - value if self.at_most else value - self.bound


@dataclasses.dataclass(frozen=True)
class Claim:
    """One sentence or one figure of a report.

    A figure has one comparison, with the number `reported`. A statement holds if all of its
    comparisons do; `best` marks one that names the best run of a sweep. A claim with a `device`
    counts only runs on devices whose name contains that word.
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


def last_epoch(key: str) -> Metric:
    """Returns the metric `key` after the last epoch."""
    unit = LOSS if key.endswith("loss") else ACCURACY
    return Metric(f"{key.replace('_', ' ')}, last epoch", lambda r: column(r, key)[-1], unit)


def column(record: Record, key: str) -> list[float]:
    """Returns a metric of all epochs that have it; a value that was not finite is infinite."""
    values = [line[key] for line in record["epochs"] if key in line]
    return [math.inf if value is None else value for value in values]


def value_at(record: Record, key: str, epoch: int) -> float:
    """Returns a training metric after an epoch, counted from 1; NaN if the run ended before it."""
    values = column(record, key)
    return values[epoch - 1] if epoch <= len(values) else math.nan


def no_better_than_guessing(seeds: Mapping[int, Record]) -> bool:
    """Returns whether any seed ended with a training loss no better than guessing."""
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


def figure_claim(id: str, run: str, reported: float, text: str, metric: Metric = LAST) -> Claim:
    """Returns the claim of a reported number."""
    comparison = Comparison(metric, run, reported, at_most=metric.lower_is_better)
    return Claim(id, text, (comparison,), reported)


def at_least(metric: Metric, run: str, bound: float, other: str = "") -> tuple[Comparison, ...]:
    """Requires a metric, or its gain over another run, to be at least a bound."""
    return (Comparison(metric, run, bound, other),)


def at_most(metric: Metric, run: str, bound: float, other: str = "") -> tuple[Comparison, ...]:
    """Requires a metric, or its gain over another run, to be at most a bound."""
    return (Comparison(metric, run, bound, other, at_most=True),)


def within(metric: Metric, run: str, bound: float, other: str = "") -> tuple[Comparison, ...]:
    """Requires a metric, or its difference from another run, to be within ±bound."""
    return at_least(metric, run, -bound, other) + at_most(metric, run, bound, other)


def beats(metric: Metric, run: str, sweep: Iterable[str]) -> tuple[Comparison, ...]:
    """Requires a run to be better than every other run of a sweep."""
    return tuple(Comparison(metric, run, 0.0, other) for other in sweep if other != run)
