"""2-D convolution with a fast implementation per platform; all agree up to rounding."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxcifar.ops.pooling import max_pool, safe_max
from jaxcifar.ops.winograd import best_tile, conv_winograd, winograd_is_faster

Array = jax.Array


class Convolution(NamedTuple):
    """A convolution to compute. `pooled` means that a 2×2 max-pool follows at once."""

    x: Array
    kernel: Array
    stride: int
    padding: int
    pooled: bool = False

    @property
    def channels(self) -> tuple[int, int]:
        """The channels in and out."""
        return self.kernel.shape[2], self.kernel.shape[3]

    @property
    def is_float32_3x3(self) -> bool:
        return len(self.kernel) == 3 and self.stride == 1 and self.x.dtype == jnp.float32

    @property
    def dropped(self) -> tuple[int, int]:
        """The numbers of last output rows and columns to skip, because the pool drops them."""
        if not (self.pooled and self.is_float32_3x3):
            return 0, 0
        h, w = (side + 2 * self.padding - 2 for side in self.x.shape[1:3])
        return h % 2 if h > 1 else 0, w % 2 if w > 1 else 0

    @property
    def computed(self) -> tuple[int, int]:
        """The height and width of the outputs that a 3×3 convolution of stride 1 computes."""
        around = 2 * self.padding - 2
        h, w = (side + around - n for side, n in zip(self.x.shape[1:3], self.dropped, strict=True))
        return h, w


def conv2d(
    x: Array, kernel: Array, bias: Array | None, stride: int, padding: int, platform: str
) -> Array:
    """Convolves x [B, H, W, C_in] with a kernel [k, k, C_in, C_out] and adds a bias [C_out].

    `padding` is in pixels on every side. Returns [B, H', W', C_out].
    """
    return _add(_convolve(Convolution(x, kernel, stride, padding), platform), bias)


def conv2d_max_pool(
    x: Array,
    kernel: Array,
    bias: Array | None,
    stride: int,
    padding: int,
    platform: str,
    before_pool: Callable[[Array], Array] | None = None,
) -> Array:
    """Returns `max_pool(before_pool(conv2d(…)), 2)`, [B, H'/2, W'/2, C_out].

    `before_pool`, such as BatchNorm, gets all outputs as [..., C_out], in an order that the
    platform chooses. Without it, a last row or column that the pool drops need not be computed.
    """
    call = Convolution(x, kernel, stride, padding, pooled=before_pool is None)
    before_pool = before_pool or (lambda y: y)
    if platform == "cpu" and _suits_windows(call):  # its windows are those of the pool
        return safe_max(before_pool(_add(conv_windows(x, kernel, padding), bias)), (3,))
    return max_pool(before_pool(_add(_convolve(call, platform), bias)), 2)


def _convolve(call: Convolution, platform: str) -> Array:
    """Runs the platform's first implementation whose condition holds."""
    for condition, implementation in IMPLEMENTATIONS.get(platform, ()):
        if condition(call):
            return implementation(call)
    return lax_conv(*call[:4])


def _add(y: Array, bias: Array | None) -> Array:
    return y if bias is None else y + bias


