"""Augmentations of the speed records: reflected crops, alternating flips, the curriculum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_images
from test_augment import OFF, crop_and_flip

from jaxcifar.errors import UserError
from jaxcifar.training import augment as operations


def test_a_reflected_crop_is_a_window_of_the_reflected_image():
    images = random_images(300, 9, 9, 3)
    got, _ = crop_and_flip(jax.random.key(1), jnp.array(images), 2, False, True)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    windows = [padded[:, y : y + 9, x : x + 9] for y in range(5) for x in range(5)]
    matches = np.array([(window == got).all((1, 2, 3)) for window in windows])
    assert (matches.sum(0) == 1).all()
    assert matches.any(1).all()  # each shift occurs


def test_two_epochs_show_each_image_and_its_mirror_image():
    examples = jnp.arange(1000)
    first, second, third, other = (
        np.asarray(operations.alternating_mirror(seed, examples, epoch))
        for seed, epoch in ((5, 0), (5, 1), (5, 2), (6, 0))
    )
    np.testing.assert_array_equal(first, ~second)
    np.testing.assert_array_equal(first, third)
    assert 400 < first.sum() < 600
    assert 400 < (first == other).sum() < 600  # another seed, another choice
    some = jnp.array([7, 3, 999])
    np.testing.assert_array_equal(operations.alternating_mirror(5, some, 0), first[some])


def test_the_mirroring_depends_on_example_and_epoch():
    pipeline = operations.Augmentation(**OFF | {"flip": True, "alternating_flip": True})
    images, examples = jnp.array(random_images(50, 32, 32, 3)), jnp.arange(50) + 100

    def shown(key, epoch):
        batch = operations.Batch(images, None, examples, jnp.int32(epoch), jnp.int32(5))
        return np.asarray(pipeline.train(jax.random.key(key), batch, 32))

    plain = np.asarray(pipeline.normalise(images))
    mirrored = np.asarray(operations.alternating_mirror(5, examples, 0))[:, None, None, None]
    np.testing.assert_array_equal(shown(0, 0), np.where(mirrored, plain[:, :, ::-1], plain))
    np.testing.assert_array_equal(shown(1, 3), np.where(mirrored, plain, plain[:, :, ::-1]))


def test_the_curriculum_resizes_as_bilinear_interpolation_does():
    """Like PyTorch's interpolate with align_corners=False: half-pixel centres, no smoothing."""
    pipeline = operations.Augmentation(**OFF | {"curriculum": ((0, 24), (3, 28), (6, 32))})
    assert [pipeline.size_of(e) for e in (0, 2, 3, 5, 6, 99)] == [24, 24, 28, 28, 32, 32]
    assert operations.Augmentation(**OFF).size_of(3) == 32
    images = random_images(2, 32, 32, 3)
    batch = operations.Batch(jnp.array(images), None, jnp.arange(2), jnp.int32(0), jnp.int32(0))
    got = np.asarray(pipeline.train(jax.random.key(0), batch, 24))
    at = (np.arange(24) + 0.5) * 32 / 24 - 0.5
    low, part = np.floor(at).astype(int), at % 1
    x = images / 127.5 - 1
    rows = x[:, low] * (1 - part)[:, None, None] + x[:, low + 1] * part[:, None, None]
    want = rows[:, :, low] * (1 - part)[:, None] + rows[:, :, low + 1] * part[:, None]
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_alternating_flip_requires_flip():
    with pytest.raises(UserError, match="alternating_flip is True, but flip is False"):
        operations.Augmentation(**OFF | {"alternating_flip": True})
