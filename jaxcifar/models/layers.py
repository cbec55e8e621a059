"""The layers that the models share: convolution, dense, normalisation, pooling, dropout, MLP.

Feature maps are NHWC: [B, H, W, C]. Parameters are float32; `dtype` is the compute type.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcifar.config.fields import one_of
from jaxcifar.errors import UserError
from jaxcifar.ops.conv2d import (
    conv,
    conv_apart,
    conv_as_matrix,
    conv_by_windows,
    conv_fenced,
    from_windows,
)
from jaxcifar.ops.dropout import dropout
from jaxcifar.ops.winograd import best_tile, conv_winograd, is_faster

Array = jax.Array

# Uniform in ±1/√fan_in, PyTorch's default for weights and biases alike. It matters here: the
# reports' small nets are trained from it, and bias-free or wider initialisations start from
# another loss.
pytorch_weights = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def pytorch_bias(fan_in: int) -> Callable[..., Array]:
    """The same for a bias, whose shape does not tell its fan-in."""
    bound = 1 / math.sqrt(fan_in)
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -bound, bound
    )


class Conv(nn.Module):
    """2-D convolution with a square kernel, [B, H, W, C_in] -> [B, H', W', features].

    `padding` is in pixels on every side, as in PyTorch: a stride-2 3×3 convolution pads (1, 1),
    not SAME's (0, 1). `platform` "cpu" or "gpu" chooses what is faster there. With `pooled`, a
    2×2 max-pool follows: outputs may come by its windows, [B, H'/2, W'/2, 4, features], and a last
    row or column that the pool drops may be left out.
    """

    features: int
    kernel_size: int
    padding: int
    stride: int = 1
    use_bias: bool = True
    kernel_init: Callable[..., Array] = pytorch_weights
    dtype: Any = jnp.float32
    platform: str = ""
    pooled: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h, w = x.shape[1:3]
        if min(h, w) + 2 * self.padding < self.kernel_size:
            raise UserError(
                f"config.model does not fit the images: a convolution of kernel size"
                f" {self.kernel_size} and padding {self.padding} on a map of {h}×{w} pixels"
            )
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
        y = self._convolve(x.astype(self.dtype), kernel)
        if self.use_bias:
            init = pytorch_bias(math.prod(shape[:3]))
            y += self.param("bias", init, (self.features,)).astype(self.dtype)
        return y

    def _convolve(self, x: Array, kernel: Array) -> Array:
        if self.platform != "cpu":
            convolve = conv_apart if self.platform == "gpu" else conv
            return convolve(x, kernel, self.stride, self.padding)
        few = max(x.shape[-1], self.features) <= 16  # where windows were measured to be faster
        even = self.stride == 1 and self.kernel_size % 2 == 1 and x.shape[1] % 2 == 0
        if few and even and (self.pooled or x.shape[-1] == 3):
            y = conv_by_windows(x, kernel, self.padding)
            return y if self.pooled else from_windows(y)
        if self.stride == 1 and max(x.shape[1:3]) < self.kernel_size:
            return conv_as_matrix(x, kernel, self.padding)
        usual = self.stride == 1 and self.kernel_size == 3 and self.dtype == jnp.float32
        h, w = (side + 2 * self.padding - 2 for side in x.shape[1:3])
        drop = (h % 2, w % 2) if usual and self.pooled else (0, 0)
        h, w = h - drop[0], w - drop[1]
        if usual and is_faster(h, w, x.shape[-1] * self.features):
            return conv_winograd(x, kernel, self.padding, best_tile(h, w), drop)
        return conv_fenced(x, kernel, self.stride, self.padding, drop)


class Dense(nn.Module):
    """Affine map of the last axis, [..., C_in] -> [..., features], with PyTorch's init."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", pytorch_weights, (x.shape[-1], self.features))
        bias = self.param("bias", pytorch_bias(x.shape[-1]), (self.features,))
        return x.astype(self.dtype) @ kernel.astype(self.dtype) + bias.astype(self.dtype)


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
    "gelu": lambda: functools.partial(nn.gelu, approximate=False),
}
Activation = Annotated[str, one_of(ACTIVATIONS)]


def activation(name: str) -> Callable[[Array], Array]:
    """Returns the activation that a config names; a PReLU is a new module with its own slopes."""
    return ACTIVATIONS[name]()


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


def check_lengths(model: nn.Module, key: str, other: str) -> None:
    """Raises a UserError unless two fields of a model have as many values."""
    one, two = (len(getattr(model, name)) for name in (key, other))
    if one != two:
        raise UserError(
            f"config.model.{key} has {one} values and config.model.{other} {two}; expected as many"
        )
