"""Which epoch of a run is its best: one rule for the log, the checkpoints and the summary."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def split(line: Mapping[str, Any]) -> str:
    """Returns the split that epochs are compared on: validation, or test where there is none."""
    return "validation" if "validation_accuracy" in line else "test"


def best(items: Iterable[T], accuracy: Callable[[T], float | None]) -> T:
    """Returns the item of the highest accuracy, the first of equals; one not finite is below all.

    The first, because a later epoch that is no better is no reason to choose again.
    """
    return max(items, key=lambda item: finite(accuracy(item)))  # `max` takes the first


def finite(accuracy: float | None) -> float:
    """Returns the accuracy, −∞ where it is none: a NaN would win or lose by its place alone."""
    return accuracy if accuracy is not None and math.isfinite(accuracy) else -math.inf
