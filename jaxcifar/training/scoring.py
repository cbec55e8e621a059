"""The metrics of an epoch: its own sums, and what the held-out images say of its weights."""

import math
from typing import NamedTuple

import numpy as np

from jaxcifar import data
from jaxcifar.run import metrics
from jaxcifar.training import experiment, losses, optim
from jaxcifar.training.predictor import Predictor
from jaxcifar.training.state import Carry


class HeldOut(NamedTuple):
    """Images that are scored, and the forward pass over them."""

    labels: np.ndarray
    predict: Predictor


def held_out(parts: experiment.Experiment, dataset: data.Dataset) -> dict[str, HeldOut]:
    """Returns the splits that are scored, by name: the validation images where there are any."""
    splits = {"test": dataset.test}
    if len(dataset.validation.labels):
        splits["validation"] = dataset.validation
    return {
        name: HeldOut(split.labels, parts.predictor(split.images)) for name, split in splits.items()
    }


def score(
    parts: experiment.Experiment,
    schedule: optim.Schedule,
    carry: Carry,
    splits: dict[str, HeldOut],
    epoch: int,
) -> metrics.Line:
    """Returns the metrics of an epoch, which counts from 0, after its last step; but no times."""
    step = int(carry.state.step)
    line = {"epoch": epoch + 1, "step": step, "learning_rate": float(schedule(step - 1))}
    line |= prefixed("train", carry.sums) | optim.skipped(carry.state.opt_state)
    line |= carry.sums.norms(carry.state.params)
    due = parts.evaluation.due(epoch + 1, parts.config.num_epochs)
    due |= not math.isfinite(line["train_loss"])  # it is the last
    for name, split in splits.items() if due else ():
        logits, _ = split.predict(carry.state.eval_variables())
        line |= prefixed(name, losses.evaluate(parts.loss, logits, split.labels))
    return line


def prefixed(split: str, sums: losses.Sums) -> dict[str, float]:
    """Returns {split_loss, split_accuracy}."""
    return {f"{split}_{key}": value for key, value in sums.means().items()}
