"""Nets of adaptive blocks: K parallel convolutions, weighted by a gate that sees the input.

Reports 000 (`adaptive`), 001 (`adaptive_softmax`), 002 (`pooled_cnn`) and 004 (`adaptive_prelu`)
are four settings of `AdaptiveNet`. CondConv (arXiv 1904.04971) and dynamic convolution (arXiv
1912.03458) mix the kernels instead of the outputs. That would be another function here, because the
branches are nonlinear before the sum; only those of report 004 are linear.
"""

import math
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar.config.fields import (
    Constraint,
    Count,
    Depths,
    Hidden,
    Injected,
    NumClasses,
    Positive,
    Share,
    Sizes,
    one_of,
)
from jaxcifar.models import layers
from jaxcifar.ops import dropout, pooling
from jaxcifar.ops.batch_norm import batch_norm

Array = jax.Array
UpTo32 = Constraint(lambda n: n <= 32, "at most 32")


class AdaptiveBlock(nn.Module):
    """Sums K branches weighted by a gate, y = Σ_k a_k(x) · branch_k(x).

    The weights are a = gate(mean of x over H and W).

    Fields:
      features, branches: C and K.
      kernel_size, padding: of each branch's convolution, which has a bias.
      gate: "linear" (the output of a Dense layer), "softmax" (over K) or "none" (all ones).
      gate_per_channel: gives each branch one weight per channel, a in [B, K, C], instead of a
        single weight, a in [B, K].
      branch_norm, branch_activation, branch_dropout, branch_pool: the BatchNorm, activation,
        dropout and max-pool that follow a branch's convolution, in this order.
      norm, activation: the BatchNorm and the activation that follow the sum.
      residual: adds the input to the sum, before the activation, if both have the same shape.
    """

    features: int
    branches: int
    kernel_size: int
    padding: int
    gate: str
    gate_per_channel: bool
    branch_norm: bool
    branch_activation: str
    branch_dropout: float
    branch_pool: int
    norm: bool
    activation: str
    residual: bool
    dtype: Any = jnp.float32
    platform: str = ""

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, Array]:
        """[B, H, W, C_in] -> y [B, H', W', C] and the gate a, [B, K] or [B, K, C], float32."""
        K, C = self.branches, self.features
        a = self._gate(x)
        # One convolution with K·C outputs, K major, computes all branches.
        y = layers.Conv(
            K * C,
            self.kernel_size,
            self.padding,
            dtype=self.dtype,
            platform=self.platform,
            name="conv",
        )(x)
        if self.branch_norm:
            y = batch_norm(train, self.dtype, "branch_norm", self.platform)(y)
        # An activation that is monotone and maps 0 to 0, such as ReLU, commutes with dropout and
        # max-pool. Applied last, it sees a quarter of the values and the pool has no ties at 0.
        commutes = self.branch_activation in ("relu", "none")
        activate = layers.activation(self.branch_activation)
        y = y if commutes else activate(y)
        if train and self.branch_dropout:
            y = dropout.dropout(y, self.branch_dropout, self.make_rng("dropout"))
        y = pooling.max_pool(y, self.branch_pool)
        y = activate(y) if commutes else y
        y = y.reshape(*y.shape[:3], K, C)
        weights = a.reshape(-1, 1, 1, K, C if self.gate_per_channel else 1)
        y = (y * weights.astype(y.dtype)).sum(3)
        if self.norm:
            y = batch_norm(train, self.dtype, "norm", self.platform)(y)
        if self.residual and x.shape == y.shape:
            y += x.astype(y.dtype)
        return layers.activation(self.activation)(y), a

    def _gate(self, x: Array) -> Array:
        shape = (self.branches, self.features) if self.gate_per_channel else (self.branches,)
        if self.gate == "none":
            return jnp.ones((x.shape[0], *shape))
        means = x.mean((1, 2), dtype=jnp.float32)
        a = layers.Dense(math.prod(shape), name="gate")(means)
        a = a.reshape(-1, *shape)
        return jax.nn.softmax(a, axis=1) if self.gate == "softmax" else a


def branch_means(gate: np.ndarray) -> np.ndarray:
    """Returns one gate per branch, [N, K]; gates per channel, [N, K, C], are averaged over C."""
    return gate.reshape(*gate.shape[:2], -1).mean(2)


class AdaptiveNet(nn.Module):
    """Segments of adaptive blocks, then a mean over H and W or flattening, then an MLP."""

    num_classes: NumClasses
    widths: Annotated[Sizes, "channels of the blocks in each segment"]
    num_blocks: Annotated[Depths, "blocks in each segment"]
    branches: Annotated[Positive, "parallel convolutions in a block, K"]
    kernel_size: Annotated[Positive, "side of the convolutions' kernels, in pixels"]
    padding: Annotated[Count, UpTo32, "zero padding of the convolutions, in pixels"]
    gate: Annotated[
        str,
        one_of(("linear", "softmax", "none")),
        "source of the branches' weights: a Dense layer, its softmax over K, or none (all ones)",
    ]
    head_input: Annotated[
        str,
        one_of(("mean", "flatten")),
        "the input of the head: the mean over H and W, or all values",
    ]
    segment_pool: Annotated[bool, "2×2 max-pool between segments"] = False
    gate_per_channel: Annotated[
        bool, "one gate per branch and channel instead of one per branch"
    ] = False
    branch_norm: Annotated[bool, "BatchNorm in each branch"] = False
    branch_activation: Annotated[layers.Activation, "activation in each branch"] = "none"
    branch_dropout: Annotated[Share, "dropout rate in each branch"] = 0.0
    branch_pool: Annotated[Positive, "side of the max-pool in each branch; 1 turns it off"] = 1
    norm: Annotated[bool, "BatchNorm after the sum of the branches"] = False
    activation: Annotated[layers.Activation, "activation after the sum of the branches"] = "none"
    residual: Annotated[bool, "add a block's input to its output where the shapes agree"] = False
    head_hidden: Annotated[Hidden, "units of the head's hidden layers, which have ReLU"] = ()
    head_dropout: Annotated[Share, "dropout rate in the head"] = 0.0
    dtype: Injected[Any] = jnp.float32
    platform: Injected[str] = ""

    def __post_init__(self) -> None:
        layers.check_same_length(self, "widths", "num_blocks")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
        """Images [B, H, W, 3] -> logits [B, num_classes] float32 and the gates by block."""
        gates: dict[str, Array] = {}
        for segment, (width, blocks) in enumerate(zip(self.widths, self.num_blocks, strict=True)):
            if segment and self.segment_pool:
                x = pooling.max_pool(x, 2)
            for _ in range(blocks):
                name = f"block{len(gates)}"
                x, gates[name] = self._block(width, name)(x, train=train)
        x = layers.mark_last_map(self, x)
        x = x.mean((1, 2)) if self.head_input == "mean" else x.reshape(x.shape[0], -1)
        head = layers.MLP(
            self.head_hidden, self.num_classes, self.head_dropout, self.dtype, name="head"
        )
        return head(x, train=train).astype(jnp.float32), gates

    @nn.nowrap
    def flattened_channels(self, image_channels: int) -> int:
        """Returns the number of channels that the head flattens, or 0 if it takes a mean."""
        return self.widths[-1] if self.head_input == "flatten" else 0

    def _block(self, features: int, name: str) -> AdaptiveBlock:
        shared = {
            field: getattr(self, field)
            for field in AdaptiveBlock.__dataclass_fields__
            if field not in ("features", "parent", "name")
        }
        return AdaptiveBlock(features=features, name=name, **shared)
