"""Winograd's convolution, against lax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow import init

from jaxcifar.models import layers
from jaxcifar.ops.conv2d import lax_conv
from jaxcifar.ops.pooling import max_pool
from jaxcifar.ops.winograd import TILES, best_tile, conv_winograd


def value_and_gradients(function, x, kernel, weights):
    y, pull = jax.vjp(function, x, kernel)
    return y, *pull(weights)


def example(shape, c_out, padding, dtype):
    b, h, w, c = shape
    random = np.random.default_rng(0)
    outputs = (b, h + 2 * padding - 2, w + 2 * padding - 2, c_out)
    return [random.normal(size=s).astype(dtype) for s in (shape, (3, 3, c, c_out), outputs)]


@pytest.mark.parametrize("m", TILES)
@pytest.mark.parametrize(
    ("h", "w", "padding", "drop"),
    [
        (1, 1, 1, (0, 0)),
        (2, 5, 1, (0, 1)),
        (6, 7, 1, (0, 0)),
        (13, 9, 1, (1, 1)),
        (3, 4, 0, (0, 1)),
        (13, 9, 0, (1, 0)),
        (1, 6, 2, (0, 0)),
        (13, 9, 2, (1, 1)),
    ],
)
def test_values_and_gradients_are_those_of_a_convolution(h, w, padding, drop, m):
    with jax.enable_x64(True):
        x, kernel, weights = example((2, h, w, 3), 4, padding, np.float64)
        rows, columns = (n - d for n, d in zip(weights.shape[1:3], drop, strict=True))
        arrays = x, kernel, weights[:, :rows, :columns]
        got = value_and_gradients(lambda x, k: conv_winograd(x, k, padding, m, drop), *arrays)
        want = value_and_gradients(
            lambda x, k: lax_conv(x, k, 1, padding)[:, :rows, :columns], *arrays
        )
    for one, other in zip(got, want, strict=True):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, atol=1e-11)


@pytest.mark.parametrize(
    ("m", "bound"), [(2, 1e-4), (3, 2e-4), (4, 3e-4), (5, 5e-4), (6, 1e-3), (7, 2e-3)]
)
def test_rounding_errors_in_float32_are_small(m, bound):
    x, kernel, weights = example((8, 12, 12, 64), 128, 1, np.float32)
    got = value_and_gradients(lambda x, k: conv_winograd(x, k, 1, m), x, kernel, weights)
    with jax.enable_x64(True):
        exact = (jnp.asarray(a, jnp.float64) for a in (x, kernel, weights))
        want = value_and_gradients(lambda x, k: lax_conv(x, k, 1, 1), *exact)
    for one, other in zip(got, want, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert abs(one - other).max() < bound * other.std()


def test_the_best_tile_needs_the_fewest_multiplications():
    assert [best_tile(n, n) for n in (3, 5, 6, 7, 11, 13, 15)] == [3, 5, 6, 7, 6, 7, 5]
    assert best_tile(4, 12) == 4


def test_only_wide_float32_layers_on_cpu_use_it():
    def convolutions(dtype, platform, features, side=9):
        x = jnp.ones((2, side, side, 64))
        layer = layers.Conv(features, 3, 1, dtype=dtype, platform=platform)
        program = jax.make_jaxpr(lambda v: layer.apply(v, x))(init(layer, x))
        return str(program).count("conv_general_dilated")

    assert not convolutions(jnp.float32, "cpu", 128)
    assert convolutions(jnp.float32, "cpu", 64)
    assert not convolutions(jnp.float32, "cpu", 64, side=8)  # 2 by 2 tiles cover the map exactly
    assert convolutions(jnp.float32, "cpu", 32, side=8)
    assert convolutions(jnp.float32, "gpu", 128)
    assert convolutions(jnp.bfloat16, "cpu", 128)


@pytest.mark.parametrize("c_out", [8, 128])
def test_outputs_that_a_pool_drops_are_not_computed(c_out):
    x = np.random.default_rng(0).normal(size=(2, 7, 9, 64)).astype(np.float32)
    layer = layers.Conv(c_out, 3, 1, platform="cpu", pooled=True)
    variables = init(layer, x)
    shapes = {
        variable.aval.shape
        for equation in jax.make_jaxpr(lambda v: layer.apply(v, x))(variables).eqns
        for variable in equation.outvars
    }
    assert (2, 6, 8, c_out) in shapes
    assert (2, 7, 9, c_out) not in shapes
    want = max_pool(layers.Conv(c_out, 3, 1).apply(variables, x), 2)
    np.testing.assert_allclose(layer.apply(variables, x), want, atol=5e-4)
