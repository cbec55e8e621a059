"""Evaluates a run's weights on a split, calibrates them and compares them with another net."""

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


def evaluate_run(
    directory: pathlib.Path,
    step: str,
    split: str,
    data_dir: str | None = None,
    *,
    views: int | None = None,
    calibrate: bool = False,
    against: pathlib.Path | None = None,
    other_classes: bool = False,
) -> dict[str, Any]:
    """Evaluates the weights of a step, "best", "latest" or a number, on a split of the run's data.

    Returns accuracy, loss, per-class accuracy (None for a class without images), 95 % intervals
    (Wilson) and the confusion matrix of counts, whose rows are the true classes. `data_dir`
    overrides the folder of the data in the run's config, and `views` the number of views of each
    image. `calibrate` adds the result of `fit_temperature`; `against`, the folder of another run,
    adds the result of `compare_nets`. `notes` say which nets were trained on other data.

    Raises:
      UserError: the run, step or data cannot be loaded, the split is empty, or a net has other
        classes than the data and `other_classes` is False.
    """
    net = load_net_with_views(directory, step, views)
    dataset, note = load_dataset(
        net, directory, data_dir, other_classes, calibrate or split != "test"
    )
    examples: data.Split = getattr(dataset, split)
    if not len(examples.labels):
        raise errors.UserError(
            f"the run has no {split} images: config.data.{split} is 0; choose another --split"
        )
    other = None if against is None else load_net_with_views(against, step, views)
    notes = [note, compare_data(other, against, dataset, other_classes) if other else ""]
    logits = net.predict(examples.images).logits
    result = {
        "checkpoint": str(directory),
        "step": net.step,
        "data": dataset.source,
        "checksum": dataset.checksum,
        "split": split,
        "views": net.parts.evaluation.views,
        "notes": [note for note in notes if note],
        **score_logits(net, dataset.class_names, examples.labels, logits),
    }
    if calibrate:
        result["calibration"] = fit_temperature(net, dataset, split, logits)
    if other:
        result["against"] = {"checkpoint": str(against), **compare_nets(other, examples, logits)}
    return result


def score_logits(
    net: Net, class_names: tuple[str, ...], labels: np.ndarray, logits: np.ndarray
) -> dict[str, Any]:
    """Returns accuracies with intervals, loss and confusion matrix of logits [N, num_classes]."""
    sums = losses.evaluate(net.parts.loss, jnp.asarray(logits), labels)
    matrix = confusion_matrix(logits, labels, len(class_names))
    counts, hits = np.bincount(labels, minlength=len(class_names)), matrix.diagonal().tolist()
    accuracies = [h / n if n else None for h, n in zip(hits, counts.tolist(), strict=True)]
    intervals = [wilson(h, n) for h, n in zip(hits, counts, strict=True)]
    return {
        "examples": int(sums.examples),
        **sums.means(),
        "interval": wilson(int(sums.correct), int(sums.examples)),
        "class_accuracy": dict(zip(class_names, accuracies, strict=True)),
        "class_interval": dict(zip(class_names, intervals, strict=True)),
        "confusion_matrix": matrix.tolist(),
    }


def load_net_with_views(directory: pathlib.Path, step: str, views: int | None) -> Net:
    """Returns the net of a run with this number of views per image; None keeps the config's."""
    net = load_net(directory, step)
    if views is None:
        return net
    evaluation = net.parts.evaluation._replace(views=views)
    return dataclasses.replace(net, parts=dataclasses.replace(net.parts, evaluation=evaluation))


def load_dataset(
    net: Net, directory: object, data_dir: str | None, other_classes: bool, hold_out: bool = False
) -> tuple[data.Dataset, str]:
    """Loads the data of the net's config, from `data_dir` if given; see `compare_data`.

    Other data may have too few images for the config's numbers of training and validation images,
    which then count only with `hold_out`.
    """
    config = net.parts.config.copy_and_resolve_references()
    config.batch_size = 1  # there may be fewer images than in a training batch
    if data_dir is not None:
        config.data.dir = data_dir
        if not hold_out:
            with config.unlocked():
                config.data.update(validation=0, train_examples=0)
    dataset = experiment.load_data(config)
    return dataset, compare_data(net, directory, dataset, other_classes)


def compare_data(net: Net, directory: object, dataset: data.Dataset, other_classes: bool) -> str:
    """Returns a note if the net was trained on other data than `dataset`, otherwise "".

    Raises:
      UserError: the net has other classes, unless `other_classes` is True.
    """
    names = dataset.class_names if other_classes else net.class_names
    advice = "--other_classes compares the classes by their numbers"
    return data.compare_data(dataset, directory, net.meta["data"]["checksum"], names, advice)


def fit_temperature(
    net: Net, dataset: data.Dataset, split: str, logits: np.ndarray
) -> dict[str, Any]:
    """Fits a temperature on held-out images and scores it on others.

    The temperature is fitted on the validation images and scored on the split. If there are no
    validation images, or they are the split, it is fitted on a random half of the split
    (`HALVES_SEED`) and scored on the other half.

    Returns the temperature, which images it was fitted on, the number of images that it was fitted
    and scored on, and calibration error and cross entropy before and after.

    Raises:
      UserError: there is only one image, or a logit is not finite.
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
        raise errors.UserError(
            f"cannot calibrate on {split}: it has a single image, or some logits are not finite"
        )
    temperature = calibration.fit_temperature(*held_out)
    result = {
        "temperature": temperature,
        "fitted_on": fitted_on,
        "fitted_images": len(held_out[1]),
        "images": len(scored[1]),
    }
    for when, divisor in (("before", 1.0), ("after", temperature)):
        divided = scored[0].astype(np.float64) / divisor
        result[f"ece_{when}"] = calibration.ece(special.softmax(divided, 1), scored[1])
        result[f"cross_entropy_{when}"] = calibration.cross_entropy(divided, scored[1])
    return result


def compare_nets(other: Net, examples: data.Split, logits: np.ndarray) -> dict[str, Any]:
    """Compares another net with the net that gave `logits` for the same images.

    Returns the other net's accuracy and McNemar's exact test. The test compares these two nets, not
    the two ways of training them.
    """
    other_logits = other.predict(examples.images).logits
    right, other_right = (x.argmax(1) == examples.labels for x in (logits, other_logits))
    alone, other_alone, p_value = mcnemar(right, other_right)
    return {
        "step": other.step,
        "accuracy": float(other_right.mean()),
        "interval": wilson(int(other_right.sum()), len(other_right)),
        "right_alone": alone,
        "wrong_alone": other_alone,  # images that only the other net classifies correctly
        "p": p_value,
    }


def confusion_matrix(logits: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (true, predicted) pairs, [C, C], of logits [N, ≥C] and labels [N].

    A prediction is the class of the largest logit, as in the accuracy. If it is a class that the
    data do not have, the image is in no column, and its row sums to less than the number of images
    of its class.
    """
    predicted = jnp.argmax(logits, -1)
    counts = jnp.zeros((num_classes, num_classes), jnp.int32)
    return np.asarray(counts.at[labels, predicted].add(1, mode="drop"))
