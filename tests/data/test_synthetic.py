"""The synthetic data set."""

import numpy as np
from reading import assert_same, load

from jaxcifar.data import synthetic


def test_synthetic_is_the_same_for_the_same_seed():
    first, again, other = synthetic.draw(3, 55), synthetic.draw(3, 55), synthetic.draw(4, 55)
    assert_same(again, first)
    assert (other.images != first.images).mean() > 0.9
    assert first.images.shape == (55, 32, 32, 3)
    np.testing.assert_array_equal(np.bincount(first.labels), [6] * 5 + [5] * 5)


def test_synthetic_loads_without_files():
    dataset = load("", validation=1000, source="synthetic")
    sizes = [len(s.labels) for s in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [9000, 1000, 2000]
    assert dataset.class_names == synthetic.CLASS_NAMES
    assert len(set(dataset.class_names)) == 10
    # No test image is a training image.
    train = {image.tobytes() for image in dataset.train.images}
    assert not any(image.tobytes() in train for image in dataset.test.images)
    # A linear model, ridge regression on the pixels, must fail.
    x, x_test = (
        s.images.reshape(len(s.labels), -1)[:, ::2] / np.float32(255) - np.float32(0.5)
        for s in (dataset.train, dataset.test)
    )
    y = np.eye(10, dtype=np.float32)[dataset.train.labels]
    for strength in (10, 1000):
        gram = x.T @ x + strength * np.eye(x.shape[1], dtype=np.float32)
        weights = np.linalg.solve(gram, x.T @ y)
        assert ((x_test @ weights).argmax(1) == dataset.test.labels).mean() < 0.6
