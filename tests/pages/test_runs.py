"""The filters of the first layer are found in every kind of net."""

import types

import numpy as np
import pytest

from jaxcifar.pages import runs


@pytest.mark.parametrize(
    ("params", "batch_stats", "shape"),
    [
        ({"conv0": {"kernel": (5, 5, 3, 8)}, "conv1": {"kernel": (3, 3, 8, 16)}}, {}, (5, 5, 3, 8)),
        ({"net": {"conv": {"kernel": (3, 3, 24, 8)}}}, {"whitening": (2, 2, 3, 24)}, (2, 2, 3, 24)),
        ({"head": {"dense0": {"kernel": (3072, 9)}}}, {}, (32, 32, 3, 9)),
        ({"head": {"kernel": (64, 10)}}, {}, None),
    ],
)
def test_the_filters_are_those_applied_to_the_image(params, batch_stats, shape):
    def zeros(tree):
        return {k: zeros(v) if isinstance(v, dict) else np.zeros(v) for k, v in tree.items()}

    variables = {"params": zeros(params), "batch_stats": zeros(batch_stats)}
    found = runs.first_filters(types.SimpleNamespace(variables=variables))
    assert (None if found is None else found.shape) == shape
