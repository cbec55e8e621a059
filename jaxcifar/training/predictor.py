"""The forward pass over all images of a split."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.stages import Compiled

from jaxcifar.system import devices

Array = jax.Array
Forward = Callable[[Any, Array], tuple[Array, dict[str, Array]]]


class Predictor:
    """Runs the forward pass over every image of a split exactly once, on any number of devices.

    A batch has up to `batch_size` images, rounded up to a multiple of the number of devices. The
    last batch is padded, and the results of the padding are dropped.
    """

    def __init__(self, forward: Forward, images: np.ndarray, batch_size: int, mesh: Mesh):
        self._largest, self.mesh = self._whole(batch_size, mesh), mesh
        self.set_images(images)
        self._scanned = devices.is_accelerated(mesh)

        def batch(variables: Any, images: Array, i: Array) -> Any:
            size = min(self._largest, len(images))
            x = lax.dynamic_slice_in_dim(images, i * size, size)
            x = lax.with_sharding_constraint(x, devices.batch_sharding(mesh))
            return forward(variables, x)

        def all_batches(variables: Any, images: Array) -> Any:
            numbers = jnp.arange(-(-len(images) // self._largest))
            each = lax.map(lambda i: batch(variables, images, i), numbers)
            return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), each)

        self._run = jax.jit(
            all_batches if self._scanned else batch, out_shardings=devices.replicated(mesh)
        )

    def set_images(self, images: np.ndarray) -> None:
        """Replaces the images; the program is compiled again only if their number changes."""
        self.num_images = len(images)
        batch_size = min(self._largest, self._whole(self.num_images, self.mesh))
        self.num_batches = -(-self.num_images // batch_size)
        padding = self.num_batches * batch_size - self.num_images
        if padding:
            zeros = np.zeros((padding, *images.shape[1:]), images.dtype)
            images = np.concatenate([images, zeros])
        self._images = devices.place(images, self.mesh)

    @staticmethod
    def _whole(count: int, mesh: Mesh) -> int:
        """Returns `count` rounded up to a multiple of the number of devices."""
        return -(-count // mesh.devices.size) * mesh.devices.size

    def program(self, variables: Any) -> Compiled:
        """Returns the compiled program of all batches, or of one batch on CPU.

        If the images are a ShapeDtypeStruct of whole batches, devices need not be attached.
        """
        number = () if self._scanned else (np.int32(0),)
        return self._run.lower(variables, self._images, *number).compile()

    def __call__(self, variables: Any) -> tuple[Array, dict[str, Array]]:
        """Returns the logits [N, num_classes] and the named intermediates [N, …]."""
        if self._scanned:
            out = self._run(variables, self._images)
        else:
            batches = range(self.num_batches)
            # Many queued programs with collectives would deadlock virtual CPU devices.
            outs = [
                jax.block_until_ready(self._run(variables, self._images, np.int32(i)))
                for i in batches
            ]
            out = jax.tree.map(lambda *parts: jnp.concatenate(parts), *outs)
        # every device has the full result
        return jax.tree.map(lambda a: a.addressable_data(0)[: self.num_images], out)
