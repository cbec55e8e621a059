"""The layers that the models share: convolution, dense, normalisation, pooling, dropout, MLP.

Feature maps are NHWC: [B, H, W, C]. Parameters are float32; `dtype` is the compute type.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcifar.config import check_choice

Array = jax.Array


def fan_in_uniform(fan_in: int) -> Callable[..., Array]:
    """Uniform in ±1/√fan_in, PyTorch's default for weights and biases alike.

    It matters here: the reports' small nets are trained from it, and bias-free or wider
    initialisations start from another loss.
    """
    bound = 1 / math.sqrt(fan_in)
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -bound, bound
    )


def he_normal(fan_in: int) -> Callable[..., Array]:
    """Normal with standard deviation √(2/fan_in) (He et al., arXiv 1502.01852)."""
    std = math.sqrt(2 / fan_in)
    return lambda key, shape, dtype=jnp.float32: std * jax.random.normal(key, shape, dtype)


def conv(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    """Convolves x [B, H, W, C_in] with a kernel [k, k, C_in, C_out], `padding` pixels around."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_fenced(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    """`conv`, with a backward pass that XLA:CPU runs faster (see `_conv_fenced_backward`)."""
    return conv(x, kernel, stride, padding)


def _conv_fenced_forward(x, kernel, stride, padding):
    return conv(x, kernel, stride, padding), (x, kernel)


def _conv_fenced_backward(stride, padding, saved, gradient):
    # XLA:CPU transposes x for the kernel's gradient and fuses into that strided loop the whole
    # elementwise chain that made x. A product with the identity is the cheapest fence that it
    # respects (it drops optimization_barrier): 13 to 20 % of a ResNet-20 step.
    x, kernel = saved
    x = x @ jnp.eye(x.shape[-1], dtype=x.dtype)
    return jax.vjp(lambda x, kernel: conv(x, kernel, stride, padding), x, kernel)[1](gradient)


conv_fenced.defvjp(_conv_fenced_forward, _conv_fenced_backward)


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


class Conv(nn.Module):
    """2-D convolution with a square kernel, [B, H, W, C_in] -> [B, H', W', features].

    `padding` is in pixels on every side, as in PyTorch: a stride-2 3×3 convolution pads (1, 1),
    not SAME's (0, 1). `platform` "cpu" or "gpu" chooses what is faster there. With
    `pooled`, a 2×2 max-pool follows, and the outputs may come by its windows:
    [B, H'/2, W'/2, 4, features].
    """

    features: int
    kernel_size: int
    padding: int
    stride: int = 1
    use_bias: bool = True
    kernel_init: Callable[[int], Callable[..., Array]] = fan_in_uniform
    dtype: Any = jnp.float32
    platform: str = ""
    pooled: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        fan_in = self.kernel_size**2 * x.shape[-1]
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init(fan_in), shape).astype(self.dtype)
        y = self._convolve(x.astype(self.dtype), kernel)
        if self.use_bias:
            y += self.param("bias", fan_in_uniform(fan_in), (self.features,)).astype(self.dtype)
        return y

    def _convolve(self, x: Array, kernel: Array) -> Array:
        few = max(x.shape[-1], self.features) <= 16  # where windows were measured to be faster
        fits = self.stride == 1 and self.kernel_size % 2 == 1 and x.shape[1] % 2 == 0
        if self.platform == "cpu" and few and fits and (self.pooled or x.shape[-1] == 3):
            y = conv_by_windows(x, kernel, self.padding)
            return y if self.pooled else from_windows(y)
        if self.platform == "cpu":
            return conv_fenced(x, kernel, self.stride, self.padding)
        if self.platform == "gpu" and self.dtype == jnp.bfloat16 and x.shape[-1] == 3:
            # XLA pads channels to what tensor cores take in float16 only; gain not yet measured
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)))
            kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0)))
        return conv(x, kernel, self.stride, self.padding)


class Dense(nn.Module):
    """Affine map of the last axis, [..., C_in] -> [..., features], with PyTorch's init."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        init = fan_in_uniform(x.shape[-1])
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        bias = self.param("bias", init, (self.features,))
        return x.astype(self.dtype) @ kernel.astype(self.dtype) + bias.astype(self.dtype)


def batch_norm(train: bool, dtype: Any, name: str) -> nn.BatchNorm:
    """BatchNorm over all axes but the last, with PyTorch's momentum and epsilon."""
    return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=dtype, name=name)


class PReLU(nn.Module):
    """max(x, 0) + slope · min(x, 0), one slope per channel, from 0.25 (arXiv 1502.01852)."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],))
        return jnp.where(x >= 0, x, slope.astype(x.dtype) * x)


ACTIVATIONS: dict[str, Callable[[], Callable[[Array], Array]]] = {
    "none": lambda: lambda x: x,
    "relu": lambda: nn.relu,
    "swish": lambda: nn.swish,
    "prelu": PReLU,
}


def activation(name: str) -> Callable[[Array], Array]:
    """Returns the activation that a config names; a PReLU is a new module with its own slopes."""
    check_choice("model.activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


def max_pool(x: Array, size: int) -> Array:
    """Max over size×size windows with stride `size`, [B, H, W, C] -> [B, H/size, W/size, C].

    A reshape and a maximum fuse with what stands around them and have a deterministic gradient;
    `reduce_window`'s select-and-scatter gradient has neither. Rows and columns left over by the
    division are dropped, as PyTorch does. Of 2×2 windows [B, H/2, W/2, 4, C] the maximum is left.
    """
    if x.ndim == 5:
        return x.max(3)
    if size == 1:
        return x
    b, h, w, c = x.shape
    x = x[:, : h // size * size, : w // size * size]
    return x.reshape(b, h // size, size, w // size, size, c).max((2, 4))


def dropout(x: Array, rate: float, key: Array) -> Array:
    """Zeroes each value with probability `rate` and scales the others by 1/(1 − rate)."""
    return jnp.where(keep_mask(key, x.shape, rate), x / (1 - rate), 0)


def keep_mask(key: Array, shape: tuple[int, ...], rate: float) -> Array:
    """Booleans, true with probability 1 − rate: a 32-bit hash of (index, key), for < 2³² values.

    Arithmetic on the index fuses into the loop that uses the mask, so that no bits are ever
    stored: 54 ms for `adaptive`'s widest map on CPU, where rbg's bits take 257 and threefry's 577.
    """
    a, b = jax.random.bits(key, (2,), jnp.uint32)
    x = lax.iota(jnp.uint32, math.prod(shape)).reshape(shape) * np.uint32(0x9E3779B9) + a
    x = (x ^ (x >> 16)) * np.uint32(0x21F0AAAD)  # two rounds of multiply and xor-shift
    x = (x ^ (x >> 15) ^ b) * np.uint32(0xD35A2D97)
    return (x ^ (x >> 15)) >= np.uint32(round(rate * 2**32))


class MLP(nn.Module):
    """Dense layers with ReLU (and dropout) between them, [B, C] -> [B, num_classes]."""

    hidden: Sequence[int]
    num_classes: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        for i, features in enumerate(self.hidden):
            x = nn.relu(Dense(features, self.dtype, name=f"dense{i}")(x))
            if train and self.dropout:
                x = dropout(x, self.dropout, self.make_rng("dropout"))
        return Dense(self.num_classes, self.dtype, name=f"dense{len(self.hidden)}")(x)
