"""Layers that the models share: convolution, dense, activations, MLP.

Feature maps are [B, H, W, C]. Parameters are float32; `dtype` is the compute type.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcifar.config.fields import one_of
from jaxcifar.errors import UserError
from jaxcifar.ops.conv2d import conv2d, conv2d_max_pool
from jaxcifar.ops.dropout import dropout

Array = jax.Array

# Uniform in ±1/√fan_in, PyTorch's default for weights and biases, which the reports used for their
# small nets. Without biases, or with larger weights, the initial loss would differ from theirs.
pytorch_weights = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def pytorch_bias(fan_in: int) -> Callable[..., Array]:
    """Returns PyTorch's default initialiser of a bias; the bias's shape does not give `fan_in`."""
    bound = 1 / math.sqrt(fan_in)
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -bound, bound
    )


class Conv(nn.Module):
    """2-D convolution with a square kernel, [B, H, W, C_in] -> [B, H', W', features].

    `padding` is in pixels on every side, as in PyTorch: a stride-2 3×3 convolution pads (1, 1),
    not (0, 1) as SAME does. With `pooled`, a 2×2 max-pool follows and the output is
    [B, H'/2, W'/2, features]. `platform`, "cpu" or "gpu", selects the fastest implementation.
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
    def __call__(self, x: Array, before_pool: Callable[[Array], Array] | None = None) -> Array:
        """Convolves and, if `pooled`, applies `before_pool`, such as BatchNorm, and pools.

        Raises:
          UserError: the kernel is larger than the padded map, or the pool than its input.
        """
        h, w = x.shape[1:3]
        if min(h, w) + 2 * self.padding < self.kernel_size:
            raise UserError(
                f"config.model does not fit the images: it applies a convolution of kernel size"
                f" {self.kernel_size} and padding {self.padding} to a map of {h}×{w} pixels; use a"
                " smaller kernel, more padding or fewer pools before it"
            )
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
        bias = None
        if self.use_bias:
            init = pytorch_bias(math.prod(shape[:3]))
            bias = self.param("bias", init, (self.features,)).astype(self.dtype)
        inputs = (x.astype(self.dtype), kernel, bias, self.stride, self.padding, self.platform)
        return conv2d_max_pool(*inputs, before_pool) if self.pooled else conv2d(*inputs)


class Dense(nn.Module):
    """Affine map of the last axis, [..., C_in] -> [..., features], initialised as in PyTorch."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", pytorch_weights, (x.shape[-1], self.features))
        bias = self.param("bias", pytorch_bias(x.shape[-1]), (self.features,))
        return x.astype(self.dtype) @ kernel.astype(self.dtype) + bias.astype(self.dtype)


class PReLU(nn.Module):
    """Computes max(x, 0) + slope · min(x, 0), with a slope per channel (arXiv 1502.01852).

    Each slope is initially 0.25.
    """

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
    """Returns an activation by its name in the config; each PReLU has slopes of its own."""
    return ACTIVATIONS[name]()


class MLP(nn.Module):
    """Dense layers with ReLU and dropout between them, [B, C] -> [B, num_classes]."""

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


def mark_last_map(module: nn.Module, x: Array) -> Array:
    """Marks and returns the map [B, H, W, C] that a net's head sees, for `weights/explain.py`.

    Marking costs nothing unless `explain.py` asks for the map or its gradient.
    """
    if module.is_initializing():
        return x  # the map is not a variable of the net
    module.sow("intermediates", "last_map", x)
    return cast(Array, module.perturb("last_map", x))


def check_same_length(model: nn.Module, key: str, other: str) -> None:
    """Raises a UserError unless two fields of a model have the same number of values."""
    one, two = (len(getattr(model, name)) for name in (key, other))
    if one != two:
        raise UserError(
            f"config.model.{key} has {one} values, but config.model.{other} has {two};"
            " expected the same number"
        )
