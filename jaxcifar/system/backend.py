"""Configures JAX, XLA, memory and caches before a command's first computation.

The user's settings of XLA, memory and caches take precedence. The settings of JAX that would change
a run's numbers are fixed.
"""

import contextlib
import ctypes
import os
from pathlib import Path

from jaxcifar.errors import UserError
from jaxcifar.system import files

# XLA flag -> its value and the versions of jaxlib that have it; an unknown flag aborts the process.
# The first selects the older convolution kernel, which is 1.5 times faster for ResNet-20 on CPU.
# The second makes a command buffer from 2 consecutive GPU kernels instead of 5. Convolutions cannot
# be in a command buffer, and there are only 3 to 5 kernels between two of them.
FLAGS = {
    "--xla_cpu_experimental_ynn_fusion_type": ("-individual_convolution", ("0.10.", "0.11.")),
    "--xla_gpu_graph_min_graph_size": ("2", ("0.10.", "0.11.", "0.12.")),
}
# Arguments of glibc's mallopt: allocate nothing by mmap, return nothing to the system, use one
# heap (M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX in malloc.h).
KEEP_MEMORY = ((-4, 0), (-1, -1), (-8, 1))
# Settings of JAX that change the numbers of a run or the structure of its checkpoints. They take
# precedence over the environment: a run resumed under others would mix two random streams.
JAX_SETTINGS = {
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_disable_jit": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_softmax_custom_jvp": False,
    "jax_default_matmul_precision": None,
    "jax_numpy_rank_promotion": "allow",
}


def cache_folder() -> Path:
    """Returns the folder for data and compiled programs that would be slow to make again.

    Raises:
      UserError: the user has no home folder, as in some containers.
    """
    return files.expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "jaxcifar"


def flags() -> str:
    """Returns the user's XLA_FLAGS with those of FLAGS added that the user has not set."""
    import jaxlib

    words = [os.environ.get("XLA_FLAGS", "")]
    for flag, (value, versions) in FLAGS.items():
        if flag not in words[0] and jaxlib.__version__.startswith(versions):
            words.append(f"{flag}={value}")
    return " ".join(filter(None, words))


def configure(keep_memory: bool = True) -> None:
    """Configures XLA, malloc and the compilation cache; call it before the first computation.

    By default glibc returns the buffers of each step to the system and gets them back page by page.
    With `keep_memory` it keeps them, which makes ResNet-20 and the speed run 1.3 and 1.4 times
    faster on CPU. Commands that predict a few large batches should turn it off, because kept memory
    fragments: the speed run's net in six views takes 13 GB or more instead of 7.

    GLIBC_TUNABLES=glibc.malloc.tcache_count=0 avoids the fragmentation but must be set before the
    process starts. Without it, the remainder of an aligned XLA buffer stays in glibc's per-thread
    cache, and the next buffer no longer fits in its place (training the speed run takes 21 GB
    instead of 6).
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

    for name, setting in JAX_SETTINGS.items():
        if name in jax.config.values:  # not every version has all
            jax.config.update(name, setting)
    os.environ["XLA_FLAGS"] = flags()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        with contextlib.suppress(UserError):  # without a home folder, nothing is cached
            jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
