"""The jaxcifar side of the speed run: a whole training run, made of the parts that `train` uses."""

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
from jaxcifar.system import atomic, backend
from jaxcifar.training import about, experiment, losses, scoring


def run(
    variant: str,
    dtype: str,
    seed: int,
    flags: list[str],
    clock: Callable[[], float],
    keep: pathlib.Path | None,
) -> dict[str, Any]:
    """Trains and scores a variant of configs/speedrun.py once.

    The clock starts after loading and compiling, and stops before the run is written to `keep`, the
    workdir. Returns the seconds of training (including the whitening) and of scoring, the accuracy,
    the operations of training (counted from the plain model), the peak rates and the device.
    """
    backend.configure()
    flags = [f"--config.seed={seed}", f"--config.compute_dtype={dtype}", *flags]
    parts = experiment.build_experiment(
        overrides.load_config(f"configs/speedrun.py:{variant}", flags)
    )
    config = parts.config
    if keep:
        workdir.check_workdir(keep, config)
    dataset = experiment.load_data(config)
    steps_per_epoch = len(dataset.train.labels) // config.batch_size
    optimizer, schedule = parts.optimizer(steps_per_epoch)
    loop = parts.train_loop(dataset.train, optimizer)
    start = parts.starter(optimizer)
    begin = np.int32(seed), dataset.train.images[: models.count_whitening_images(config.model)]
    carry = start(*begin)
    train_all = loop.compile_run(carry, config.num_epochs)
    scored = dataset.validation if config.data.validation else dataset.test
    # the CPU's program takes one batch, an accelerator's takes all the images
    sample = scored.images[: config.batch_size] if jax.default_backend() == "cpu" else scored.images
    predict = parts.predictor(sample)
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
        epoch = {"epoch": config.num_epochs, "step": int(carry.state.step), "seconds": done - began}
        epoch["learning_rate"] = float(schedule(epoch["step"] - 1))
        epoch |= scoring.prefixed("train", carry.sums)
        epoch |= scoring.prefixed("validation" if config.data.validation else "test", sums)
        with workdir.claim_workdir(keep, config), Checkpoints(keep, writing=True) as checkpoints:
            atomic.write_text(keep / metrics.FILE, json.dumps(epoch) + "\n")
            checkpoints.save(carry, about.make_metadata(config, dataset, parts), accuracy)
    return {
        "train_seconds": trained - began,
        "views_seconds": done - trained,
        "accuracy": accuracy,
        "train_loss": carry.sums.means()["loss"],
        "operations": steps_per_epoch * sum_step_operations(parts),
        "peaks": peaks,
        "device": jax.local_devices()[0].device_kind,
    }


def sum_step_operations(parts: experiment.Experiment) -> int:
    """Returns the operations of one step of every epoch, summed over the curriculum's epochs."""
    sizes = [parts.augment.size_of(epoch) for epoch in range(parts.config.num_epochs)]
    by_size = {
        size: counting.count_gradient(parts, parts.config.batch_size, size).operations
        for size in set(sizes)
    }
    return sum(by_size[size] for size in sizes)