def lax_conv(
    x: Array, kernel: Array, stride: int, padding: int, drop: tuple[int, int] = (0, 0)
) -> Array:
    """Convolves with XLA's own convolution and skips the last `drop` output rows and columns."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding - n) for n in drop],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_ungrouped(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    """Computes `lax_conv`; under `vmap`, it computes one convolution after another.

    `vmap` turns a plain `lax_conv` into a grouped convolution, which is slow in cuDNN if the groups
    have few channels.
    """
    return _unrolled_by_vmap(lambda x, kernel: lax_conv(x, kernel, stride, padding))(x, kernel)


def _conv_ungrouped_forward(x, kernel, stride, padding):
    return conv_ungrouped(x, kernel, stride, padding), (x, kernel)


def _conv_ungrouped_backward(stride, padding, saved, gradient):
    def backward(x, kernel, gradient):
        plain = functools.partial(lax_conv, stride=stride, padding=padding)
        return jax.vjp(plain, x, kernel)[1](gradient)

    return _unrolled_by_vmap(backward)(*saved, gradient)


conv_ungrouped.defvjp(_conv_ungrouped_forward, _conv_ungrouped_backward)


def _unrolled_by_vmap(function):
    """Returns a version of `function` that `vmap` calls once per index of the first axis."""
    function = jax.custom_batching.custom_vmap(function)

    @function.def_vmap
    def _(size, batched, *arrays):
        outputs = [
            function(*(a[i] if has else a for a, has in zip(arrays, batched, strict=True)))
            for i in range(size)
        ]
        stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *outputs)
        return stacked, jax.tree.map(lambda _: True, stacked)

    return function


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv_fenced(
    x: Array, kernel: Array, stride: int, padding: int, drop: tuple[int, int] = (0, 0)
) -> Array:
    """Computes `lax_conv`; XLA:CPU runs its backward pass faster (`_conv_fenced_backward`)."""
    return lax_conv(x, kernel, stride, padding, drop)


def _conv_fenced_forward(x, kernel, stride, padding, drop):
    return lax_conv(x, kernel, stride, padding, drop), (x, kernel)


def _conv_fenced_backward(stride, padding, drop, saved, gradient):
    # For the kernel's gradient, XLA:CPU transposes x and fuses all elementwise operations that made
    # x into this strided loop. A product with the identity is the cheapest fence against the fusion
    # (XLA removes an optimization_barrier), and saves 13 to 20 % of a ResNet-20 step.
    x, kernel = saved
    x = x @ jnp.eye(x.shape[-1], dtype=x.dtype)
    plain = functools.partial(lax_conv, stride=stride, padding=padding, drop=drop)
    return jax.vjp(plain, x, kernel)[1](gradient)


conv_fenced.defvjp(_conv_fenced_forward, _conv_fenced_backward)


def conv_matrix(x: Array, kernel: Array, padding: int) -> Array:
    """Convolves with stride 1 as one product of x [B, H·W·C_in] and a matrix of kernel blocks.

    This is for a map smaller than the kernel, where most of a convolution is padding. XLA:CPU
    would slide the map over the kernel, which takes 14 times as long for 3×3 on 2×2 pixels.
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


def conv_windows(x: Array, kernel: Array, padding: int) -> Array:
    """Convolves with stride 1 and returns 2×2 windows of outputs, [B, H'/2, W'/2, 4, C_out].

    This is space-to-depth: each window is one output of a convolution with 4 times the channels in
    and out, which XLA:CPU runs twice as fast for 3 or 8 channels. k must be odd, and
    H + 2·padding and W + 2·padding even.
    """
    k, _, c_in, c_out = kernel.shape
    n = (k + 1) // 2  # 2×2 blocks of inputs per side that a window of outputs sees
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    b, h, w, _ = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c_in).transpose(0, 1, 3, 2, 4, 5)
    shifts = [(i, j) for i in (0, 1) for j in (0, 1)]
    wide = jnp.stack(
        [jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i, j in shifts], 3
    )
    wide = wide.reshape(n, 2, n, 2, c_in, 4 * c_out).transpose(0, 2, 1, 3, 4, 5)
    x = x.reshape(b, h // 2, w // 2, 4 * c_in)
    y = lax_conv(x, wide.reshape(n, n, 4 * c_in, 4 * c_out), 1, 0)
    return y.reshape(*y.shape[:3], 4, c_out)


def windows_to_map(y: Array) -> Array:
    """Joins 2×2 windows [B, H/2, W/2, 4, C] into a map [B, H, W, C]."""
    b, h, w, _, c = y.shape
    return y.reshape(b, h, w, 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c)


def _suits_windows(call: Convolution) -> bool:
    """Returns whether `conv_windows` can compute the call and, for its few channels, is fastest."""
    possible = call.stride == 1 and len(call.kernel) % 2 == 1 and call.x.shape[1] % 2 == 0
    return possible and max(call.channels) <= 16


# Conditions and implementations by platform. Of all implementations that were measured
# (benchmarks/README.md), the first whose condition holds was the fastest. A platform that is not
# listed uses `lax_conv`.
IMPLEMENTATIONS: dict[
    str, list[tuple[Callable[[Convolution], bool], Callable[[Convolution], Array]]]
] = {
    "gpu": [(lambda c: True, lambda c: conv_ungrouped(*c[:4]))],
    "cpu": [
        (
            lambda c: _suits_windows(c) and c.channels[0] == 3,
            lambda c: windows_to_map(conv_windows(c.x, c.kernel, c.padding)),
        ),
        (
            lambda c: c.stride == 1 and max(c.x.shape[1:3]) < len(c.kernel),
            lambda c: conv_matrix(c.x, c.kernel, c.padding),
        ),
        (
            lambda c: c.is_float32_3x3 and winograd_is_faster(*c.computed, math.prod(c.channels)),
            lambda c: conv_winograd(c.x, c.kernel, c.padding, best_tile(*c.computed), c.dropped),
        ),
        (lambda c: True, lambda c: conv_fenced(*c[:4], c.dropped)),
    ],
}
