"""Where arrays live: one mesh axis over all devices, of all processes, for the batch.

The batch is split over the axis and everything else is on every device; the compiler then makes
gradients and BatchNorm statistics global by itself. One device is a mesh of one. Of several
processes each runs the same program, and process 0 alone writes what is not a checkpoint.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxcifar.errors import UserError, first_line
from jaxcifar.system import output

HEARTBEAT_SECONDS = 30  # after which a process that is not heard of is taken for dead


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Joins the other processes of the run; before anything is computed.

    What is None is what SLURM, Open MPI or Kubernetes says.

    Raises:
      UserError: none of these does, or the others are not there.
    """
    try:
        jax.distributed.initialize(
            coordinator, processes, process, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"--distributed: {first_line(error)}; expected a job of SLURM, Open MPI or Kubernetes,"
            " or --coordinator=HOST:PORT --processes=N --process=I with I from 0 to N − 1"
        ) from error


def is_leader() -> bool:
    """Whether this is process 0, which writes."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process; all must ask."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


@contextlib.contextmanager
def on_leader(context: contextlib.AbstractContextManager[Any]) -> Iterator[None]:
    """Enters the context in process 0 alone; the others wait until it has."""
    with context if is_leader() else contextlib.nullcontext():
        barrier("led")
        yield


@contextlib.contextmanager
def exit_alone_on_error() -> Iterator[None]:
    """Ends this process of several at once on an error: the others may be gone, or wait for it.

    Leaving as usual would wait for them, for minutes.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if jax.process_count() == 1:
            raise
        why = first_line(error)
        if not isinstance(error, UserError):
            why = (
                f"stopped, perhaps because another process has ended; start all of them again to go"
                f" on from the last saved step ({why[:200]})"
            )
        output.say(f"error: process {jax.process_index()}: {why}", sys.stderr)
        os._exit(2)


def make_mesh(batch_size: int) -> Mesh:
    """Returns the mesh of all devices, whose number must divide the batch size."""
    devices = jax.devices()
    if left := batch_size % len(devices):
        below, above = batch_size - left, batch_size - left + len(devices)
        nearest = above if above - batch_size <= left or not below else below
        raise UserError(
            f"config.batch_size is {batch_size}; expected a multiple of the {len(devices)}"
            f" devices, of which {nearest} is the nearest"
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
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        here = np.asarray(leaf)  # the same in every process
        return jax.make_array_from_callback(here.shape, sharding, lambda index: here[index])

    return jax.tree.map(put, tree)


def platform(mesh: Mesh) -> str:
    """Returns "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def is_accelerated(mesh: Mesh) -> bool:
    """True unless the devices are CPUs."""
    return platform(mesh) != "cpu"


def describe(mesh: Mesh) -> str:
    """Returns the devices in words: "1 × cpu", "1 × NVIDIA H200"."""
    of = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{mesh.devices.size} × {mesh.devices.flat[0].device_kind}{of}"
