"""Scores a restored net on a split of its data."""

import dataclasses
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import special

from jaxcifar import data, errors
from jaxcifar.stats import calibration
from jaxcifar.stats.accuracy import mcnemar, wilson
from jaxcifar.training import experiment, losses
from jaxcifar.weights.net import Net, load_net

HALVES_SEED = 0


def evaluate(
    directory: pathlib.Path,
    step: str,
    split: str,
    data_dir: str | None = None,
    *,
    views: int | None = None,
    calibrate: bool = False,
    against: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Scores the weights of a step, "best", "latest" or a number, on a split of the data.

    Returns accuracy, loss, per-class accuracy, and the confusion matrix of counts, rows the true
    class; with 95 % intervals (Wilson). Everything is rebuilt from the config saved in `directory`;
    `data_dir` is where the data lie now, if elsewhere, and `views` of each image are taken if not
    the config's. What `calibrated` and `compared` return is there if asked for.
    """
    net = load_with_views(directory, step, views)
    dataset = data_of(net, data_dir)
    examples: data.Split = getattr(dataset, split)
    if not len(examples.labels):
        raise errors.UserError(f"the run has no {split} images: config.data.{split} is 0")
    other = None if against is None else load_with_views(against, step, views)
    if other and other.class_names != dataset.class_names:
        raise errors.UserError(
            f"{against} has other classes ({', '.join(other.class_names)}); expected"
            f" {', '.join(dataset.class_names)}"
        )
    logits = net.predict(examples.images).logits
    result = {
        "checkpoint": str(directory),
        "step": net.step,
        "data": dataset.source,
        "split": split,
        "views": net.parts.evaluation.views,
        **scores(net, dataset.class_names, examples.labels, logits),
    }
    if calibrate:
        result["calibration"] = calibrated(net, dataset, split, logits)
    if other:
        result["against"] = {"checkpoint": str(against), **compared(other, examples, logits)}
    return result


def scores(
    net: Net, class_names: tuple[str, ...], labels: np.ndarray, logits: np.ndarray
) -> dict[str, Any]:
    """Returns accuracy, loss and confusion matrix of logits [N, num_classes], with intervals."""
    sums = losses.evaluate(net.parts.loss, jnp.asarray(logits), labels)
    matrix = confusion_matrix(logits, labels, len(class_names))
    counts, hits = np.bincount(labels, minlength=len(class_names)), matrix.diagonal().tolist()
    accuracies = (matrix.diagonal() / counts.clip(1)).tolist()
    intervals = [wilson(h, n) for h, n in zip(hits, counts, strict=True)]
    return {
        "examples": int(sums.examples),
        **sums.means(),
        "interval": wilson(int(sums.correct), int(sums.examples)),
        "class_accuracy": dict(zip(class_names, accuracies, strict=True)),
        "class_interval": dict(zip(class_names, intervals, strict=True)),
        "confusion_matrix": matrix.tolist(),
    }


def load_with_views(directory: pathlib.Path, step: str, views: int | None) -> Net:
    """Returns the net of a run, to be scored in so many views of an image if not its config's."""
    net = load_net(directory, step)
    if views is None:
        return net
    scored = net.parts.evaluation._replace(views=views)
    return dataclasses.replace(net, parts=dataclasses.replace(net.parts, evaluation=scored))


def data_of(net: Net, data_dir: str | None) -> data.Dataset:
    """Returns the data that a net was trained on, from where they lie now, if elsewhere."""
    config = net.parts.config.copy_and_resolve_references()
    if data_dir is not None:
        config.data.dir = data_dir
    return experiment.load_data(config)


def calibrated(net: Net, dataset: data.Dataset, split: str, logits: np.ndarray) -> dict[str, Any]:
    """Fits a temperature on images held out; scores it on those of a split, or on half of them.

    It is fitted on the validation images; where there are none, or where they are the split, on
    half of the split, drawn by a seed, and scored on the other half.

    Returns the temperature, on what it was fitted and scored, and calibration error and cross
    entropy before and after.
    """
    labels = getattr(dataset, split).labels
    if split != "validation" and len(dataset.validation.labels):
        held_out = net.predict(dataset.validation.images).logits, dataset.validation.labels
        scored, fitted_on = (logits, labels), "validation"
    else:
        order = np.random.default_rng(HALVES_SEED).permutation(len(labels))
        fit, score = np.array_split(order, 2)
        held_out, scored = (logits[fit], labels[fit]), (logits[score], labels[score])
        fitted_on = f"half of {split}"
    if not (len(scored[1]) and np.isfinite(logits).all() and np.isfinite(held_out[0]).all()):
        raise errors.UserError(f"{split} cannot calibrate: one image alone, or logits not finite")
    t = calibration.fit_temperature(*held_out)
    result = {
        "temperature": t,
        "fitted_on": fitted_on,
        "fitted_images": len(held_out[1]),
        "images": len(scored[1]),
    }
    for when, factor in (("before", 1.0), ("after", t)):
        divided = scored[0].astype(np.float64) / factor
        result[f"ece_{when}"] = calibration.ece(special.softmax(divided, 1), scored[1])
        result[f"cross_entropy_{when}"] = calibration.cross_entropy(divided, scored[1])
    return result


def compared(other: Net, examples: data.Split, logits: np.ndarray) -> dict[str, Any]:
    """Scores another net on the same images: its accuracy, and McNemar's exact test of the two.

    The test is of these two nets, and not of the two ways to make them.
    """
    said = (logits, other.predict(examples.images).logits)
    mine, its = (each.argmax(1) == examples.labels for each in said)
    alone, its_alone = int((mine & ~its).sum()), int((its & ~mine).sum())
    return {
        "step": other.step,
        "accuracy": float(its.mean()),
        "interval": wilson(int(its.sum()), len(its)),
        "right_alone": alone,
        "wrong_alone": its_alone,
        "p": mcnemar(alone, its_alone),
    }


def confusion_matrix(logits: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts [C, C] of (true, predicted) over logits [N, ≥C] and labels [N].

    As for the accuracy, a prediction is the largest of all the logits: where that is of a class
    that the data do not have, the image is in no column, and its row sums to less than its class.
    """
    predicted = jnp.argmax(logits, -1)
    counts = jnp.zeros((num_classes, num_classes), jnp.int32)
    return np.asarray(counts.at[labels, predicted].add(1, mode="drop"))
