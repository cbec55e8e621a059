"""The convolution as each platform computes it fastest: the same function, to rounding."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array


def conv(
    x: Array, kernel: Array, stride: int, padding: int, drop: tuple[int, int] = (0, 0)
) -> Array:
    """Convolves x [B, H, W, C_in] with a kernel [k, k, C_in, C_out], `padding` pixels around.

    With stride 1, `drop` is how many of the last rows and columns of outputs are left out.
    """
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding - n) for n in drop],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_apart(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    """`conv`, of which `vmap` makes one convolution after another.

    Of `conv` itself it makes a grouped one, slow in cuDNN where a group has few channels.
    """
    return _one_by_one(lambda x, kernel: conv(x, kernel, stride, padding))(x, kernel)


def _conv_apart_forward(x, kernel, stride, padding):
    return conv_apart(x, kernel, stride, padding), (x, kernel)


def _conv_apart_backward(stride, padding, saved, gradient):
    def backward(x, kernel, gradient):
        return jax.vjp(lambda x, kernel: conv(x, kernel, stride, padding), x, kernel)[1](gradient)

    return _one_by_one(backward)(*saved, gradient)


conv_apart.defvjp(_conv_apart_forward, _conv_apart_backward)


def _one_by_one(function):
    """Returns the function of arrays, which `vmap` calls for each of the first axis in turn."""
    function = jax.custom_batching.custom_vmap(function)

    @function.def_vmap
    def _(size, batched, *arrays):
        each = [
            function(*(a[i] if has else a for a, has in zip(arrays, batched, strict=True)))
            for i in range(size)
        ]
        stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *each)
        return stacked, jax.tree.map(lambda _: True, stacked)

    return function


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv_fenced(
    x: Array, kernel: Array, stride: int, padding: int, drop: tuple[int, int] = (0, 0)
) -> Array:
    """`conv`, with a backward pass that XLA:CPU runs faster (see `_conv_fenced_backward`)."""
    return conv(x, kernel, stride, padding, drop)


def _conv_fenced_forward(x, kernel, stride, padding, drop):
    return conv(x, kernel, stride, padding, drop), (x, kernel)


def _conv_fenced_backward(stride, padding, drop, saved, gradient):
    # XLA:CPU transposes x for the kernel's gradient and fuses into that strided loop the whole
    # elementwise chain that made x. A product with the identity is the cheapest fence that it
    # respects (it drops optimization_barrier): 13 to 20 % of a ResNet-20 step.
    x, kernel = saved
    x = x @ jnp.eye(x.shape[-1], dtype=x.dtype)
    plain = functools.partial(conv, stride=stride, padding=padding, drop=drop)
    return jax.vjp(plain, x, kernel)[1](gradient)


conv_fenced.defvjp(_conv_fenced_forward, _conv_fenced_backward)


def conv_as_matrix(x: Array, kernel: Array, padding: int) -> Array:
    """`conv` with stride 1 as one product, x [B, H·W·C_in] with a matrix of the kernel's blocks.

    For a map smaller than the kernel, where most of a convolution is padding. XLA:CPU would turn
    it around, the map sliding over the kernel: 14 times slower for 3×3 on 2×2 pixels.
    """
    k, _, c_in, c_out = kernel.shape
    b, h, w, _ = x.shape
    rows, columns = (n + 2 * padding - k + 1 for n in (h, w))
    wide = jnp.pad(kernel, ((rows, h), (columns, w), (0, 0), (0, 0)))
    # output (i, j) sees pixel (u, v) through kernel[u - i + padding, v - j + padding]
    top, left = rows + padding, columns + padding
    blocks = [
        wide[top - i : top - i + h, left - j : left - j + w]
        for i in range(rows)
        for j in range(columns)
    ]
    matrix = jnp.stack(blocks, 3).reshape(h * w * c_in, rows * columns * c_out)
    return (x.reshape(b, -1) @ matrix).reshape(b, rows, columns, c_out)


def conv_by_windows(x: Array, kernel: Array, padding: int) -> Array:
    """`conv` with stride 1, its outputs by 2×2 windows: [B, H/2, W/2, 4, C_out].

    Space-to-depth: each window is one output of a convolution with 4 times the channels in and
    out, which for 3 or 8 channels XLA:CPU runs twice as fast. Needs odd k, even H + 2·padding.
    """
    k, _, c_in, c_out = kernel.shape
    n = (k + 1) // 2  # 2×2 blocks that cover what a window of outputs sees
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    b, h, w, _ = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c_in).transpose(0, 1, 3, 2, 4, 5)
    shifts = [(i, j) for i in (0, 1) for j in (0, 1)]
    wide = jnp.stack(
        [jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i, j in shifts], 3
    )
    wide = wide.reshape(n, 2, n, 2, c_in, 4 * c_out).transpose(0, 2, 1, 3, 4, 5)
    x = x.reshape(b, h // 2, w // 2, 4 * c_in)
    y = conv(x, wide.reshape(n, n, 4 * c_in, 4 * c_out), 1, 0)
    return y.reshape(*y.shape[:3], 4, c_out)


def from_windows(y: Array) -> Array:
    """Puts 2×2 windows [B, H/2, W/2, 4, C] back into their places: [B, H, W, C]."""
    b, h, w, _, c = y.shape
    return y.reshape(b, h, w, 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c)
