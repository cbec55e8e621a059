"""Our BatchNorm for GPUs, against Flax's."""

import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

from jaxcifar.ops.batch_norm import FusedBatchNorm, batch_norm


def both_batch_norms(dtype, use_scale):
    keys = {"momentum": 0.7, "epsilon": 1e-3, "use_scale": use_scale}
    return [batch_norm(True, dtype, None, platform, **keys) for platform in ("gpu", "cpu")]


@pytest.mark.parametrize("use_scale", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 2e-5), (jnp.bfloat16, 2e-2)])
def test_values_gradients_and_averages_are_those_of_flax(dtype, tolerance, use_scale):
    ours, flaxs = both_batch_norms(dtype, use_scale)
    assert isinstance(ours, FusedBatchNorm)
    random = np.random.default_rng(0)
    x, weights = (1 + random.normal(size=(8, 5, 6, 7)).astype(np.float32) for _ in range(2))
    x, weights = x.astype(dtype), weights.astype(dtype)
    variables = flaxs.init(jax.random.key(0), x)
    chex.assert_trees_all_equal(variables, ours.init(jax.random.key(0), x))
    params = jax.tree.map(lambda a: a + random.normal(size=a.shape), variables["params"])

    def score(params, x, norm):
        y, updated = norm.apply(variables | {"params": params}, x, mutable=["batch_stats"])
        return (y * weights).astype(jnp.float32).sum(), (y, updated)

    one, other = (
        jax.jit(jax.grad(lambda p, x, norm=norm: score(p, x, norm), (0, 1), has_aux=True))(
            params, x
        )
        for norm in (ours, flaxs)
    )
    assert one[1][0].dtype == dtype
    chex.assert_trees_all_close(one, other, rtol=tolerance, atol=10 * tolerance)


def test_statistics_cover_all_devices():
    code = """
import chex, jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxcifar.ops.batch_norm import batch_norm
from jaxcifar.system import devices
norm = batch_norm(True, np.float32, None, "gpu")
x = np.random.default_rng(0).normal(size=(16, 4, 4, 3)).astype(np.float32)
variables = norm.init(jax.random.key(0), x)
mesh = devices.make_mesh(16)
assert mesh.size == 8
split = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
apply = jax.jit(lambda x: norm.apply(variables, x, mutable=["batch_stats"]))
chex.assert_trees_all_close(apply(split), apply(x), rtol=1e-5, atol=1e-6)
"""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    words = [sys.executable, "-c", code]
    environment = os.environ | {"XLA_FLAGS": flags}
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
