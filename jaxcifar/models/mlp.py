"""A multi-layer perceptron on the pixels: the baseline without convolutions."""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcifar.config.fields import Hidden, Injected, NumClasses, Share
from jaxcifar.models import layers

Array = jax.Array


class PixelMLP(nn.Module):
    """Dense layers on the flattened image, with ReLU and dropout between them."""

    num_classes: NumClasses
    hidden: Annotated[
        Hidden, "units of the hidden layers, which have ReLU; () is a linear classifier"
    ]
    dropout: Annotated[Share, "dropout rate after each hidden layer"]
    dtype: Injected[Any] = jnp.float32
    platform: Injected[str] = ""

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
        """Images [B, H, W, 3] -> logits [B, num_classes] float32 and no intermediates."""
        x = x.reshape(x.shape[0], -1)
        head = layers.MLP(self.hidden, self.num_classes, self.dropout, self.dtype, name="head")
        return head(x, train=train).astype(jnp.float32), {}

    @nn.nowrap
    def flattened_channels(self, image_channels: int) -> int:
        """Returns the channels of the image, which is flattened."""
        return image_channels
