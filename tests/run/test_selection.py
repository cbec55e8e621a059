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
    assert selection.split_of({"test_accuracy": 0.1}) == "test"
    assert selection.split_of({"test_accuracy": 0.1, "validation_accuracy": 0.1}) == "validation"


@pytest.mark.parametrize(("patience", "every", "end"), [(3, 10, 20), (5, 4, 12), (2, 1, 3)])
def test_a_run_stops_early_only_at_epochs_that_were_scored(patience, every, end):
    """The accuracy never rises after the first score; only every `every`-th epoch has one."""
    stopping, lines = selection.EarlyStopping(patience), []
    while not stopping.due(lines):
        epoch = len(lines) + 1
        lines.append({"epoch": epoch})
        if epoch % every == 0:
            lines[-1] |= {"test_accuracy": 0.5, "validation_accuracy": 0.5}
    assert len(lines) == end
    assert f"after epoch {end}" in stopping.describe(lines)
