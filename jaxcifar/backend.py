"""What a command sets about XLA before its first computation, and where it keeps what was slow.

The user's own setting wins."""

import ctypes
import os
from pathlib import Path

YNN = "--xla_cpu_experimental_ynn_fusion_type"
YNN_VERSIONS = ("0.10.", "0.11.")  # of jaxlib: an unknown flag aborts the process
# glibc's mallopt: no memory by mmap, none given back, one heap (M_MMAP_MAX, M_TRIM_THRESHOLD,
# M_ARENA_MAX of malloc.h)
KEEP_MEMORY = ((-4, 0), (-1, -1), (-8, 1))


def cache_folder() -> Path:
    """Returns the folder of what was slow to read or to get."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "jaxcifar"


def configure(keep_memory: bool = True) -> None:
    """Sets what makes convolutions faster on CPU and keeps compiled programs between commands.

    glibc would give the buffers of a step back to the system, to get them again page by page:
    ResNet-20 and the speed run are 1.3 and 1.4 times faster on CPU where it keeps them. What only
    predicts a few large batches does without: kept, the pieces between buffers add up (the speed
    run's net in six views then takes 13 GB or more, not 7).

    XLA reads its flags at the first computation: call this before, at a command's start. The
    flag leaves convolutions to the older kernel, 1.5 times faster for ResNet-20.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    set_by_user = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if keep_memory and mallopt and not set_by_user:
        for parameter, value in KEEP_MEMORY:
            mallopt(parameter, value)

    import jax
    import jaxlib

    flags = os.environ.get("XLA_FLAGS", "")
    if YNN not in flags and jaxlib.__version__.startswith(YNN_VERSIONS):
        os.environ["XLA_FLAGS"] = f"{flags} {YNN}=-individual_convolution".strip()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
