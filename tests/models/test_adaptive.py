"""The adaptive block against its slow version."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import config_of
from jax import lax
from slow import block_fields, build_net, init, random_like, slow_block

from jaxcifar.models.adaptive import AdaptiveBlock

BLOCKS = {
    "000": block_fields("adaptive.py"),
    "001": block_fields("adaptive_softmax.py"),
    "002": block_fields("pooled_cnn.py"),
    "004": block_fields("adaptive_prelu.py"),
    "no_gate": block_fields("adaptive.py") | {"gate": "none"},
    "softmax": block_fields("adaptive.py") | {"gate": "softmax"},
    "linear_per_channel": block_fields("adaptive_prelu.py") | {"gate": "linear"},
    "no_gate_per_channel": block_fields("adaptive_prelu.py") | {"gate": "none"},
    # activations that do not commute with max-pool or dropout
    "swish": block_fields("adaptive.py") | {"branch_activation": "swish", "residual": True},
    "prelu": block_fields("adaptive.py") | {"branch_activation": "prelu", "branch_norm": True},
    "two_prelus": block_fields("adaptive_prelu.py") | {"branch_activation": "prelu"},
    "odd_pool": block_fields("adaptive_softmax.py") | {"branch_pool": 3, "kernel_size": 5},
}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("case", BLOCKS)
def test_block_is_a_weighted_sum_of_k_convolutions(case, train):
    f = BLOCKS[case]
    block = AdaptiveBlock(**f, platform="cpu" if train else "gpu")
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 4)).astype(np.float32)
    variables = random_like(jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False)))
    stats = variables.get("batch_stats", {})
    want, gate = slow_block(f, *jax.tree.map(np.float64, (x, variables["params"], stats)), train)
    apply = jax.jit(lambda v: block.apply(v, x, train=train, mutable=["batch_stats"])[0])
    got, a = apply(variables)
    chex.assert_shape(got, want.shape)
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(
        a.reshape(3, f["branches"], -1), gate[:, :, : a[0, 0].size], rtol=1e-4
    )


def test_one_branch_without_a_gate_is_a_plain_convolution():
    f = block_fields("pooled_cnn.py") | {"branches": 1, "gate": "none", "branch_activation": "none"}
    x = jax.random.normal(jax.random.key(0), (2, 9, 9, 3))
    block = AdaptiveBlock(**f)
    variables = init(block, x, train=False)
    assert list(variables["params"]) == ["conv"]
    plain = lax.conv_general_dilated(
        x,
        variables["params"]["conv"]["kernel"],
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    want = plain + variables["params"]["conv"]["bias"]
    np.testing.assert_allclose(block.apply(variables, x, train=False)[0], want, atol=1e-5)


def test_dropout_in_a_branch_zeroes_or_scales_each_value():
    """With K = 1 and no gate the output is the branch: 0, or twice its value in test mode."""
    f = block_fields("pooled_cnn.py") | {"branches": 1, "gate": "none", "branch_dropout": 0.5}
    x = jax.random.normal(jax.random.key(0), (8, 32, 32, 3))
    block = AdaptiveBlock(**f)
    variables = init(block, x, train=False)
    test, _ = block.apply(variables, x, train=False)
    np.testing.assert_array_equal(
        test, AdaptiveBlock(**f | {"branch_dropout": 0.0}).apply(variables, x, train=True)[0]
    )
    train, _ = block.apply(variables, x, train=True, rngs={"dropout": jax.random.key(2)})
    shown = np.asarray(test) > 0
    ratio = (np.asarray(train)[shown] / np.asarray(test)[shown]).round(4)
    assert set(ratio.tolist()) == {0.0, 2.0}
    assert abs((ratio == 0).mean() - 0.5) < 0.02
    assert (np.asarray(train)[~shown] == 0).all()


@pytest.mark.parametrize("name", ["adaptive.py", "adaptive_prelu.py", "pooled_cnn.py"])
def test_gates_depend_on_the_image(name):
    model = build_net(name, **{"model.widths": tuple(4 for _ in config_of(name).model.widths)})
    x = jax.random.normal(jax.random.key(1), (3, 32, 32, 3)) + jnp.arange(3.0).reshape(3, 1, 1, 1)
    _, gates = jax.jit(lambda v: model.apply(v, x, train=False))(init(model, x, train=False))
    for gate in gates.values():
        assert abs(gate[0] - gate[1]).max() > 1e-4
        if config_of(name).model.gate == "softmax":
            np.testing.assert_allclose(gate.sum(1), 1, rtol=1e-5)
