"""Selects the best epoch of a run by the same rule everywhere."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

from jaxcifar.config.fields import Count
from jaxcifar.run import metrics

T = TypeVar("T")


def split_of(line: Mapping[str, Any]) -> str:
    """Returns the split on which epochs are compared: "validation" if there is one, or "test"."""
    return "validation" if "validation_accuracy" in line else "test"


class EarlyStopping(NamedTuple):
    """The keys of `config.early_stopping`."""

    patience: Annotated[
        Count,
        "the run ends after this many epochs without a better validation accuracy (needs"
        " data.validation); 0 is off",
    ] = 0

    def due(self, lines: Sequence[Mapping[str, Any]]) -> bool:
        """Returns whether a run with these lines of metrics, one per epoch, ends here."""
        if not (self.patience and lines and "validation_accuracy" in lines[-1]):
            return False
        return bool(lines[-1]["epoch"] - self._best(lines)["epoch"] >= self.patience)

    def describe(self, lines: Sequence[Mapping[str, Any]]) -> str:
        """Returns why the run ended, as text."""
        line = self._best(lines)
        return (
            f"stopped early after epoch {lines[-1]['epoch']}: no validation accuracy above that of"
            f" epoch {line['epoch']}, {line['validation_accuracy']:.4f}, for {self.patience}"
            f" epoch{'s' * (self.patience > 1)}"
            " (early_stopping.patience)"
        )

    @staticmethod
    def _best(lines: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return best(lines, lambda line: line.get("validation_accuracy"))


def has_ended(lines: Sequence[metrics.Line], stopping: EarlyStopping) -> bool:
    """Returns whether a run with these lines diverged or stopped early, and takes no more steps."""
    return metrics.diverged(lines) or stopping.due(lines)


def best(items: Iterable[T], accuracy: Callable[[T], float | None]) -> T:
    """Returns the item with the highest accuracy, the first if several are equal.

    Accuracies that are missing or not finite rank lowest.
    """
    return max(items, key=lambda item: rankable(accuracy(item)))  # `max` returns the first maximum


def rankable(accuracy: float | None) -> float:
    """Returns the accuracy, or −∞ if it is missing or not finite, because NaNs do not compare."""
    return accuracy if accuracy is not None and math.isfinite(accuracy) else -math.inf
