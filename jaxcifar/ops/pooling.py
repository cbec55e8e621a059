"""Max-pooling whose gradient is deterministic and never NaN."""

import functools

import jax
import jax.numpy as jnp

from jaxcifar.errors import UserError

Array = jax.Array


def max_pool(x: Array, size: int) -> Array:
    """Max over size×size windows with stride `size`, [B, H, W, C] -> [B, H/size, W/size, C].

    A reshape and a maximum fuse with what stands around them and have a deterministic gradient;
    `reduce_window`'s select-and-scatter gradient has neither. Rows and columns left over by the
    division are dropped, as PyTorch does. Of 2×2 windows [B, H/2, W/2, 4, C] the maximum is left.
    """
    if x.ndim == 5:
        return maximum(x, (3,))
    if size == 1:
        return x
    b, h, w, c = x.shape
    if min(h, w) < size:
        raise UserError(
            f"config.model does not fit the images: a {size}×{size} max-pool on a map of"
            f" {h}×{w} pixels"
        )
    x = x[:, : h // size * size, : w // size * size]
    return maximum(x.reshape(b, h // size, size, w // size, size, c), (2, 4))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def maximum(x: Array, axes: tuple[int, ...]) -> Array:
    """`x.max(axes)`, equals sharing the gradient, as in JAX; but never 0/0.

    XLA may compute x once more for the gradient and round it otherwise, so that none is the
    maximum: JAX's own gradient is NaN then, and this is 0.
    """
    return x.max(axes)


def _maximum_forward(x, axes):
    y = x.max(axes, keepdims=True)
    return y.squeeze(axes), (x, y)


def _maximum_backward(axes, saved, gradient):
    x, y = saved
    equal = (x == y).astype(x.dtype)
    count = jnp.maximum(equal.sum(axes, keepdims=True), 1)
    return (jnp.expand_dims(gradient, axes) / count * equal,)


maximum.defvjp(_maximum_forward, _maximum_backward)
