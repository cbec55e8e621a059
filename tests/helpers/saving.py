"""Helpers of the checkpoint tests: saving and restoring the state of a tiny net."""

import jax
import jax.numpy as jnp
from conftest import random_images, tiny

from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.training import experiment
from jaxcifar.training.state import Carry


def start(**changes):
    parts = experiment.build_experiment(tiny(**{"optimizer.ema_decay": 0.9} | changes))
    optimizer, _ = parts.optimizer(steps_per_epoch=4)
    return parts.start(optimizer, random_images(4, 32, 32, 3))


def at(like, step):
    """Returns a carry at `step` with the structure of the given one and other values."""
    state = jax.tree.map(lambda x: x + jnp.asarray(step, x.dtype), like.state)
    sums = jax.tree.map(lambda x: x + jnp.asarray(2 * step, x.dtype), like.sums)
    return Carry(state, sums)


def save(workdir, like, accuracies):
    with Checkpoints(workdir, writing=True) as checkpoints:
        for step, accuracy in accuracies.items():
            checkpoints.save(at(like, step), {"note": f"of step {step}"}, accuracy)


def restore(workdir, like):
    with Checkpoints(workdir, writing=True) as checkpoints:
        return checkpoints.restore_latest(like=like)
