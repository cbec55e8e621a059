import math

import pytest

from jaxcifar.run import selection


@pytest.mark.parametrize(
    ("accuracies", "index"),
    [([0.1, 0.5, 0.5, 0.2], 1), ([math.nan, 0.1, math.inf], 1), ([None, 0.0], 1), ([None], 0)],
    ids=str,
)
def test_the_best_is_the_first_of_the_highest(accuracies, index):
    assert selection.best(enumerate(accuracies), lambda item: item[1])[0] == index


def test_epochs_are_compared_on_the_validation_split_if_there_is_one():
    assert selection.split({"test_accuracy": 0.1}) == "test"
    assert selection.split({"test_accuracy": 0.1, "validation_accuracy": 0.1}) == "validation"
