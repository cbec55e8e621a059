"""Optimizer parts of the speed records: Muon, rescaled kernels, the triangle schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcifar.training import optim, schedules

MUON = {
    "momentum": 0.6,
    "newton_schulz_steps": 5,
    "rest_momentum": 0.85,
    "rest_decay": 0.02,
    "head_factor": 3.0,
    "bias_factor": 0.5,
}


def test_muons_update_keeps_the_singular_vectors_with_values_near_one():
    """The first update of a gradient U·S·Vᵀ is U·f(S)·Vᵀ with f(S) within 0.65 to 1.25."""
    gradient = jax.random.normal(jax.random.key(0), (3, 3, 8, 12))
    optimizer = optim.muon(**MUON)
    params = {"kernel": jnp.zeros_like(gradient)}
    update, _ = optimizer.update({"kernel": gradient}, optimizer.init(params), params)
    u, _, vt = np.linalg.svd(np.asarray(gradient).reshape(72, 12), full_matrices=False)
    inside = u.T @ np.asarray(update["kernel"]).reshape(72, 12) @ vt.T
    values = np.diagonal(inside)
    assert 0.65 < values.min() < values.max() < 1.25
    np.testing.assert_allclose(inside, np.diag(values), atol=1e-3)


def test_muon_updates_the_rest_by_nesterov_sgd_at_its_own_rates():
    params = {"head": jnp.ones((2, 3)), "bias": jnp.full((3,), 2.0)}
    optimizer = optim.muon(**MUON)
    state = optimizer.init(params)
    velocity = {"head": 0.0, "bias": 0.0}
    want = jax.tree.map(np.asarray, params)
    for step in range(4):
        gradients = jax.tree.map(lambda p, step=step: jnp.cos(p + step), params)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, jax.tree.map(lambda u: -0.1 * u, updates))
        for key, factor in (("head", 3.0), ("bias", 0.5)):
            g = factor * np.cos(want[key] + step) + 0.02 * want[key]
            velocity[key] = 0.85 * velocity[key] + g
            want[key] = want[key] - 0.1 * (g + 0.85 * velocity[key])
            np.testing.assert_allclose(params[key], want[key], rtol=1e-5)


def test_kernels_are_rescaled_before_their_update():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 4, 9))
    params = {"kernel": kernel, "bias": jnp.ones(9)}
    updates = jax.tree.map(lambda p: 0.1 * jnp.sin(p), params)
    transform = optim.normalize_kernels()
    got, _ = transform.update(updates, transform.init(params), params)
    want = 3 * np.asarray(kernel) / np.linalg.norm(kernel) + np.asarray(updates["kernel"])
    np.testing.assert_allclose(kernel + got["kernel"], want, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got["bias"], updates["bias"])


def test_the_triangle_schedule_rises_and_falls():
    keys = {"name": "triangle", "start": 0.2, "peak": 0.25, "end": 0.07}
    rate = schedules.build_schedule(keys, 2.0, steps_per_epoch=10, num_epochs=4)
    for step, want in {0: 0.4, 5: 1.2, 10: 2.0, 25: 2.0 * (1 + 0.07) / 2, 40: 0.14}.items():
        assert float(rate(step)) == pytest.approx(want, rel=1e-5), step
    falling = schedules.build_schedule(keys | {"start": 1.0, "peak": 0.0, "end": 0.0}, 2.0, 10, 4)
    assert [float(falling(step)) for step in (0, 10, 40)] == pytest.approx([2.0, 1.5, 0.0])
