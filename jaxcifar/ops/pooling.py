"""Max-pooling with a deterministic gradient that is never NaN."""

import functools

import jax
import jax.numpy as jnp

from jaxcifar.errors import UserError

Array = jax.Array


def max_pool(x: Array, size: int) -> Array:
    """Takes the maximum of size×size windows, [B, H, W, C] -> [B, H/size, W/size, C].

    The stride is `size`. Rows and columns that do not fill a window are dropped, as in PyTorch. The
    implementation is a reshape and a maximum, which fuse with the operations around them and have a
    deterministic gradient. The gradient of `reduce_window` is a select-and-scatter, which does not
    fuse and is not deterministic.

    Raises:
      UserError: a window is larger than the map.
    """
    if size == 1:
        return x
    b, h, w, c = x.shape
    if min(h, w) < size:
        raise UserError(
            f"config.model does not fit the images: it applies a {size}×{size} max-pool to a map of"
            f" {h}×{w} pixels; use fewer or smaller pools"
        )
    x = x[:, : h // size * size, : w // size * size]
    return safe_max(x.reshape(b, h // size, size, w // size, size, c), (2, 4))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def safe_max(x: Array, axes: tuple[int, ...]) -> Array:
    """Returns `x.max(axes)`, with a gradient that is never NaN.

    As in JAX, equal values share the gradient. XLA may compute x a second time for the gradient and
    round it differently, so that no value equals the maximum. JAX's own gradient is then 0/0; this
    one is 0.
    """
    return x.max(axes)


def _safe_max_forward(x, axes):
    y = x.max(axes, keepdims=True)
    return y.squeeze(axes), (x, y)


def _safe_max_backward(axes, saved, gradient):
    x, y = saved
    equal = (x == y).astype(x.dtype)
    count = jnp.maximum(equal.sum(axes, keepdims=True), 1)
    return (jnp.expand_dims(gradient, axes) / count * equal,)


safe_max.defvjp(_safe_max_forward, _safe_max_backward)
