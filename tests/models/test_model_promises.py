"""What the specification promises of the models and no test of a single part would notice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import config_of
from slow import build_net, init
from test_speednet import SMALL
from test_speednet import build_net as build_speednet

from jaxcifar.models import layers
from jaxcifar.models.adaptive import AdaptiveBlock


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("adaptive.py", [16, 8, 4, 2]),  # a max-pool in each branch
        ("adaptive_softmax.py", [32, 32, 16, 16, 8, 8]),  # between segments
        ("adaptive_prelu.py", [32, 32, 16, 16, 8, 8, 4]),  # after every second block
        ("pooled_cnn.py", [28]),
    ],
)
def test_the_maps_have_the_sides_of_the_report_and_the_head_sees_the_last(name, sides):
    widths = tuple(4 for _ in config_of(name).model.widths)
    net = build_net(name, **{"model.widths": widths, "model.head_hidden": ()})
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    variables = init(net, x, train=False)

    def apply(variables):
        blocks = lambda module, _: isinstance(module, AdaptiveBlock)  # noqa: E731
        return net.apply(variables, x, train=False, capture_intermediates=blocks)

    (logits, gates), found = jax.jit(apply)(variables)
    maps = [found["intermediates"][f"block{i}"]["__call__"][0][0] for i in range(len(gates))]
    assert [y.shape for y in maps] == [(2, side, side, 4) for side in sides]
    last = np.asarray(maps[-1])
    head = last.reshape(2, -1) if name == "pooled_cnn.py" else last.mean((1, 2))
    dense = variables["params"]["head"]["dense0"]
    np.testing.assert_allclose(logits, head @ dense["kernel"] + dense["bias"], atol=1e-4)


def test_dropout_after_a_hidden_layer_zeroes_or_scales_each_unit():
    mlp, x = layers.MLP((500,), 500, dropout=0.5), jnp.ones((20, 1))
    ones = {"kernel": jnp.ones((1, 500)), "bias": jnp.zeros(500)}
    params = {"dense0": ones, "dense1": {"kernel": jnp.eye(500), "bias": jnp.zeros(500)}}
    np.testing.assert_array_equal(mlp.apply({"params": params}, x, train=False), np.ones((20, 500)))
    y = mlp.apply({"params": params}, x, train=True, rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(y).tolist()) == {0.0, 2.0}
    assert abs(float((y == 0).mean()) - 0.5) < 0.02  # four σ


def test_the_norms_have_the_momentum_and_epsilon_of_the_config():
    """The convolution is initialised as the identity, so the first norm sees the pooled images."""
    keys = SMALL | {"widths": (3,), "whitening_size": 0, "norm_momentum": 0.75, "norm_epsilon": 0.5}
    net, variables = build_speednet(keys)
    images = 1 + jax.random.normal(jax.random.key(1), (4, 32, 32, 3))
    seen = images.reshape(4, 16, 2, 16, 2, 3).max((2, 4))
    _, updated = net.apply(variables, images, train=True, mutable=["batch_stats"])
    stats = updated["batch_stats"]["net"]["group0_norm0"]
    np.testing.assert_allclose(stats["mean"], 0.25 * seen.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(stats["var"], 0.75 + 0.25 * seen.var((0, 1, 2)), rtol=1e-3)
    _, found = net.apply(
        variables, images, train=False, capture_intermediates=lambda m, _: m.name == "group0_norm0"
    )
    (y,) = jax.tree.leaves(found["intermediates"]["net"]["group0_norm0"])
    np.testing.assert_allclose(y, seen / np.sqrt(1.5), rtol=1e-4)
