"""SimpleCNN of report 003: two convolutions with max-pools, then an MLP."""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcifar.config.fields import Hidden, Injected, NumClasses, Sizes
from jaxcifar.models import layers
from jaxcifar.ops.batch_norm import batch_norm

Array = jax.Array


class SimpleCNN(nn.Module):
    """VALID convolutions with optional BatchNorm, activation and 2×2 max-pool, then an MLP."""

    num_classes: NumClasses
    widths: Annotated[Sizes, "channels of each convolution"]
    kernel_sizes: Annotated[Sizes, "side of each convolution's kernel, in pixels"]
    hidden: Annotated[Hidden, "units of the hidden Dense layers"]
    activation: Annotated[layers.Activation, "activation of the convolutions"]
    norm: Annotated[bool, "BatchNorm after each convolution"] = False
    dtype: Injected[Any] = jnp.float32
    platform: Injected[str] = ""

    def __post_init__(self) -> None:
        layers.check_same_length(self, "widths", "kernel_sizes")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
        """Images [B, H, W, 3] -> logits [B, num_classes] float32 and no intermediates."""
        for i, (width, size) in enumerate(zip(self.widths, self.kernel_sizes, strict=True)):
            conv = layers.Conv(
                width,
                size,
                0,
                dtype=self.dtype,
                platform=self.platform,
                pooled=True,
                name=f"conv{i}",
            )
            activate, name = layers.activation(self.activation), f"norm{i}"
            norm = batch_norm(train, self.dtype, name, self.platform) if self.norm else None
            if self.activation == "relu":
                x = activate(conv(x, norm))  # ReLU commutes with max-pool, whose output is smaller
            else:
                x = conv(x, functools.partial(_norm_and_activate, norm, activate))
        x = layers.mark_last_map(self, x).reshape(x.shape[0], -1)
        x = layers.MLP(self.hidden, self.num_classes, dtype=self.dtype, name="head")(x, train=train)
        return x.astype(jnp.float32), {}

    @nn.nowrap
    def flattened_channels(self, image_channels: int) -> int:
        """Returns the channels of the map that the head flattens."""
        return self.widths[-1]


def _norm_and_activate(
    norm: nn.Module | None, activate: Callable[[Array], Array], y: Array
) -> Array:
    return activate(y if norm is None else norm(y))
