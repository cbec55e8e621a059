"""The layers that the models share."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from slow import PLATFORMS, init, slow_conv, slow_pool

from jaxcifar.models import layers, resnet
from jaxcifar.ops import dropout, pooling
from jaxcifar.ops.batch_norm import batch_norm


@pytest.mark.parametrize("impl", ["rbg", "threefry2x32"])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_statistics(rate, impl):
    shape = (64, 9, 9, 33)  # an odd number of channels
    y = np.asarray(dropout.dropout(jnp.full(shape, 3.0), rate, jax.random.key(0, impl=impl)))
    zero = y == 0
    np.testing.assert_allclose(y[~zero], 3 / (1 - rate), rtol=1e-6)
    sigma = (rate * (1 - rate) / zero.size) ** 0.5
    assert abs(zero.mean() - rate) < 5 * sigma
    for axis in range(4):  # neighbouring values are independent
        one, other = np.delete(zero, 0, axis), np.delete(zero, -1, axis)
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / one.size**0.5
    other = dropout.dropout(jnp.full(shape, 3.0), rate, jax.random.key(1, impl=impl))
    assert abs(((other == 0) & zero).mean() - rate**2) < 5 * sigma


def test_dropout_has_the_gradient_of_its_mask():
    x, key = jnp.linspace(-1, 1, 4000).reshape(10, 400), jax.random.key(0)
    y, pull = jax.vjp(lambda x: dropout.dropout(x, 0.25, key), x)
    np.testing.assert_allclose(pull(jnp.ones_like(x))[0], np.where(y == 0, 0, 4 / 3), rtol=1e-6)


def test_relu_commutes_with_dropout_and_max_pool():
    x, key = jax.random.normal(jax.random.key(0), (4, 8, 8, 6)), jax.random.key(1)
    one = pooling.max_pool(dropout.dropout(nn.relu(x), 0.3, key), 2)
    other = nn.relu(pooling.max_pool(dropout.dropout(x, 0.3, key), 2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("shape", "size"), [((2, 8, 8, 3), 2), ((2, 7, 10, 3), 3), ((2, 4, 4, 3), 1)]
)
def test_max_pool_is_reduce_window_in_value_and_gradient(shape, size):
    x = jax.random.normal(jax.random.key(0), shape)

    def reference(x):
        window = (1, size, size, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")

    np.testing.assert_array_equal(pooling.max_pool(x, size), reference(x))
    weights = jax.random.normal(jax.random.key(1), reference(x).shape)
    one, other = (
        jax.grad(lambda x, pool=pool: (pool(x) * weights).sum())(x)
        for pool in (reference, lambda x: pooling.max_pool(x, size))
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_the_gradient_of_max_pool_is_finite_if_xla_computes_its_input_twice():
    """With the tests' compiler options, XLA computes BatchNorm's output twice and rounds it in two
    ways. In many windows no value equals the maximum, and JAX's own gradient is NaN."""
    conv, norm = layers.Conv(8, 5, 0), batch_norm(True, jnp.float32, None, "cpu")
    x = jax.random.normal(jax.random.key(0), (64, 32, 32, 3))
    variables = init(conv, x)
    variables_of_norm = init(norm, conv.apply(variables, x))

    def score(variables):
        y = norm.apply(variables_of_norm, conv.apply(variables, x), mutable=["batch_stats"])[0]
        return (pooling.max_pool(y, 2) ** 2).sum()

    chex.assert_tree_all_finite(jax.jit(jax.grad(score))(variables))


def test_prelu():
    x = jnp.array([[-2.0, -2.0], [0.0, 3.0]])
    module = layers.PReLU()
    variables = module.init(jax.random.key(0), x)
    np.testing.assert_array_equal(module.apply(variables, x), [[-0.5, -0.5], [0.0, 3.0]])
    gradient = jax.grad(lambda v: module.apply(v, x).sum())(variables)
    np.testing.assert_array_equal(
        gradient["params"]["slope"], [-2.0, -2.0]
    )  # one slope per channel


