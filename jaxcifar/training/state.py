"""The training state: arrays only."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxcifar.training.losses import Sums

Array = jax.Array


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
