"""Helpers of the data tests: loading, comparing and checking errors."""

import numpy as np

from jaxcifar import data


def load(dir, validation=0, train_examples=0, source="cifar10"):
    return data.load_dataset(
        source=source, dir=str(dir), validation=validation, train_examples=train_examples
    )


def assert_same(split, expected):
    assert split.images.dtype == np.uint8
    assert split.labels.dtype == np.int32
    np.testing.assert_array_equal(split.images, expected.images)
    np.testing.assert_array_equal(split.labels, expected.labels)


def assert_one_line(raised, *parts):
    """Asserts that an error message is one line and contains each of `parts`; returns it."""
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message
    return message
