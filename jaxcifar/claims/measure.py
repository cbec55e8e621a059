"""Makes the record of a finished run from the result that training leaves in memory."""

import json
import statistics
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxcifar import data
from jaxcifar.claims.records import Record
from jaxcifar.config import schema
from jaxcifar.models.adaptive import branch_means
from jaxcifar.training import experiment, losses
from jaxcifar.training.trainer import Result

HISTOGRAM_RANGE, HISTOGRAM_BINS = 0.3, 121  # an odd number, so that one bin is centred on 0
INITIAL_EXAMPLES = 10_000


def measure_run(run: str, config: ConfigDict, result: Result) -> Record:
    """Returns the record of a finished run, which holds everything that the claims need."""
    parts, dataset, lines = result.parts, result.dataset, result.lines
    variables = result.state.eval_variables()
    _, gates = parts.predictor(dataset.test.images)(variables)
    return {
        "run": run,
        "seed": config.seed,
        "config": json.loads(schema.to_json(config)),
        "data": result.meta["data"],
        "device": result.meta["device"],
        "versions": result.meta["versions"],
        "commit": result.meta["commit"],
        "finished": result.meta["date"],
        "seconds": sum(line["seconds"] for line in lines),
        "examples_per_second": statistics.median(line["examples_per_second"] for line in lines),
        "initial_loss": initial_loss(parts, dataset.train),
        "weights": weight_histogram(variables["params"]),
        "gates": {
            name: class_means(np.asarray(gate), dataset.test.labels, len(dataset.class_names))
            for name, gate in gates.items()
        },
        "class_names": list(dataset.class_names),
        "epochs": lines,
    }


def initial_loss(parts: experiment.Experiment, train: data.Split) -> float:
    """Returns the mean loss of the first training images before any step, without augmentation."""
    images, labels = (part[:INITIAL_EXAMPLES] for part in train)
    start = parts.start(optax.identity(), train.images)
    logits, _ = parts.predictor(images)(start.state.eval_variables())
    return losses.evaluate(parts.loss, logits, labels).means()["loss"]


def weight_histogram(params: Any) -> dict[str, Any]:
    """Returns the histogram of all parameters over ±HISTOGRAM_RANGE, and the shares near zero."""
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    limits = (-HISTOGRAM_RANGE, HISTOGRAM_RANGE)
    counts, _ = np.histogram(flat, HISTOGRAM_BINS, limits)
    below = {f"{bound:g}": float((abs(flat) < bound).mean()) for bound in (1e-3, 1e-2)}
    return {"range": limits, "counts": counts.tolist(), "total": flat.size, "share_below": below}


def class_means(gate: np.ndarray, labels: np.ndarray, num_classes: int) -> list[list[float]]:
    """Returns the mean gates of each class, [num_classes, K], of gates [N, K] or [N, K, C].

    The row of a class without images is NaN.
    """
    sums, gate = np.zeros((num_classes, gate.shape[1])), branch_means(gate)
    np.add.at(sums, labels, gate)
    counts = np.bincount(labels, minlength=num_classes)[:, None]
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return [[round(value, 5) for value in row] for row in means.tolist()]
