"""Settings that a command makes before its first computation."""

import os
import platform
import subprocess
import sys

import pytest
from conftest import ROOT

from jaxcifar import data
from jaxcifar.errors import UserError
from jaxcifar.system import backend

FAULTS = """
import resource
import numpy as np
from jaxcifar.system import backend
backend.configure()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
@pytest.mark.parametrize(
    ("user", "keep", "kept"),
    [
        ({}, True, True),
        ({"MALLOC_ARENA_MAX": "4"}, True, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.mmap_max=9:glibc.malloc.tcache_count=0"}, True, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}, True, True),
        ({}, False, False),
    ],
)
def test_freed_memory_is_kept_unless_that_is_turned_off(user, keep, kept):
    """If memory is kept, a new array of 128 MB reuses the pages of the one before."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    environment |= {"NUMPY_MADVISE_HUGEPAGE": "0"} | user
    code = FAULTS.replace("configure()", f"configure(keep_memory={keep})")
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    faults = int(out.stdout)
    assert (faults < 300) == kept, faults


DRAW = """
from jaxcifar.system import backend
backend.configure()
import jax
import jax.numpy as jnp
key = jax.random.fold_in(jax.random.key(3), 4)
x = jax.random.normal(key, (5,)) * jnp.arange(5)
y = jax.random.gumbel(key, (2, 5)) + x  # of another rank
z = jax.grad(lambda v: jax.nn.softmax(v)[0, 0])(y)
print(x.dtype, *(a.tolist() for a in (x, y, z)))
"""


@pytest.mark.parametrize(
    "setting",
    [
        {"JAX_ENABLE_X64": "1"},
        {"JAX_NUMPY_DTYPE_PROMOTION": "strict"},
        {"JAX_DEFAULT_PRNG_IMPL": "rbg"},
        {"JAX_THREEFRY_PARTITIONABLE": "0"},
        {"JAX_DISABLE_JIT": "1"},
        {"JAX_RANDOM_SEED_OFFSET": "7"},
        {"JAX_HIGH_DYNAMIC_RANGE_GUMBEL": "1", "JAX_SOFTMAX_CUSTOM_JVP": "1"},
        {"JAX_NUMPY_RANK_PROMOTION": "raise"},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_the_environment_changes_no_number_of_a_run(setting):
    environment = {k: v for k, v in os.environ.items() if k not in setting}
    command = [sys.executable, "-c", DRAW]
    own, other = (
        subprocess.run(command, cwd=ROOT, env=environment | more, capture_output=True, check=True)
        for more in ({}, setting)
    )
    assert own.stdout == other.stdout


def test_a_user_without_a_home_folder_works_without_a_cache(monkeypatch):
    """A container may run as a user id that has no name, with HOME unset."""
    for name in ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    backend.configure(keep_memory=False)
    for path in (backend.cache_folder, lambda: data.load_dataset("npz", "~/own.npz")):
        with pytest.raises(UserError, match=r"the home folder in ~/\S+ is unknown: set HOME or XD"):
            path()
