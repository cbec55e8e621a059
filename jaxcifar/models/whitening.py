"""Patch whitening: a frozen first convolution whose outputs are uncorrelated, before any net.

Page's and Jordan's speed runs (github.com/davidcpage/cifar10-fast, arXiv 2404.00498) begin so.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcifar.models import layers
from jaxcifar.ops.conv2d import lax_conv

Array = jax.Array


class Whitened(nn.Module):
    """A net behind the whitening of size×size patches of its images and an activation.

    The kernel is measured from training images (`kernel`), not learned, and so is kept with
    `batch_stats`; until then it is 0. [B, H, W, C] -> [B, H − size + 1, …, 2·size²·C] -> net.
    """

    net: nn.Module
    size: int
    activation: str
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
        """Images [B, H, W, C] -> what the net makes of them whitened."""
        shape = (self.size, self.size, x.shape[-1], 2 * self.size**2 * x.shape[-1])
        kernel = self.variable("batch_stats", "whitening", jnp.zeros, shape).value
        x = lax_conv(x.astype(self.dtype), kernel.astype(self.dtype), 1, 0)
        return self.net(layers.activation(self.activation)(x), train=train)


class Scaled(nn.Module):
    """A net whose logits are multiplied by a constant."""

    net: nn.Module
    scale: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
        """What the net returns, its logits scaled."""
        logits, intermediates = self.net(x, train=train)
        return self.scale * logits, intermediates


def kernel(images: Array, size: int, epsilon: float) -> Array:
    """Returns the whitening kernel [size, size, C, 2·size²·C] of images [N, H, W, C], floats.

    The eigenvectors of the covariance of all size×size patches (about 0, not their mean, as the
    records have it) over √(eigenvalue + epsilon), then their negatives.
    """
    c = images.shape[-1]
    h, w = (n - size + 1 for n in images.shape[1:3])
    shifts = [images[:, i : i + h, j : j + w] for i in range(size) for j in range(size)]
    patches = jnp.stack(shifts, 3).reshape(-1, size * size * c)
    eigenvalues, eigenvectors = jnp.linalg.eigh(patches.T @ patches / len(patches))
    filters = (eigenvectors / jnp.sqrt(eigenvalues + epsilon)).reshape(size, size, c, -1)
    return jnp.concatenate([filters, -filters], -1)
