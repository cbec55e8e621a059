"""Selects the best epoch of a run by the same rule everywhere."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def split(line: Mapping[str, Any]) -> str:
    """Returns the split on which epochs are compared: "validation" if there is one, or "test"."""
    return "validation" if "validation_accuracy" in line else "test"


def best(items: Iterable[T], accuracy: Callable[[T], float | None]) -> T:
    """Returns the item with the highest accuracy, the first if several are equal.

    Accuracies that are missing or not finite rank lowest.
    """
    return max(items, key=lambda item: finite(accuracy(item)))  # `max` returns the first maximum


def finite(accuracy: float | None) -> float:
    """Returns the accuracy, or −∞ if it is missing or not finite, because NaNs do not compare."""
    return accuracy if accuracy is not None and math.isfinite(accuracy) else -math.inf
