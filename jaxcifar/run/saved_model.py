"""Reads the model of a saved step, even while the run continues and deletes old steps."""

import pathlib
import time
from typing import Any, NamedTuple

import jax

from jaxcifar.errors import UserError
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.run.workdir import list_steps

TRIES = 20  # a small net can be saved and deleted faster than it is read
DELETING_SECONDS = 0.1  # time for a folder that is being deleted to vanish


class SavedModel(NamedTuple):
    """The item `model` of a saved step, {params, batch_stats, ema}, and the step's metadata."""

    step: int
    model: dict[str, Any]
    meta: dict[str, Any]


def read_model(
    workdir: pathlib.Path, name: str, like: dict[str, Any] | jax.sharding.Sharding
) -> SavedModel:
    """Returns the model of the step `name`: "latest", "best" or the text of a number.

    `like` gives the model's tree, shapes and shardings. If `like` is only a sharding, any saved
    tree is returned. If the run is still training and deletes the step, the steps are listed again.

    Raises:
      UserError: the run or the step does not exist, is damaged or cannot be read.
    """
    for left in reversed(range(TRIES)):
        before = list_steps(workdir)
        try:
            with Checkpoints(workdir) as checkpoints:
                step = checkpoints.find_step(name)
                model = checkpoints.restore_model(step, like)
                return SavedModel(step, model, checkpoints.meta(step))
        except UserError:
            time.sleep(DELETING_SECONDS)
            if not left or list_steps(workdir) == before:
                raise
    raise AssertionError
