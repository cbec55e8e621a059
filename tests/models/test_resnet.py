"""ResNet: its depth, its shortcuts, its block against a slow version."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import config_of
from slow import PLATFORMS, init, random_like, slow_conv, slow_norm

from jaxcifar.errors import UserError
from jaxcifar.models.resnet import BasicBlock, ResNet
from jaxcifar.training import experiment


@pytest.mark.parametrize("depth", [8, 20, 56, 110])
def test_resnet_has_as_many_weight_layers_as_its_depth(depth):
    model = ResNet(10, depth, 4, "A")
    params = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    )["params"]
    assert sum(leaf.ndim > 1 for leaf in jax.tree.leaves(params)) == depth


@pytest.mark.parametrize("depth", [18, 21, 2, 0, -4])
def test_other_depths_are_refused(depth):
    with pytest.raises(UserError, match="6n\\+2"):
        experiment.build_experiment(config_of("resnet20.py", **{"model.depth": depth}))


def test_shortcut_a_takes_every_second_pixel_and_pads_channels_with_zeros():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    block = BasicBlock(10, 2, "A", jnp.float32, "cpu")
    variables = init(block, x, train=False)
    zeros = jax.tree.map(jnp.zeros_like, variables["params"])  # only the shortcut remains
    got = jax.jit(lambda v: block.apply(v, x, train=False))(variables | {"params": zeros})
    want = np.zeros((2, 4, 4, 10), np.float32)
    want[..., 3:7] = np.maximum(x[:, ::2, ::2], 0)
    np.testing.assert_array_equal(got, want)


@PLATFORMS
@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize(("shortcut", "stride"), [("A", 1), ("A", 2), ("B", 2)])
def test_basic_block_is_its_slow_version(shortcut, stride, preactivation, platform):
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    block = BasicBlock(4 * stride, stride, shortcut, jnp.float32, platform, preactivation)
    variables = random_like(jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False)))
    p, s = jax.tree.map(np.float64, (variables["params"], variables["batch_stats"]))

    def norm(y, name):
        return slow_norm(y, p[name], s[name], False)

    def conv(y, name, padding=1, stride=1):
        return slow_conv(y, p[name]["kernel"], 0, padding, stride)

    if preactivation:
        first = np.maximum(norm(x, "norm1"), 0)
        y = conv(np.maximum(norm(conv(first, "conv1", 1, stride), "norm2"), 0), "conv2")
    else:
        first = x
        y = norm(conv(np.maximum(norm(conv(x, "conv1", 1, stride), "norm1"), 0), "conv2"), "norm2")
    if shortcut == "B":
        skip = conv(first, "skip", 0, stride)
        skip = skip if preactivation else norm(skip, "skip_norm")
    elif stride == 2:
        extra = (4 * stride - 4) // 2
        skip = np.pad(first[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (extra, extra)))
    else:
        skip = x
    want = y + skip if preactivation else np.maximum(y + skip, 0)
    got = jax.jit(lambda v: block.apply(v, x, train=False))(variables)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
