"""Cutout and random erasing: the position, size and content of their boxes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcifar.training import boxes

cutout = jax.jit(boxes.cutout, static_argnums=2)


@pytest.mark.parametrize("size", [16, 7])
def test_cutout_is_a_square_clipped_at_the_edge(size):
    images = jnp.full((2000, 32, 32, 3), 255, jnp.uint8)
    hole = np.asarray(cutout(jax.random.key(0), images, size)) == 0
    assert (hole == hole[..., :1]).all()
    rows, cols = hole[..., 0].any(2), hole[..., 0].any(1)
    np.testing.assert_array_equal(hole[..., 0], rows[:, :, None] & cols[:, None, :])
    # the centre is anywhere in the image, and everywhere with the same probability
    half = size // 2
    want = {(max(0, c - half), min(32, c - half + size)) for c in range(32)}
    for lines in (rows, cols):
        spans = [(int(r.argmax()), int(32 - r[::-1].argmax())) for r in lines]
        assert all(r[a:b].all() for r, (a, b) in zip(lines, spans, strict=True))
        assert set(spans) == want
        assert max(spans.count(span) for span in want) < 110  # 62 expected


def erased(share, area, count, seed=0):
    """Returns constant images of 2 after random erasing."""
    white = jnp.full((count, 32, 32, 3), 2.0)
    erase = jax.jit(lambda key: boxes.random_erasing(key, white, lambda x: x / 255, share, area))
    return np.asarray(erase(jax.random.key(seed)))


def test_erasing_takes_a_rectangle_of_the_configured_area_and_ratio():
    hole = (erased(1.0, (0.02, 0.4), 4000) != 2).all(-1)
    rows, cols = hole.any(2), hole.any(1)
    np.testing.assert_array_equal(hole, rows[:, :, None] & cols[:, None, :])
    height, width = rows.sum(1), cols.sum(1)
    top, left = rows.argmax(1), cols.argmax(1)
    np.testing.assert_array_equal(32 - rows[:, ::-1].argmax(1) - top, height)  # in one piece
    np.testing.assert_array_equal(32 - cols[:, ::-1].argmax(1) - left, width)
    # sides are rounded: what they were is within a half
    assert ((height + 0.5) * (width + 0.5) >= 0.02 * 1024).all()
    assert ((height - 0.5) * (width - 0.5) <= 0.4 * 1024).all()
    assert ((height - 0.5) / (width + 0.5) <= 1 / 0.3).all()
    assert ((width - 0.5) / (height + 0.5) <= 1 / 0.3).all()
    area, ratio = height * width / 1024, np.log(height / width)
    assert area.min() < 0.025
    assert area.max() > 0.39
    assert abs(area.mean() - 0.21) < 0.01
    assert abs(ratio.mean()) < 0.04
    small = ratio[area < 0.2]  # all ratios fit: uniform in the logarithm
    assert abs(small.std() - 2 * math.log(1 / 0.3) / math.sqrt(12)) < 0.03
    place = top[height < 24] / (32 - height[height < 24])
    assert abs(place.mean() - 0.5) < 0.02
    assert abs(place.std() - 1 / math.sqrt(12)) < 0.03


def test_erasing_of_nearly_everything_fits():
    hole = (erased(1.0, (1.0, 1.0), 50) != 2).all(-1)
    assert hole.all()


def test_erasing_fills_a_share_of_the_images_with_independent_random_pixels():
    x = erased(0.25, (0.3, 0.4), 2000)
    hole = (x != 2).all(-1)
    assert abs(hole.any((1, 2)).mean() - 0.25) < 0.04  # four σ
    values = np.rint(x[hole] * 255)  # [pixels, 3]
    assert (np.bincount(values.astype(int).ravel(), minlength=256) > 0).all()
    assert abs(values.mean() - 127.5) < 1
    assert abs(values.std() - 256 / math.sqrt(12)) < 1
    assert abs(np.corrcoef(values.T)[0, 1]) < 0.02
    assert len(np.unique(values[:, 0].reshape(-1)[:1000])) > 200  # no one colour per image
