"""Augmentation by a box in each image: cutout and random erasing."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Array = jax.Array
ERASED_RATIO = 0.3  # of random erasing: height over width from this to its inverse


def box(
    shape: Sequence[int], top: Array, left: Array, height: Array | int, width: Array | int
) -> Array:
    """Returns which pixels lie in a box, booleans [B, H, W, 1] for images of `shape` [_, H, W, _].

    The box's first row and column and its sides are integers [B, 1]; it is clipped at the edge.
    """
    _, h, w, _ = shape
    in_rows = (jnp.arange(h) >= top) & (jnp.arange(h) < top + height)
    in_cols = (jnp.arange(w) >= left) & (jnp.arange(w) < left + width)
    return (in_rows[:, :, None] & in_cols[:, None, :])[..., None]


def cutout(key: Array, images: Array, size: int) -> Array:
    """Sets a size×size square to 0, its centre uniform over the image and the square clipped
    at the edge (DeVries & Taylor, arXiv 1708.04552)."""
    b, h, w, _ = images.shape
    key_y, key_x = jax.random.split(key)
    top = jax.random.randint(key_y, (b, 1), 0, h) - size // 2
    left = jax.random.randint(key_x, (b, 1), 0, w) - size // 2
    hole = box(images.shape, top, left, size, size)
    return jnp.where(hole, jnp.zeros((), images.dtype), images)


def random_erasing(
    key: Array,
    x: Array,
    normalise: Callable[[Array], Array],
    share: float,
    area: Sequence[float],
) -> Array:
    """Puts random pixels in a rectangle in a `share` of the images (Zhong et al., arXiv
    1708.04896).

    `x` is normalised, and so are the random pixels, each uniform in 0 to 255. The rectangle's area
    is uniform in `area` of the image's, its height over its width log-uniform (as torchvision's) in
    0.3 to 1/0.3 as far as it then fits the image, its place uniform where it fits.
    """
    b, h, w, _ = x.shape
    keys = jax.random.split(key, 6)
    pixels = h * w * jax.random.uniform(keys[0], (b, 1), minval=area[0], maxval=area[1])
    low = jnp.log(pixels / w**2).clip(math.log(ERASED_RATIO))
    high = jnp.log(h**2 / pixels).clip(max=-math.log(ERASED_RATIO))
    ratio = jnp.exp(low + (high - low) * jax.random.uniform(keys[1], (b, 1)))
    height, width = (
        jnp.round(jnp.sqrt(side)).astype(jnp.int32).clip(1, most)
        for side, most in ((pixels * ratio, h), (pixels / ratio, w))
    )
    top = jax.random.randint(keys[2], (b, 1), 0, h - height + 1)
    left = jax.random.randint(keys[3], (b, 1), 0, w - width + 1)
    erased = jax.random.bernoulli(keys[4], share, (b, 1, 1, 1))
    erased &= box(x.shape, top, left, height, width)
    return jnp.where(erased, normalise(jax.random.bits(keys[5], x.shape, jnp.uint8)), x)
