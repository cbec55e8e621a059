"""What the tests of data share: loading, comparing, and what an error says."""

import numpy as np

from jaxcifar import data


def load(dir, validation=0, train_examples=0, source="cifar10"):
    return data.load(
        source=source, dir=str(dir), validation=validation, train_examples=train_examples
    )


def assert_same(split, expected):
    assert split.images.dtype == np.uint8
    assert split.labels.dtype == np.int32
    np.testing.assert_array_equal(split.images, expected.images)
    np.testing.assert_array_equal(split.labels, expected.labels)


def one_line(raised, *parts):
    """Asserts that a message is one line and says each of `parts`."""
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message
    return message
