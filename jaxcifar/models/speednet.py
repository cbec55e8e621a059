"""The small VGG of the CIFAR-10 speed records (Jordan, arXiv 2404.00498, airbench)."""

from collections.abc import Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcifar.config.fields import AboveZero, Depth, Injected, NumClasses, Share, Sizes
from jaxcifar.models import layers
from jaxcifar.ops.batch_norm import batch_norm
from jaxcifar.ops.pooling import safe_max

Array = jax.Array


def partial_identity(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Initialises the first C_in outputs as the identity, the others as PyTorch does."""
    middle, same = shape[0] // 2, min(shape[2:])
    rest = layers.pytorch_weights(key, shape, dtype)
    diagonal = jnp.arange(same)
    identity = jnp.zeros(shape, dtype).at[middle, middle, diagonal, diagonal].set(1)
    return jnp.where(jnp.arange(shape[3]) < same, identity, rest)


class SpeedNet(nn.Module):
    """Groups of 3×3 convolutions with BatchNorm, then a global max-pool and a Dense layer.

    A group has `depth` convolutions, and a 2×2 max-pool follows its first. BatchNorm has a bias and
    no scale; convolutions and Dense have no bias. With `residual`, the output of a group's first
    activation is added to the input of its last activation.
    """

    num_classes: NumClasses
    widths: Annotated[Sizes, "channels of each group of convolutions"]
    depth: Annotated[Depth, "convolutions in a group"]
    activation: Annotated[layers.Activation, "activation after each BatchNorm"]
    norm_momentum: Annotated[
        Share, "momentum of BatchNorm's running averages, the weight of the old average"
    ]
    norm_epsilon: Annotated[AboveZero, "added to BatchNorm's variance"]
    residual: Annotated[
        bool, "add a group's first activation to the input of its last activation"
    ] = False
    dtype: Injected[Any] = jnp.float32
    platform: Injected[str] = ""

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
        """Images [B, H, W, C] -> logits [B, num_classes] float32 and no intermediates."""
        for group, width in enumerate(self.widths):
            first = x
            for i in range(self.depth):
                name = f"group{group}_{{}}{i}"
                x = self._conv(width, name.format("conv"), pooled=i == 0)(x)
                x = self._norm(train, name.format("norm"))(x)
                if self.residual and 0 < i == self.depth - 1:
                    x += first
                x = layers.activation(self.activation)(x)
                first = x if i == 0 else first
        x = safe_max(layers.mark_last_map(self, x), (1, 2))
        head = self.param("head", nn.initializers.normal(1.0), (x.shape[-1], self.num_classes))
        return x.astype(jnp.float32) @ head, {}

    def _conv(self, features: int, name: str, pooled: bool) -> layers.Conv:
        return layers.Conv(
            features,
            3,
            1,
            use_bias=False,
            kernel_init=partial_identity,
            dtype=self.dtype,
            platform=self.platform,
            pooled=pooled,
            name=name,
        )

    def _norm(self, train: bool, name: str) -> nn.Module:
        return batch_norm(
            train,
            self.dtype,
            name,
            self.platform,
            momentum=self.norm_momentum,
            epsilon=self.norm_epsilon,
            use_scale=False,
        )
