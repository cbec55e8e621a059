"""Divides the machine among parallel runs, so that each has its own cores or GPU.

This module does not need jax.
"""

import importlib.util
import itertools
import os
import subprocess
from typing import NamedTuple

from jaxcifar.errors import UserError


class Slot(NamedTuple):
    """The cores or the GPU of one run; an empty field leaves the process unrestricted."""

    cores: tuple[int, ...]
    gpu: str

    def __str__(self) -> str:
        return f"{len(self.cores)} core{'s' * (len(self.cores) > 1)}" if self.cores else "a GPU"


def divide_machine(parallel_jobs: int, cores: int, count: int) -> list[Slot]:
    """Returns the slots of `parallel_jobs` runs, at most `count` of them.

    If `parallel_jobs` is 0, there is one per GPU or, on a machine without a GPU, one per `cores`
    cores, where 0 means all cores. If there are more jobs than that, they share GPUs or cores.

    Raises:
      UserError: a number is negative, or there are fewer cores than `cores`.
    """
    available = _cores()
    if parallel_jobs < 0 or not 0 <= cores <= len(available):
        raise UserError(
            f"--jobs={parallel_jobs} --cores={cores}; expected --jobs of at least 0 (0 = as many as"
            f" the machine can use) and --cores from 0 (all) to {len(available)}, the cores of this"
            " machine"
        )
    size = cores or len(available)
    starts = range(0, len(available) - size + 1, size)
    slots = [Slot((), gpu) for gpu in _gpus()] or [
        Slot(tuple(available[start : start + size]), "") for start in starts
    ]
    number = max(1, min(parallel_jobs or len(slots), count))
    return [slots[i % len(slots)] for i in range(number)]


def pin_process(slot: Slot) -> None:
    """Pins this process to a slot. Call it before importing jax, which reads both settings."""
    if slot.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, slot.cores)
    if slot.gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.gpu


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _gpus() -> list[str]:
    """Returns the GPUs that jax would use, as CUDA_VISIBLE_DEVICES names them."""
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu") or not any(
        importlib.util.find_spec(name) for name in plugins
    ):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # as CUDA does, which ends the list at the first name that is no GPU, such as -1
        return list(itertools.takewhile(lambda n: n and not n.startswith("-"), visible.split(",")))
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
        return found.stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []
