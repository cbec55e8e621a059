"""What one of several runs computes on: its cores, or its own GPU. Known without jax."""

import importlib.util
import os
import subprocess
from typing import NamedTuple

from jaxcifar.errors import UserError


class Slot(NamedTuple):
    """The cores of one run at a time, and a GPU where there are some."""

    cores: tuple[int, ...]
    gpu: str

    def __str__(self) -> str:
        return f"{len(self.cores)} core{'s' * (len(self.cores) > 1)}" if self.cores else "a GPU"


def share(wanted: int, cores: int, count: int) -> list[Slot]:
    """Returns the slots for `count` runs: `wanted` of them, or (0) as many as pay here.

    On CPU each has `cores` cores (0: all) and as many pay as there are cores for; else a GPU.

    Raises:
      UserError: more cores for a run than there are, or a number that is none.
    """
    there, found = _cores(), _gpus()
    if wanted < 0 or not 0 <= cores <= len(there):
        raise UserError(
            f"--jobs={wanted} --cores={cores}; expected --jobs of at least 0 (as many as pay) and"
            f" --cores of at least 0 (all) and at most {len(there)}, those of this machine"
        )
    cores = cores or len(there)
    number = max(1, min(wanted or len(found) or len(there) // cores, count))
    if found:
        return [Slot((), found[i % len(found)]) for i in range(number)]
    fit = len(there) // cores
    starts = [i % fit * cores for i in range(number)]
    return [Slot(tuple(there[start : start + cores]), "") for start in starts]


def take(slot: Slot) -> None:
    """Keeps this process to its slot; before jax is imported, which looks at both."""
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
        return [name for name in visible.split(",") if name]
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []
