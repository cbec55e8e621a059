"""Where arrays live: one mesh axis over the local devices, for the batch.

The batch is split over the axis and everything else is on every device; the compiler then makes
gradients and BatchNorm statistics global by itself. One device is a mesh of one.
"""

from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxcifar.errors import UserError


def make_mesh(batch_size: int) -> Mesh:
    """Returns the mesh of all local devices, whose number must divide the batch size."""
    devices = jax.local_devices()
    if batch_size % len(devices):
        raise UserError(
            f"config.batch_size is {batch_size}; expected a multiple of the {len(devices)} devices"
        )
    return jax.make_mesh((len(devices),), ("batch",), (AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The sharding of an array whose first axis is the batch."""
    return NamedSharding(mesh, PartitionSpec("batch"))


def place(tree: Any, mesh: Mesh) -> Any:
    """Puts a tree of arrays on every device of the mesh; of shapes, says that they are there."""
    sharding = replicated(mesh)

    def put(leaf: Any) -> Any:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
        return jax.device_put(leaf, sharding)

    return jax.tree.map(put, tree)


def platform(mesh: Mesh) -> str:
    """Returns "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def is_accelerated(mesh: Mesh) -> bool:
    """True unless the devices are CPUs."""
    return platform(mesh) != "cpu"


def describe(mesh: Mesh) -> str:
    """Returns the devices in words: "1 × cpu", "1 × NVIDIA H200"."""
    return f"{mesh.devices.size} × {mesh.devices.flat[0].device_kind}"
