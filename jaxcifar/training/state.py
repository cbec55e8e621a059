"""The training state, which holds only arrays."""

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
# The number of values in the largest leaf to pack. By benchmarks/gpu_program.py's model, packing
# a leaf of up to this size saves more launch time than its copies cost.
PACKED_AT_MOST = 2**17


@struct.dataclass
class State:
    """Everything that changes during training. `step` counts batches; `ema` is None if off."""

    step: Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any

    def eval_variables(self) -> dict[str, Any]:
        """Returns the variables for evaluation."""
        return eval_variables(self.params, self.batch_stats, self.ema)


def eval_variables(params: Any, batch_stats: Any, ema: Any) -> dict[str, Any]:
    """Returns the variables for evaluation, with the averaged weights if there are any."""
    return {"params": params if ema is None else ema, "batch_stats": batch_stats}


class Packed(NamedTuple):
    """A tree of parameters with its small leaves in one vector; large leaves stay as they are."""

    small: Array
    large: list[Array]


class Packing:
    """Packs small leaves into one vector, so that a GPU updates all of them in one kernel.

    This needs an elementwise optimizer. The gradient is taken with respect to the vector itself. An
    optax wrapper could not do this; it would join and split all leaves in every step.
    """

    def __init__(self, params: Any, at_most: int = PACKED_AT_MOST):
        """Leaves of up to `at_most` values are packed."""
        self._structure: Any = jax.tree.structure(params)
        self._leaves = jax.tree.leaves(params)
        self._at_most = at_most
        sizes = (leaf.size for leaf in self._leaves if leaf.size <= at_most)
        self._ends = list(itertools.accumulate(sizes))

    def pack(self, tree: Any) -> Packed:
        """Packs a tree with the structure of the parameters."""
        leaves = jax.tree.leaves(tree)
        small = [_outputs_first(leaf).ravel() for leaf in leaves if leaf.size <= self._at_most]
        vector = jnp.concatenate(small) if small else jnp.zeros(0, leaves[0].dtype)
        return Packed(vector, [leaf for leaf in leaves if leaf.size > self._at_most])

    def unpack(self, packed: Packed) -> Any:
        """Returns the tree that was packed."""
        small, large = iter(jnp.split(packed.small, self._ends[:-1])), iter(packed.large)
        leaves = [
            _outputs_last(next(small).reshape(jax.eval_shape(_outputs_first, leaf).shape))
            if leaf.size <= self._at_most
            else next(large)
            for leaf in self._leaves
        ]
        return jax.tree.unflatten(self._structure, leaves)

    def pack_state(self, state: State) -> State:
        """Packs the parameters of a state and every tree with the same structure."""
        return _map_trees(
            state, self.pack, lambda tree: jax.tree.structure(tree) == self._structure
        )

    def unpack_state(self, state: State) -> State:
        """Returns the state that was packed."""
        return _map_trees(state, self.unpack, lambda tree: isinstance(tree, Packed))


def _map_trees(
    state: State, function: Callable[[Any], Any], chosen: Callable[[Any], bool]
) -> State:
    params, opt_state, ema = jax.tree.map(
        lambda tree: function(tree) if chosen(tree) else tree,
        (state.params, state.opt_state, state.ema),
        is_leaf=chosen,
    )
    return dataclasses.replace(state, params=params, opt_state=opt_state, ema=ema)


def _outputs_first(leaf: Array) -> Array:
    """Moves C_out of a kernel [k, k, C_in, C_out] first, cuDNN's layout, which costs nothing."""
    return leaf.transpose(3, 0, 1, 2) if leaf.ndim == 4 else leaf


def _outputs_last(leaf: Array) -> Array:
    return leaf.transpose(1, 2, 3, 0) if leaf.ndim == 4 else leaf


class Carry(NamedTuple):
    """The value that steps pass on: the state and the sums of the epoch so far."""

    state: State
    sums: Sums

    def to_items(self) -> dict[str, Any]:
        """Returns the items of a checkpoint, without sums that are None."""
        state, sums = self.state, tuple(jax.tree.leaves(self.sums))
        return {
            "model": {"params": state.params, "batch_stats": state.batch_stats, "ema": state.ema},
            "train": {"opt_state": state.opt_state, "step": state.step, "sums": sums},
        }

    def from_items(self, items: dict[str, Any]) -> "Carry":
        """Returns the carry in the items of a checkpoint, with the structure of this one."""
        train = items["train"]
        state = State(step=train["step"], opt_state=train["opt_state"], **items["model"])
        sums = jax.tree.unflatten(jax.tree.structure(self.sums), train["sums"])
        return Carry(state, sums)


def create_state(
    seed: Array | int, model: nn.Module, optimizer: optax.GradientTransformation, ema: bool
) -> State:
    """Returns the state before the first step; a pure function, to be jitted."""
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
