"""Devices and processes: a mesh with one axis, the batch, over all devices of all processes.

The batch is split over the axis and everything else is replicated; the compiler then makes
gradients and BatchNorm statistics global by itself. A single device is a mesh of size one. All
processes run the same program, and only process 0, the leader, writes files besides checkpoints.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxcifar.errors import UserError, as_user_error, first_line
from jaxcifar.system import output, rendezvous

HEARTBEAT_SECONDS = 30  # a process that is silent for longer counts as dead


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Joins the other processes of the run; call it before the first computation.

    Arguments that are None are taken from SLURM, Open MPI or Kubernetes.

    Raises:
      UserError: an argument is wrong or neither given nor found, or the others cannot be reached.
    """
    try:
        coordinator, processes, process = _detect(coordinator, processes, process)
        address = None if coordinator is None else rendezvous.parse_address(coordinator)
        if address and processes and process is not None and 0 <= process < processes:
            rendezvous.meet(address, processes, process)
        jax.distributed.initialize(
            coordinator, processes, process, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"--distributed: {first_line(error)}; expected a job of SLURM, Open MPI or Kubernetes,"
            " or --coordinator=HOST:PORT --processes=N --process=I with I from 0 to N − 1"
        ) from error


def _detect(
    coordinator: str | None, processes: int | None, process: int | None
) -> tuple[str | None, int | None, int | None]:
    """Returns the arguments of `join` after asking JAX for those that are None."""
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    given = coordinator, processes, process
    try:
        from jax._src.clusters import ClusterEnv

        seconds = round(rendezvous.JOIN_SECONDS)
        found = ClusterEnv.auto_detect_unset_distributed_params(*given, None, None, seconds)
    # in another version of JAX, where `initialize` asks and waits for the others by itself
    except (ImportError, AttributeError, TypeError):
        return given
    return found[:3]


def is_leader() -> bool:
    """Returns whether this is process 0, which writes files."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every process has reached this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def check_same(mine: Mapping[str, Any]) -> None:
    """Checks that a flat dictionary of JSON values is the same in all processes.

    All processes must call it, and all of them raise the same error.

    Raises:
      UserError: a value differs from that of process 0; the message names the key and both values.
    """
    if jax.process_count() == 1:
        return
    text = np.frombuffer(json.dumps(mine).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(text.size))
    texts = multihost_utils.process_allgather(np.pad(text, (0, int(sizes.max()) - text.size)))
    first, *others = (
        json.loads(text[:size].tobytes()) for text, size in zip(texts, sizes.ravel(), strict=True)
    )
    for process, other in enumerate(others, 1):
        keys = sorted(k for k in first.keys() | other.keys() if first.get(k) != other.get(k))
        if keys:
            values = (f"{k} {first.get(k)!r} and {other.get(k)!r}" for k in keys[:3])
            raise UserError(
                f"processes 0 and {process} differ: {'; '.join(values)}"
                f"{', …' if len(keys) > 3 else ''}; start all processes with the same command, code"
                " and data"
            )


def any_process(flag: bool) -> bool:
    """Returns whether the flag is set in any process; all processes must call it."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


@contextlib.contextmanager
def on_leader(context: contextlib.AbstractContextManager[Any]) -> Iterator[None]:
    """Enters the context in process 0 only; the others wait until it is entered."""
    with context if is_leader() else contextlib.nullcontext():
        barrier("on_leader")
        yield


@contextlib.contextmanager
def exit_alone_on_error() -> Iterator[None]:
    """Exits at once with status 2 on an error in multi-process training.

    A normal exit would wait minutes for the other processes, which may be gone or waiting too.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not jax.distributed.is_initialized():
            raise
        known = as_user_error(error)
        why = first_line(known or error)
        if not known:
            why = (
                "stopped, perhaps because another process has ended; start all processes again to"
                f" resume from the last saved step ({why[:200]})"
            )
        output.say(f"error: process {jax.process_index()}: {why}", sys.stderr)
        if is_leader():
            time.sleep(1)  # JAX aborts the others when the leader leaves; they report first
        os._exit(2)


def make_mesh(batch_size: int = 0) -> Mesh:
    """Returns the mesh of all devices. Training passes its batch size, which is checked.

    Raises:
      UserError: there is no device, or the number of devices does not divide `batch_size`.
    """
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:  # the second if a GPU's plugin is missing
        raise UserError(
            f"JAX finds no device for JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}"
            f" ({first_line(error)[:150]}); unset JAX_PLATFORMS, or install JAX for that device"
            ' (pip install -c constraints.txt -e ".[cuda12]")'
        ) from error
    if left := batch_size % len(devices):
        below, above = batch_size - left, batch_size - left + len(devices)
        nearest = above if above - batch_size <= left or not below else below
        raise UserError(
            f"config.batch_size is {batch_size}; expected a multiple of {len(devices)}, the"
            f" number of devices, such as {nearest}"
        )
    return jax.make_mesh((len(devices),), ("batch",), (AxisType.Auto,), devices=devices)


def check_memory(need: int, what: str) -> None:
    """Raises a UserError if this machine has less memory than `need` bytes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > memory:
        raise UserError(
            f"{what} would take {need / 2**30:,.0f} GiB, but this machine has"
            f" {memory / 2**30:,.0f} GiB; choose fewer or smaller layers"
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays whose first axis is the batch."""
    return NamedSharding(mesh, PartitionSpec("batch"))


def place(tree: Any, mesh: Mesh) -> Any:
    """Replicates a tree of arrays over the mesh; ShapeDtypeStructs only get the sharding."""
    sharding = replicated(mesh)

    def put(leaf: Any) -> Any:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        array = np.asarray(leaf)  # the same in every process
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree)


def platform(mesh: Mesh) -> str:
    """Returns "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def is_accelerated(mesh: Mesh) -> bool:
    """Returns whether the devices are not CPUs."""
    return platform(mesh) != "cpu"


def describe(mesh: Mesh) -> str:
    """Returns a description of the devices, such as "1 × cpu" or "1 × NVIDIA H200"."""
    processes = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{mesh.devices.size} × {mesh.devices.flat[0].device_kind}{processes}"
