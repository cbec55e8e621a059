"""Our side of the speed run: a config's whole training through the pieces that `train` uses."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import counting
import jax
import jax.numpy as jnp
import jax_side
import numpy as np
import workers

from jaxcifar import models
from jaxcifar.config import overrides
from jaxcifar.run import metrics, workdir
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.system import backend
from jaxcifar.training import experiment, losses, scoring, trainer


def run(
    variant: str,
    dtype: str,
    seed: int,
    words: list[str],
    clock: Callable[[], float],
    keep: pathlib.Path | None,
) -> dict[str, Any]:
    """Trains and scores once; compiling and loading come before the clock, keeping after it.

    `keep` is a folder for the run, as `train` leaves it. Returns seconds of training (with the
    whitening) and of scoring, accuracy, operations of training (counted from the plain model), the
    machine's peaks and the device.
    """
    backend.configure()
    words = [f"--config.seed={seed}", f"--config.compute_dtype={dtype}", *words]
    config = overrides.load_config(f"configs/speedrun.py:{variant}", words)
    parts, dataset = experiment.build_experiment(config), experiment.load_data(config)
    steps_per_epoch = len(dataset.train.labels) // config.batch_size
    optimizer, schedule = parts.optimizer(steps_per_epoch)
    loop = parts.train_loop(dataset.train, optimizer)
    start = parts.starter(optimizer)
    begin = np.int32(seed), dataset.train.images[: models.examples_measured(config.model)]
    carry = start(*begin)
    train_all = loop.compile_run(carry, config.num_epochs)
    scored = dataset.validation if config.data.validation else dataset.test
    # a batch compiles the CPU's program; an accelerator's is of all the images
    few = scored.images[: config.batch_size] if jax.default_backend() == "cpu" else scored.images
    predict = parts.predictor(few)
    logits, _ = predict(carry.state.eval_variables())
    predict.set_images(scored.images)
    losses.evaluate(parts.loss, jnp.zeros((len(scored.labels), logits.shape[1])), scored.labels)
    del carry
    peaks = jax_side.Machine(workers.Job("machine")).peaks()

    began = clock()
    carry = start(*begin)
    carry = jax.block_until_ready(train_all(carry))
    trained = clock()
    logits, _ = predict(carry.state.eval_variables())
    sums = losses.evaluate(parts.loss, logits, scored.labels)
    accuracy = sums.means()["accuracy"]
    done = clock()
    if keep:
        step = int(carry.state.step)
        line = {"epoch": config.num_epochs, "step": step, "seconds": done - began}
        line["learning_rate"] = float(schedule(step - 1))
        line |= scoring.prefixed("train", carry.sums)
        line |= scoring.prefixed("validation" if config.data.validation else "test", sums)
        with workdir.claim_workdir(keep, config), Checkpoints(keep, writing=True) as checkpoints:
            workdir.write_text(keep / metrics.FILE, json.dumps(line) + "\n")
            checkpoints.save(carry, trainer.describe(config, dataset, parts), accuracy)
    sizes = [parts.augment.size_of(epoch) for epoch in range(config.num_epochs)]
    each = {size: counting.gradient(parts, config.batch_size, size).operations for size in sizes}
    return {
        "train_seconds": trained - began,
        "views_seconds": done - trained,
        "accuracy": accuracy,
        "train_loss": carry.sums.means()["loss"],
        "operations": steps_per_epoch * sum(each[size] for size in sizes),
        "peaks": peaks,
        "device": jax.local_devices()[0].device_kind,
    }
