"""The training state: arrays only."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxcifar.training.losses import Sums

Array = jax.Array
# Parameters, up to which a vector of them pays: by the model of benchmarks/gpu_program.py resnet20
# and simple_cnn win by fewer launches, and adaptive's seven million lose more by copies.
JOINED_AT_MOST = 1_000_000


@struct.dataclass
class State:
    """All that changes while training. `step` counts batches; `ema` is None where it is off."""

    step: Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any

    def eval_variables(self) -> dict[str, Any]:
        """Returns what evaluation takes of this state."""
        return eval_variables(self.params, self.batch_stats, self.ema)


def eval_variables(params: Any, batch_stats: Any, ema: Any) -> dict[str, Any]:
    """Returns what evaluation takes: the averaged weights where there are any."""
    return {"params": params if ema is None else ema, "batch_stats": batch_stats}


def join(state: State) -> tuple[State, Callable[[State], State], Callable[[Array], Any]]:
    """Returns the state with one vector for the parameters, and for each tree like them.

    So an optimizer that treats all values alike is one kernel of a GPU, and not one for each leaf.
    The functions take a joined state apart again, and a vector of parameters.
    """
    structure: Any = jax.tree.structure(state.params)
    shapes = jax.tree.leaves(state.params)
    ends = list(itertools.accumulate(leaf.size for leaf in shapes))

    def vector(tree: Any) -> Array:
        return jnp.concatenate([_outputs_first(leaf).ravel() for leaf in jax.tree.leaves(tree)])

    def separate(vector: Array) -> Any:
        parts = jnp.split(vector, ends[:-1])
        leaves = [
            _outputs_last(part.reshape(jax.eval_shape(_outputs_first, leaf).shape))
            for part, leaf in zip(parts, shapes, strict=True)
        ]
        return jax.tree.unflatten(structure, leaves)

    def like_params(tree: Any) -> bool:
        return structure == jax.tree.structure(tree)

    def like_vector(leaf: Any) -> bool:
        return leaf.shape == (ends[-1],)

    def mapped(state: State, function: Callable[[Any], Any], chosen: Callable[[Any], bool]):
        params, opt_state, ema = jax.tree.map(
            lambda tree: function(tree) if chosen(tree) else tree,
            (state.params, state.opt_state, state.ema),
            is_leaf=like_params,
        )
        return dataclasses.replace(state, params=params, opt_state=opt_state, ema=ema)

    joined = mapped(state, vector, like_params)
    return joined, lambda state: mapped(state, separate, like_vector), separate


def _outputs_first(leaf: Array) -> Array:
    """A kernel [k, k, C_in, C_out] as cuDNN has it, [C_out, k, k, C_in]: nothing is transposed."""
    return leaf.transpose(3, 0, 1, 2) if leaf.ndim == 4 else leaf


def _outputs_last(leaf: Array) -> Array:
    return leaf.transpose(1, 2, 3, 0) if leaf.ndim == 4 else leaf


class Carry(NamedTuple):
    """What goes from step to step: the state, and the sums of the epoch so far."""

    state: State
    sums: Sums


def create(
    seed: Array | int, model: nn.Module, optimizer: optax.GradientTransformation, ema: bool
) -> State:
    """Returns the state before the first step; pure, for `jit` with its out_shardings."""
    images = jnp.zeros((2, 32, 32, 3))
    variables = model.init(jax.random.key(seed), images, train=False)
    params = variables["params"]
    return State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
        ema=jax.tree.map(jnp.copy, params) if ema else None,
    )
