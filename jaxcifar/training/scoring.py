"""Computes the metrics of an epoch: the training metrics and the scores on held-out images."""

import math
from typing import NamedTuple

import numpy as np

from jaxcifar import data
from jaxcifar.run import metrics
from jaxcifar.training import experiment, losses, optim, schedules
from jaxcifar.training.predictor import Predictor
from jaxcifar.training.state import Carry


class HeldOut(NamedTuple):
    """The labels of a held-out split and the forward pass over its images."""

    labels: np.ndarray
    predict: Predictor


def held_out_splits(parts: experiment.Experiment, dataset: data.Dataset) -> dict[str, HeldOut]:
    """Returns the held-out splits: "test", and "validation" if it has images."""
    splits = {"test": dataset.test}
    if len(dataset.validation.labels):
        splits["validation"] = dataset.validation
    return {
        name: HeldOut(split.labels, parts.predictor(split.images)) for name, split in splits.items()
    }


def score(
    parts: experiment.Experiment,
    schedule: schedules.Schedule,
    carry: Carry,
    splits: dict[str, HeldOut],
    epoch: int,
) -> metrics.Line:
    """Returns the metrics after the last step of an epoch, counted from 0, without times."""
    step, opt_state = int(carry.state.step), carry.state.opt_state
    taken = optim.count_taken(step, opt_state)
    line = {
        "epoch": epoch + 1,
        "step": step,
        "learning_rate": rate_of_last_update(schedule, taken, parts.config.accumulate_steps),
    }
    line |= prefixed("train", carry.sums) | optim.skipped_updates(opt_state)
    line |= carry.sums.norms(carry.state.params)
    due = parts.evaluation.due(epoch + 1, parts.config.num_epochs)
    due |= not math.isfinite(line["train_loss"])  # the run ends here
    for name, split in splits.items() if due else ():
        logits, _ = split.predict(carry.state.eval_variables())
        line |= prefixed(name, losses.evaluate(parts.loss, logits, split.labels))
    return line


def rate_of_last_update(schedule: schedules.Schedule, step: int, accumulate_steps: int) -> float:
    """Returns the learning rate of the last update before `step`, or of the first if none came.

    With accumulation, an update takes `accumulate_steps` steps, and its rate is the schedule's rate
    at the first of them.
    """
    updates = step // accumulate_steps
    try:
        return float(schedule(max(updates - 1, 0) * accumulate_steps))
    except OverflowError:  # Python raises this if a growing rate overflows
        return math.inf


def prefixed(split: str, sums: losses.Sums) -> dict[str, float]:
    """Returns the metrics SPLIT_loss and SPLIT_accuracy."""
    return {f"{split}_{key}": value for key, value in sums.means().items()}
