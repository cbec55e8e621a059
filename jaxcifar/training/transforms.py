"""Transformations of updates that optax lacks; each comes last in its chain, after the rate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Array = jax.Array


def normalize_kernels() -> optax.GradientTransformation:
    """Rescales each convolution kernel to the norm √C_out before its update is added (airbench)."""

    def update(updates: Any, state: optax.EmptyState, params: Any) -> tuple[Any, Any]:
        def one(update: Array, kernel: Array) -> Array:
            if kernel.ndim != 4:
                return update
            scale = jnp.sqrt(kernel.shape[-1]) / jnp.linalg.norm(kernel)
            return update + (scale - 1) * kernel

        return jax.tree.map(one, updates, params), state

    return optax.GradientTransformation(optax.init_empty_state, update)


class LookaheadState(NamedTuple):
    """The number of updates, and the slow weights."""

    step: Array
    slow: Any


def lookahead(every: int, decay: float, total: int) -> optax.GradientTransformation:
    """Slow weights (Zhang et al., arXiv 1907.08610) that grow slower, as airbench has them.

    After every `every` updates slow ← a·slow + (1 − a)·fast with a = decay^every·(t/total)³, and
    fast ← slow; after the last of `total` updates fast ← slow.
    """

    def init(params: Any) -> LookaheadState:
        return LookaheadState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates: Any, state: LookaheadState, params: Any) -> tuple[Any, LookaheadState]:
        step = state.step + 1
        fast = optax.apply_updates(params, updates)
        due = step % every == 0
        a = jnp.where(due, decay**every * (step / total) ** 3, 1)
        slow = jax.tree.map(lambda s, f: a * s + (1 - a) * f, state.slow, fast)
        take = due | (step == total)
        updates = jax.tree.map(lambda u, s, p: jnp.where(take, s - p, u), updates, slow, params)
        return updates, LookaheadState(step, slow)

    return optax.GradientTransformation(init, update)
