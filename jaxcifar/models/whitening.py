"""Wrappers for any net: patch whitening before it, and a constant that scales its logits.

The speed runs of Page and Jordan (github.com/davidcpage/cifar10-fast, arXiv 2404.00498) begin with
a frozen convolution whose outputs are uncorrelated.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcifar.models import layers
from jaxcifar.ops.conv2d import lax_conv

Array = jax.Array


class Whitened(nn.Module):
    """Whitens the size×size patches of images, then applies an activation and a net.

    The net sees a map [B, H − size + 1, W − size + 1, 2·size²·C] instead of the images
    [B, H, W, C]. The whitening kernel is stored in `batch_stats` because it is not learned but
    measured from training images (`whitening_kernel`). Until it is measured, it is 0.
    """

    net: nn.Module
    size: int
    activation: str
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
        """Images [B, H, W, C] -> the net's logits and intermediates."""
        c_in = x.shape[-1]
        shape = (self.size, self.size, c_in, self.channels_out(c_in))
        kernel = self.variable("batch_stats", "whitening", jnp.zeros, shape).value
        x = lax_conv(x.astype(self.dtype), kernel.astype(self.dtype), 1, 0)
        return self.net(layers.activation(self.activation)(x), train=train)

    @nn.nowrap
    def channels_out(self, image_channels: int) -> int:
        """Returns the channels of the map that the net sees."""
        return 2 * self.size**2 * image_channels


class Scaled(nn.Module):
    """A net whose logits are multiplied by a constant."""

    net: nn.Module
    scale: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
        """Images [B, H, W, C] -> the net's scaled logits and its intermediates."""
        logits, intermediates = self.net(x, train=train)
        return self.scale * logits, intermediates


def whitening_kernel(images: Array, size: int, epsilon: float) -> Array:
    """Returns the whitening kernel [size, size, C, 2·size²·C] of float images [N, H, W, C].

    It holds the eigenvectors of the covariance of all size×size patches, divided by √(eigenvalue +
    epsilon), and then their negatives. As in the speed records, the mean is not subtracted from the
    patches.
    """
    c = images.shape[-1]
    h, w = (n - size + 1 for n in images.shape[1:3])
    shifts = [images[:, i : i + h, j : j + w] for i in range(size) for j in range(size)]
    patches = jnp.stack(shifts, 3).reshape(-1, size * size * c)
    eigenvalues, eigenvectors = jnp.linalg.eigh(patches.T @ patches / len(patches))
    filters = (eigenvectors / jnp.sqrt(eigenvalues + epsilon)).reshape(size, size, c, -1)
    return jnp.concatenate([filters, -filters], -1)
