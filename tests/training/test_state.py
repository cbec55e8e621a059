"""The training state packed into one vector."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcifar.training import optim
from jaxcifar.training.state import Packing, State

SHARED = {"learning_rate": 0.1, "weight_decay": 0.0, "clip_norm": 0.0, "ema_decay": 0.0}
SHARED |= {"normalize_kernels": False}
ELEMENTWISE = [
    {"name": "adam", "clip_norm": 0.5},
    {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    {"name": "rmsprop", "momentum": 0.9, "decoupled_weight_decay": 0.1, "skip_nonfinite": True},
]


def arrays(seed):
    random = np.random.default_rng(seed)
    shapes = {"conv": {"kernel": (3, 3, 2, 4), "bias": (4,)}, "scale": (), "dense": (4, 3)}
    is_shape = lambda shape: isinstance(shape, tuple)  # noqa: E731
    return jax.tree.map(lambda s: jnp.asarray(random.normal(size=s)), shapes, is_leaf=is_shape)


@pytest.mark.parametrize(("at_most", "large"), [(72, 0), (12, 1), (0, 4)])
@pytest.mark.parametrize("accumulate_steps", [1, 2])
@pytest.mark.parametrize("keys", ELEMENTWISE, ids=str)
def test_the_optimizer_updates_a_packed_state_equally(keys, accumulate_steps, at_most, large):
    keys = SHARED | keys
    assert optim.is_elementwise(keys)
    optimizer = optim.build_optimizer(keys, lambda step: 0.1 / (1 + step), accumulate_steps)
    params = arrays(0)
    state = State(jnp.int32(0), params, {"mean": jnp.ones(3)}, optimizer.init(params), params)
    packing = Packing(params, at_most)
    packed = packing.pack_state(state)
    assert packed.params.small.ndim == 1
    assert len(packed.params.large) == large
    chex.assert_trees_all_equal(packing.unpack(packed.params), params)
    chex.assert_trees_all_equal(packing.unpack_state(packed), state)
    for seed in range(1, 6):
        gradient = arrays(seed)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = State(state.step, params, state.batch_stats, opt_state, params)
        # the step takes the gradient with respect to the vector
        pull = jax.grad(lambda v, g=gradient: optax.tree.vdot(packing.unpack(v), g))
        updates, opt_state = optimizer.update(pull(packed.params), packed.opt_state, packed.params)
        params = optax.apply_updates(packed.params, updates)
        packed = State(packed.step, params, packed.batch_stats, opt_state, params)
    chex.assert_trees_all_close(packing.unpack_state(packed), state, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "normalize_kernels"), [("muon", False), ("sgd", True), ("lars", False)]
)
def test_leaves_are_packed_only_for_optimizers_listed_as_elementwise(name, normalize_kernels):
    """LARS, which scales each leaf by its norm, stands for optimizers that are not listed."""
    keys = {"name": name, "normalize_kernels": normalize_kernels}
    assert not optim.is_elementwise(keys)


def test_every_optimizer_listed_as_elementwise_exists():
    assert set(optim.ELEMENTWISE) == set(optim.OPTIMIZERS) - {"muon"}
