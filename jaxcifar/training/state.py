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
# Values of a leaf up to which a place in the vector pays: by the model of benchmarks/gpu_program.py
# the launches that it saves take longer than its copies.
JOINED_AT_MOST = 2**17


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


class Joined(NamedTuple):
    """A tree of parameters whose small leaves are one vector; the others stay as they are."""

    small: Array
    large: list[Array]


def join(
    state: State, at_most: int = JOINED_AT_MOST
) -> tuple[State, Callable[[State], State], Callable[[Joined], Any]]:
    """Returns the state with the parameters joined, and each tree like them.

    So an optimizer that treats all values alike is one kernel of a GPU for all leaves of up to
    `at_most` values. The functions take a joined state apart again, and joined parameters.
    """
    structure: Any = jax.tree.structure(state.params)
    shapes = jax.tree.leaves(state.params)
    ends = list(itertools.accumulate(leaf.size for leaf in shapes if leaf.size <= at_most))

    def joined(tree: Any) -> Joined:
        leaves = jax.tree.leaves(tree)
        small = [_outputs_first(leaf).ravel() for leaf in leaves if leaf.size <= at_most]
        vector = jnp.concatenate(small) if small else jnp.zeros(0, leaves[0].dtype)
        return Joined(vector, [leaf for leaf in leaves if leaf.size > at_most])

    def separate(joined: Joined) -> Any:
        small, large = iter(jnp.split(joined.small, ends[:-1])), iter(joined.large)
        leaves = [
            _outputs_last(next(small).reshape(jax.eval_shape(_outputs_first, leaf).shape))
            if leaf.size <= at_most
            else next(large)
            for leaf in shapes
        ]
        return jax.tree.unflatten(structure, leaves)

    def like_params(tree: Any) -> bool:
        return structure == jax.tree.structure(tree)

    def is_joined(tree: Any) -> bool:
        return isinstance(tree, Joined)

    def mapped(state: State, function: Callable[[Any], Any], chosen: Callable[[Any], bool]):
        params, opt_state, ema = jax.tree.map(
            lambda tree: function(tree) if chosen(tree) else tree,
            (state.params, state.opt_state, state.ema),
            is_leaf=chosen,
        )
        return dataclasses.replace(state, params=params, opt_state=opt_state, ema=ema)

    return (
        mapped(state, joined, like_params),
        lambda state: mapped(state, separate, is_joined),
        separate,
    )


def _outputs_first(leaf: Array) -> Array:
    """A kernel [k, k, C_in, C_out] as cuDNN has it, [C_out, k, k, C_in]: nothing is transposed."""
    return leaf.transpose(3, 0, 1, 2) if leaf.ndim == 4 else leaf


def _outputs_last(leaf: Array) -> Array:
    return leaf.transpose(1, 2, 3, 0) if leaf.ndim == 4 else leaf


class Carry(NamedTuple):
    """What goes from step to step: the state, and the sums of the epoch so far."""

    state: State
    sums: Sums

    def to_items(self) -> dict[str, Any]:
        """Returns the items of a checkpoint; the sums without those that are not counted."""
        state, sums = self.state, tuple(jax.tree.leaves(self.sums))
        return {
            "model": {"params": state.params, "batch_stats": state.batch_stats, "ema": state.ema},
            "train": {"opt_state": state.opt_state, "step": state.step, "sums": sums},
        }

    def from_items(self, items: dict[str, Any]) -> "Carry":
        """Returns what the items of a checkpoint hold, in the structure of this one."""
        train = items["train"]
        state = State(step=train["step"], opt_state=train["opt_state"], **items["model"])
        sums = jax.tree.unflatten(jax.tree.structure(self.sums), train["sums"])
        return Carry(state, sums)


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
