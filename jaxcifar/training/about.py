"""Describes a run on the terminal, in its checkpoints and in curves.png."""

import pathlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxcifar import data
from jaxcifar.config import schema
from jaxcifar.errors import UserError
from jaxcifar.figures import curves, png
from jaxcifar.ops.batch_norm import MOMENTUM
from jaxcifar.run import provenance
from jaxcifar.run.progress import RunLog
from jaxcifar.system import devices
from jaxcifar.training import experiment, initial, state

YOUNG = 0.05  # largest share of its initial value that an average may hold without a warning


def make_metadata(
    config: ConfigDict, dataset: data.Dataset, parts: experiment.Experiment
) -> dict[str, Any]:
    """Returns the JSON saved with each checkpoint, which describes its weights and their origin."""
    return {
        **make_weights_metadata(config, dataset.class_names, parts),
        "data": {"source": dataset.source, "checksum": dataset.checksum},
        "images": {"train": len(dataset.train.labels), "test": len(dataset.test.labels)},
    }


def make_weights_metadata(
    config: ConfigDict, class_names: Iterable[str], parts: experiment.Experiment
) -> dict[str, Any]:
    """Returns the part of `make_metadata` that is also known of imported weights."""
    return {
        "config": schema.to_json(config),
        "class_names": list(class_names),
        "mean": list(config.augment.mean),
        "std": list(config.augment.std),
        "device": devices.describe(parts.mesh),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def check_data(meta: dict[str, Any], dataset: data.Dataset, workdir: pathlib.Path) -> None:
    """Raises a UserError if the run has so far been trained on other data."""
    advice = "choose another --workdir, or restore the original data"
    checksum, class_names = meta["data"]["checksum"], meta["class_names"]
    if difference := data.compare_data(dataset, workdir, checksum, class_names, advice):
        raise UserError(f"{difference}; {advice}")


def print_introduction(
    log: RunLog,
    parts: experiment.Experiment,
    dataset: data.Dataset,
    meta: dict[str, Any],
    start: state.State,
    workdir: pathlib.Path,
) -> None:
    """Prints the data, model, devices and workdir, and the step at which training resumes."""
    step = int(start.step)
    train, test = len(dataset.train.labels), len(dataset.test.labels)
    log.say(f"data: {dataset.source}, {train:,} training and {test:,} test images")
    log.say(f"      from {dataset.origin}")
    size = experiment.describe_parameters(start.params)
    log.say(f"model: {parts.config.model.name}, {size}, {parts.config.compute_dtype}")
    classes, outputs = len(dataset.class_names), parts.config.model.num_classes
    if outputs > classes:
        log.say(
            f"      WARNING: it has {outputs} classes, the data have {classes}; set"
            f" --config.model.num_classes={classes}"
        )
    if not step and (source := meta.get(initial.KEY)):
        log.say(f"initial weights: {source['name']}, step {source['step']:,}")
        if source["left_out"]:
            log.say(f"      but random ones for the last layer: {', '.join(source['left_out'])}")
        if any(list(parts.config.augment[key]) != list(source[key]) for key in ("mean", "std")):
            log.say(
                f"      WARNING: they were trained with mean {source['mean']} and std"
                f" {source['std']}"
            )
    log.say(f"device: {devices.describe(parts.mesh)}")
    log.say(f"workdir: {workdir}" + (f", resumed at step {step:,}" if step else ""))
    if step == log.num_epochs * log.steps_per_epoch:
        log.say("      the run is finished; to train it longer, raise --config.num_epochs")


def young_averages(config: ConfigDict, end: state.State) -> Iterator[str]:
    """Yields a line for each kind of average that still holds much of its initial value.

    After n updates, an average with momentum m still holds mⁿ of its initial value. With
    `config.init_from` there is no warning, because its averages are good initial values.
    """
    if config.init_from:
        return
    steps = int(end.step)
    leaves = jax.tree_util.tree_leaves_with_path(end.batch_stats)
    momentum = config.model.get("norm_momentum", MOMENTUM)
    left = {}
    if any(path[-1].key == "mean" for path, _ in leaves):
        left["BatchNorm's running averages"] = momentum**steps
    if end.ema is not None:
        updates = steps // config.accumulate_steps
        left["the averaged weights (config.optimizer.ema_decay)"] = (
            config.optimizer.ema_decay**updates
        )
    for name, share in left.items():
        if share > YOUNG:
            yield (
                f"WARNING: after {steps} steps, {name} still hold {share:.0%} of their initial"
                " values, so the test accuracy is too low: train for more epochs, or with a"
                " smaller config.batch_size"
            )


def draw_curves(workdir: pathlib.Path, lines: list[dict[str, Any]], meta: dict[str, Any]) -> None:
    """Plots the curves of the run; the title says if the data are synthetic."""
    note = " (synthetic data)" if meta["data"]["source"] == "synthetic" else ""
    name = workdir.resolve().name
    charts = curves.learning_curves({name: [lines]})
    png.draw_charts(workdir / "curves.png", charts, name + note)