CONVOLUTIONS = [  # size, stride, padding, pooled, channels in and out, rows
    (3, 1, 1, False, 3, 5, 8),
    (3, 2, 1, False, 3, 5, 8),
    (3, 2, 1, False, 20, 20, 8),
    (5, 1, 0, False, 3, 5, 8),
    (5, 1, 0, True, 3, 5, 12),
    (3, 1, 0, True, 8, 16, 8),
    (3, 1, 0, True, 8, 16, 9),
    (1, 2, 0, False, 3, 5, 8),
    (4, 1, 1, True, 3, 5, 8),
    (3, 1, 1, False, 20, 24, 2),
    (5, 1, 2, True, 20, 24, 4),
    (4, 1, 2, False, 20, 24, 3),
    (3, 1, 1, True, 20, 24, 7),
    (3, 1, 1, False, 20, 24, 1),
]


@PLATFORMS
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution_is_its_definition_and_so_are_its_gradients(case, platform):
    size, stride, padding, pooled, c_in, c_out, rows = case
    x = np.random.default_rng(0).normal(size=(2, rows, rows, c_in)).astype(np.float32)
    conv = layers.Conv(c_out, size, padding, stride, platform=platform, pooled=pooled)
    variables = init(conv, x)

    want = slow_conv(x, **variables["params"], padding=padding, stride=stride)
    want = slow_pool(want, 2) if pooled else want
    got = jax.jit(lambda v: conv.apply(v, x))(variables)
    assert got.ndim == 4
    np.testing.assert_allclose(got, want, atol=2e-5)

    # the gradients for images, kernel and bias, against lax's own convolution
    weights = jax.random.normal(jax.random.key(1), want.shape)

    def plain(v, x):
        y = lax.conv_general_dilated(
            x,
            v["params"]["kernel"],
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        y += v["params"]["bias"]
        return ((pooling.max_pool(y, 2) if pooled else y) * weights).sum()

    def ours(v, x):
        return (conv.apply(v, x) * weights).sum()

    one, other = (jax.jit(jax.grad(f, (0, 1)))(variables, x) for f in (ours, plain))
    chex.assert_trees_all_close(one, other, rtol=1e-4, atol=1e-4)


def test_batch_norm_moves_its_averages_by_a_tenth_in_training():
    norm = batch_norm(True, jnp.float32, None, "cpu")
    x = 3 + 2 * np.random.default_rng(0).normal(size=(16, 8, 8, 4)).astype(np.float32)
    variables = norm.init(jax.random.key(0), x)
    y, updated = norm.apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-4)
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-4)
    # the tolerance includes Bessel's correction, 1/1023
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-3)


def test_initialisation():
    x = jnp.zeros((1, 8, 8, 64))
    conv = init(layers.Conv(256, 3, 1), x)["params"]
    dense = init(layers.Dense(500), x)["params"]
    he = init(layers.Conv(256, 3, 1, kernel_init=resnet.he_normal), x)["params"]
    for params, fan_in in ((conv, 9 * 64), (dense, 64)):
        for leaf in params.values():
            assert 0.97 < abs(leaf).max() * fan_in**0.5 <= 1
            assert float(leaf.std()) == pytest.approx((3 * fan_in) ** -0.5, rel=0.15)
    assert float(he["kernel"].std()) == pytest.approx((2 / 9 / 64) ** 0.5, rel=0.02)
    assert abs(conv["kernel"][..., 0] - conv["kernel"][..., 1]).min() > 0  # no two filters equal


def test_dropout_of_almost_everything_keeps_almost_nothing():
    """The rate rounds to 1 in 32 bits."""
    kept = dropout.keep_mask(jax.random.key(0), (100, 100), 0.99999999999)
    assert kept.sum() == 0
