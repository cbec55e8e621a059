"""Augmentations that overwrite a box in each image: cutout and random erasing."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Array = jax.Array
ERASED_RATIO = 0.3  # random erasing: minimum of height/width; the maximum is its inverse


def box_mask(
    shape: Sequence[int], top: Array, left: Array, height: Array | int, width: Array | int
) -> Array:
    """Returns which pixels lie in a box, booleans [B, H, W, 1], for images of `shape` [_, H, W, _].

    `top`, `left`, `height` and `width` are integers [B, 1]; the box is clipped at the edge.
    """
    _, h, w, _ = shape
    in_rows = (jnp.arange(h) >= top) & (jnp.arange(h) < top + height)
    in_cols = (jnp.arange(w) >= left) & (jnp.arange(w) < left + width)
    return (in_rows[:, :, None] & in_cols[:, None, :])[..., None]


def cutout(key: Array, images: Array, size: int) -> Array:
    """Sets a square of size×size pixels to 0 in each image (DeVries & Taylor, arXiv 1708.04552).

    The centre of the square is uniform over the image. The square is clipped at the edge.
    """
    b, h, w, _ = images.shape
    key_y, key_x = jax.random.split(key)
    top = jax.random.randint(key_y, (b, 1), 0, h) - size // 2
    left = jax.random.randint(key_x, (b, 1), 0, w) - size // 2
    hole = box_mask(images.shape, top, left, size, size)
    return jnp.where(hole, jnp.zeros((), images.dtype), images)


def random_erasing(
    key: Array,
    x: Array,
    normalise: Callable[[Array], Array],
    share: float,
    area: Sequence[float],
) -> Array:
    """Fills a rectangle with random pixels in a fraction `share` of the images.

    The source is Zhong et al., arXiv 1708.04896. `x` is normalised; the random pixels are uniform
    in 0 to 255 and then normalised too. The area of the rectangle is uniform in `area` times the
    image's area. As in torchvision, height/width is log-uniform in 0.3 to 1/0.3, limited to
    rectangles that fit. The position is uniform.
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
    erased &= box_mask(x.shape, top, left, height, width)
    return jnp.where(erased, normalise(jax.random.bits(keys[5], x.shape, jnp.uint8)), x)
