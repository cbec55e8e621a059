"""The augmentations against slow, simple versions."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_images, tiny

from jaxcifar.errors import UserError
from jaxcifar.training import augment as operations
from jaxcifar.training import experiment

# compiled; all arguments but the key and the images are static
crop_and_flip = jax.jit(operations.crop_and_flip, static_argnums=(2, 3, 4))


rotate = jax.jit(operations.rotate, static_argnums=2)


random_resized_crop = jax.jit(operations.random_resized_crop, static_argnums=(2, 3))


OFF = {
    "flip": False,
    "crop_pad": 0,
    "crop_fill": "black",
    "cutout_size": 0,
    "resized_crop_scale": (),
    "resized_crop_pad": 0,
    "rotation_degrees": 0.0,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "dtype": jnp.float32,
}
ALL = {
    "flip": True,
    "crop_pad": 4,
    "cutout_size": 16,
    "resized_crop_scale": (0.8, 1.0),
    "resized_crop_pad": 4,
    "rotation_degrees": 15.0,
    "erasing_share": 1.0,
}


def augment_with(**keys):
    """Returns the function (key, images) -> augmented images of the first epoch."""
    pipeline = operations.Augmentation(**keys)

    def train(key, images):
        n = len(images)
        batch = operations.Batch(images, jnp.zeros(n), jnp.arange(n), jnp.int32(0), jnp.int32(0))
        return pipeline.train(key, batch, 32)

    return train


# the train step may use rbg keys, which have another generator
KEYS = [jax.random.PRNGKey, lambda seed: jax.random.key(seed, impl="rbg")]


def ramp(b, size=32):
    """Images whose channels are the row, the column, and 100."""
    y, x = np.mgrid[:size, :size]
    return jnp.array(
        np.broadcast_to(np.stack([y, x, 0 * x + 100], -1), (b, size, size, 3)), "uint8"
    )


@pytest.mark.parametrize("flip", [False, True])
def test_crop_and_flip_is_pad_slice_and_mirror(flip):
    b, size, pad = 3000, 10, 4
    images = random_images(b, size, size, 3)
    got, inside = crop_and_flip(jax.random.key(1), jnp.array(images), pad, flip)
    got, inside = np.asarray(got), np.asarray(inside)
    edges = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    padded, ones = np.pad(images, edges), np.pad(np.ones((b, size, size, 1), bool), edges)
    matches = {}
    for dy, dx, mirror in itertools.product(range(9), range(9), (False, True)):
        window = np.s_[:, dy : dy + size, dx : dx + size]
        image, mask = padded[window], ones[window]
        if mirror:
            image, mask = image[:, :, ::-1], mask[:, :, ::-1]
        for i in np.flatnonzero((image == got).all((1, 2, 3))):
            assert i not in matches
            np.testing.assert_array_equal(inside[i], mask[i])
            matches[i] = dy, dx, mirror
    assert len(matches) == b  # every image is one of 9·9·2 possibilities
    offsets, flips = [m[:2] for m in matches.values()], [m[2] for m in matches.values()]
    counts = [offsets.count(offset) for offset in itertools.product(range(9), range(9))]
    assert min(counts) > 10  # 37 expected of each
    assert max(counts) < 75
    assert abs(np.mean(flips) - (0.5 if flip else 0)) < (0.05 if flip else 1e-9)


@pytest.mark.parametrize("pad", [1, 9, 10])  # up to the size of the image
def test_a_reflected_crop_is_reflect_pad_and_slice(pad):
    size = 10
    images = random_images(500, size, size, 3)
    got, _ = crop_and_flip(jax.random.key(1), jnp.array(images), pad, False, reflect=True)
    # NumPy reflects repeatedly, so that padding may exceed the image by more than one
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), "reflect")
    windows = itertools.product(range(2 * pad + 1), repeat=2)
    cropped = [padded[:, dy : dy + size, dx : dx + size] for dy, dx in windows]
    equal = [(window == np.asarray(got)).all((1, 2, 3)) for window in cropped]
    assert np.any(equal, axis=0).all()


def test_bilinear_is_the_slow_loop():
    images = random_images(2, 5, 6, 3)
    rng = np.random.default_rng(1)
    y, x = rng.uniform(-2, 7, (2, 2, 4, 3))
    y[0, 0], x[0, 0] = (0, 4, -1), (5, 0, 2)  # on the pixels and on the line outside

    def pixel(i, row, col):
        return images[i, row, col].astype(float) if 0 <= row < 5 and 0 <= col < 6 else np.zeros(3)

    want = np.zeros((2, 4, 3, 3))
    for i, r, c in np.ndindex(2, 4, 3):
        top, left = math.floor(y[i, r, c]), math.floor(x[i, r, c])
        for row, col in itertools.product((top, top + 1), (left, left + 1)):
            weight = (1 - abs(y[i, r, c] - row)) * (1 - abs(x[i, r, c] - col))
            want[i, r, c] += weight * pixel(i, row, col)
    got = jax.jit(operations.bilinear)(jnp.array(images), jnp.float32(y), jnp.float32(x))
    np.testing.assert_allclose(got, want, atol=1e-3)


def test_rotation_is_a_rotation_and_by_zero_the_identity():
    images = random_images(4, 32, 32, 3)
    np.testing.assert_array_equal(rotate(jax.random.key(0), jnp.array(images), 0.0), images)

    got = np.asarray(rotate(jax.random.key(0), ramp(500), 15.0), np.float64)
    inner = got[:, 12:20, 12:20]  # never reaches the border: the ramps stay linear there
    dy = (inner[:, 1:] - inner[:, :-1]).mean((1, 2))
    dx = (inner[:, :, 1:] - inner[:, :, :-1]).mean((1, 2))
    cos, sin = dy[:, 0], dx[:, 0]
    np.testing.assert_allclose(dx[:, 1], cos, atol=1e-4)  # [[cos, sin], [−sin, cos]]
    np.testing.assert_allclose(dy[:, 1], -sin, atol=1e-4)
    np.testing.assert_allclose(cos**2 + sin**2, 1, atol=1e-4)
    np.testing.assert_allclose(inner[:, 3:5, 3:5, :2].mean((1, 2)), 15.5, atol=1e-3)  # the centre
    degrees = np.degrees(np.arctan2(sin, cos))
    assert -15.01 < degrees.min() < -14
    assert 14 < degrees.max() < 15.01
    assert abs(degrees.mean()) < 1.5
    assert (got[abs(degrees) > 5][:, [0, 0, -1, -1], [0, -1, 0, -1], 2] < 100).all()  # dark corners


def test_resized_crop_takes_a_box_of_the_configured_area_and_ratio():
    got = np.asarray(random_resized_crop(jax.random.key(0), ramp(1000), (0.25, 0.5), 0), "float64")
    np.testing.assert_allclose(got[..., 2], 100, atol=1e-3)  # without padding nothing is black
    np.testing.assert_allclose(got[..., 0], got[:, :, :1, 0].repeat(32, 2), atol=1e-3)
    np.testing.assert_allclose(got[..., 1], got[:, :1, :, 1].repeat(32, 1), atol=1e-3)
    box, low = [], []
    for line in (got[:, :, 0, 0], got[:, 0, :, 1]):
        step = (line[:, 24] - line[:, 8]) / 16  # the box's side over 32
        box.append(32 * step)
        low.append(line[:, 16] - 16.5 * step + 0.5)  # its first edge
    box, low = np.array(box), np.array(low)
    area, ratio = box[0] * box[1] / 1024, np.log(box[1] / box[0])
    assert (low > -1e-3).all()
    assert (low + box < 32 + 1e-3).all()
    assert 0.249 < area.min() < 0.26
    assert 0.49 < area.max() < 0.501
    assert abs(area.mean() - 0.375) < 0.015
    assert -math.log(4 / 3) - 1e-3 < ratio.min() < -0.27
    assert 0.27 < ratio.max() < math.log(4 / 3) + 1e-3
    assert abs(ratio.mean()) < 0.03
    place = low / (32 - box)  # uniform where there is room
    assert (abs(place.mean(1) - 0.5) < 0.05).all()


def test_resized_crop_of_the_whole_area_stretches_one_direction_only():
    """A box with the area of the image is clipped to the image in one direction."""
    got = np.asarray(random_resized_crop(jax.random.key(0), ramp(50), (1.0, 1.0), 0))
    same = np.isclose(got, ramp(50), atol=1e-3).all((1, 2))
    assert same[:, :2].any(1).all()
    assert same[:, 2].all()
    padded = np.asarray(random_resized_crop(jax.random.key(0), ramp(50), (1.0, 1.0), 4))
    assert padded[..., 2].min() == 0  # with padding, the box may reach beyond the border
    assert padded[..., 2].max() <= 100.001


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 2e-6), (jnp.bfloat16, 0.05)])
def test_normalise(dtype, tolerance):
    images = random_images(3, 4, 4, 3)
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    got = operations.normalise(jnp.array(images), mean, std, dtype)
    assert got.dtype == dtype
    np.testing.assert_allclose(np.float64(got), (images / 255 - mean) / std, atol=tolerance)


@pytest.mark.parametrize("flip", [False, True])
def test_the_border_of_a_crop_is_black_or_the_mean(flip):
    white = jnp.full((100, 32, 32, 3), 255, jnp.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    keys = OFF | {"flip": flip, "crop_pad": 4, "mean": mean, "std": std}
    black, average = (
        np.asarray(jax.jit(augment_with(**keys | {"crop_fill": fill}))(jax.random.key(0), white))
        for fill in ("black", "mean")
    )
    border = (average == 0).all(-1)  # exactly 0
    assert 0.05 < border.mean() < 0.2  # 13 % expected

    def colour(value):
        return (value - np.array(mean)) / std

    for images, border_colour in ((black, colour(0)), (average, np.zeros(3))):
        want = np.where(border[..., None], border_colour, colour(1))
        np.testing.assert_allclose(images, want, rtol=1e-5)


def test_cutout_comes_before_normalising():
    white = jnp.full((8, 32, 32, 3), 255, jnp.uint8)
    x = augment_with(**OFF | {"cutout_size": 16})(jax.random.key(0), white)
    assert set(np.unique(x).tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize(
    "change", [{}, {"crop_fill": "mean"}, *({key: value} for key, value in ALL.items())], ids=str
)
def test_augmentation_is_jittable_and_a_function_of_the_key(change):
    on = ALL | {"crop_fill": "mean"} if "crop_fill" in change else change
    if "resized_crop_pad" in change:
        on = ALL
    pipeline = operations.Augmentation(**OFF | on)
    images = jnp.array(random_images(4, 32, 32, 3))
    train = jax.jit(augment_with(**OFF | on))
    one, again, other = (train(jax.random.key(seed), images) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any() == bool(on)
    assert one.shape == images.shape
    assert one.dtype == jnp.float32
    # test images are never augmented
    np.testing.assert_allclose(
        pipeline.normalise(images), np.asarray(images) / 127.5 - 1, atol=1e-6
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop_fill": "blue"},
        {"crop_pad": -1},
        {"crop_pad": 33},
        {"cutout_size": 40},
        {"cutout_size": -1},
        {"rotation_degrees": -1.0},
        {"rotation_degrees": math.nan},
        {"rotation_degrees": 200.0},
        {"curriculum": ((1, 24),)},
        {"curriculum": ((0, 24), (0, 32))},
        {"curriculum": ((0, 24), (5, 28), (3, 32))},
        {"curriculum": ((0, 0),)},
        {"curriculum": (24, 32)},
        {"mean": (0.5,)},
        {"mean": (125.3, 123.0, 113.9)},  # for pixels that are not divided by 255
        {"std": (0.5, 0.0, 0.5)},
        {"std": (63.0, 62.1, 66.7)},
        {"std": ()},
        {"resized_crop_scale": (0.5,)},
        {"resized_crop_scale": (-1.0, 0.0)},
        {"resized_crop_scale": (0.0, 1.0)},
        {"resized_crop_scale": (1.0, 0.8)},
        {"resized_crop_scale": (0.8, 1.2)},
        {"resized_crop_pad": -1},
        {"erasing_share": 1.5},
        {"erasing_area": ()},
        {"erasing_area": (0.4, 0.02)},
        {"mixup_alpha": -0.2},
        {"cutmix_alpha": math.inf},
        {"mixed_share": 0.0},
    ],
    ids=str,
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(UserError, match=rf"config\.augment\.{next(iter(wrong))}"):
        experiment.build_experiment(
            tiny(**{f"augment.{key}": value for key, value in wrong.items()})
        )


@pytest.mark.parametrize("size", [1, 16, 24, 28, 31, 32, 40])
def test_resize_equals_that_of_jax(size):
    x = np.random.default_rng(0).normal(size=(3, 32, 32, 2)).astype(np.float32)
    want = jax.image.resize(x, (3, size, size, 2), "linear", antialias=False)
    np.testing.assert_allclose(
        jax.jit(operations.resize, static_argnums=1)(x, size), want, atol=1e-5
    )
    assert operations.resize(x.astype(jnp.bfloat16), size).dtype == jnp.bfloat16
