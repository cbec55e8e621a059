"""What a command sets about XLA before its first computation, and where it keeps what was slow.

The user's own setting wins."""

import ctypes
import os
from pathlib import Path

# Flags of XLA, their values, and the versions of jaxlib that are known to have them: an unknown
# flag aborts the process. The first leaves convolutions to the older kernel, 1.5 times faster for
# ResNet-20 on CPU. By the second, two kernels of a GPU in a row make a command buffer, where XLA
# asks for five: between two convolutions, which stay outside, there are three to five.
FLAGS = {
    "--xla_cpu_experimental_ynn_fusion_type": ("-individual_convolution", ("0.10.", "0.11.")),
    "--xla_gpu_graph_min_graph_size": ("2", ("0.10.", "0.11.", "0.12.")),
}
# glibc's mallopt: no memory by mmap, none given back, one heap (M_MMAP_MAX, M_TRIM_THRESHOLD,
# M_ARENA_MAX of malloc.h)
KEEP_MEMORY = ((-4, 0), (-1, -1), (-8, 1))


def cache_folder() -> Path:
    """Returns the folder of what was slow to read or to get."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "jaxcifar"


def flags() -> str:
    """Returns XLA_FLAGS with ours, but for those that are set."""
    import jaxlib

    words = [os.environ.get("XLA_FLAGS", "")]
    for flag, (value, versions) in FLAGS.items():
        if flag not in words[0] and jaxlib.__version__.startswith(versions):
            words.append(f"{flag}={value}")
    return " ".join(filter(None, words))


def configure(keep_memory: bool = True) -> None:
    """Sets what makes convolutions faster on CPU and keeps compiled programs between commands.

    glibc would give the buffers of a step back to the system, to get them again page by page:
    ResNet-20 and the speed run are 1.3 and 1.4 times faster on CPU where it keeps them. What only
    predicts a few large batches does without: kept, the pieces between buffers add up (the speed
    run's net in six views then takes 13 GB or more, not 7). They do not where the user has set
    GLIBC_TUNABLES=glibc.malloc.tcache_count=0, which must be done before the process starts: what
    is left over by an aligned buffer of XLA's stays in glibc's cache of a thread, so that the next
    buffer no longer fits between its neighbours (training the speed run: 21 GB, not 6).

    XLA reads its flags at the first computation: call this before, at a command's start.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    tunables = [*os.environ.get("GLIBC_TUNABLES", "").split(":"), *os.environ]
    set_by_user = any(
        word.startswith(("MALLOC_", "glibc.malloc.")) and "tcache" not in word for word in tunables
    )
    if keep_memory and mallopt and not set_by_user:
        for parameter, value in KEEP_MEMORY:
            mallopt(parameter, value)

    import jax

    os.environ["XLA_FLAGS"] = flags()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
