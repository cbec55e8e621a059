"""Trains a config, or resumes a run: the pipeline, in order."""

import dataclasses
import math
import pathlib
import time
from typing import Any, NamedTuple

import optax
from ml_collections import ConfigDict

from jaxcifar import data, errors
from jaxcifar.config import schema
from jaxcifar.figures import plots
from jaxcifar.run import damage, provenance, selection
from jaxcifar.run import workdir as workdirs
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.run.progress import RunLog
from jaxcifar.run.signals import Interrupt
from jaxcifar.system import devices
from jaxcifar.training import experiment, losses, state
from jaxcifar.training.scoring import held_out, score
from jaxcifar.training.state import Carry


class Result(NamedTuple):
    """How training ended: metrics of each epoch, the state, whether it finished, what made it.

    One that diverged has finished: with the epoch it diverged in, and the last state before.
    """

    lines: list[dict[str, Any]]
    state: state.State
    finished: bool
    meta: dict[str, Any]
    parts: experiment.Experiment
    dataset: data.Dataset


def train(config: ConfigDict, workdir: pathlib.Path) -> Result:
    """Trains `config` in `workdir`, going on from its latest checkpoint where there is one."""
    parts = experiment.build(config)
    dataset = experiment.load_data(config)
    if leader := devices.is_leader():
        workdirs.check(workdir, config)

    steps_per_epoch = len(dataset.train.labels) // config.batch_size
    last_step = config.num_epochs * steps_per_epoch
    optimizer, schedule = parts.optimizer(steps_per_epoch)
    loop = parts.train_loop(dataset.train, optimizer)
    splits = held_out(parts, dataset)
    meta = describe(config, dataset, parts)

    with (
        devices.on_leader(workdirs.claim(workdir, config)),
        Checkpoints(workdir, writing=True) as checkpoints,
        Interrupt("epoch" if devices.is_accelerated(parts.mesh) else "step") as interrupt,
        devices.ending_alone(),  # before what is above waits for the other processes
        damage.as_user_error(f"stopped in {workdir}, where the same command goes on"),
    ):
        carry = begin(checkpoints, parts, optimizer, dataset)
        step = int(carry.state.step)
        if step in checkpoints.steps():
            check_data(checkpoints.meta(step), dataset, workdir)
        with RunLog(workdir, config.num_epochs, steps_per_epoch, step, leader) as log:
            introduce(log, dataset, carry, parts, workdir)
            if step < last_step and not log.diverged:
                began = time.perf_counter()
                loop.compile(carry, config.num_epochs)
                log.say(f"compiled in {time.perf_counter() - began:.1f} s")
            while step < last_step and not (devices.any_process(interrupt.wanted) or log.diverged):
                epoch, began_at = divmod(step, steps_per_epoch)
                began = time.perf_counter()
                carry = loop.run(
                    carry, Watch(log, interrupt, epoch + 1, began_at, config.batch_size)
                )
                train_seconds = time.perf_counter() - began
                step = int(carry.state.step)
                if step % steps_per_epoch:
                    break  # asked to stop within the epoch; its sums are saved with it
                line = score(parts, schedule, carry, splits, epoch)
                examples = (steps_per_epoch - began_at) * config.batch_size
                line["examples_per_second"] = examples / train_seconds
                line["seconds"] = time.perf_counter() - began
                log.epoch(line)
                if not log.diverged:
                    checkpoints.save(carry, meta, line.get(f"{selection.split(line)}_accuracy"))
            if log.diverged:
                log.say_diverged()
            if log.diverged or not math.isfinite(carry.sums.loss):
                carry = begin(checkpoints, parts, optimizer, dataset)  # the last that was finite
            step = int(carry.state.step)
            checkpoints.save(carry, meta, None)  # within an epoch: never the best
            meta = checkpoints.meta(step)  # of a run that had finished: as it was then
        if log.lines and leader:
            plots.curves(workdir / "curves.png", {workdir.name: [log.lines]}, title(meta, workdir))
    finished = step == last_step or log.diverged
    return Result(log.lines, carry.state, finished, meta, parts, dataset)


def begin(
    checkpoints: Checkpoints,
    parts: experiment.Experiment,
    optimizer: optax.GradientTransformation,
    dataset: data.Dataset,
) -> Carry:
    """Returns what training goes on from: the latest checkpoint, or the start."""
    carry = checkpoints.restore_latest(parts.abstract_start(optimizer))
    return parts.start(optimizer, dataset.train.images) if carry is None else carry


@dataclasses.dataclass(frozen=True)
class Watch:
    """What the loop asks after each program call: shows the progress, says whether to go on."""

    log: RunLog
    interrupt: Interrupt
    epoch: int
    began_at: int
    batch_size: int

    def __call__(self, sums: losses.Sums, done: int, seconds: float) -> bool:
        """Returns false where a signal asked to stop; `done` counts steps of the epoch."""
        rate = (done - self.began_at) * self.batch_size / seconds
        self.log.progress(self.epoch, done, sums, rate)
        return not devices.any_process(self.interrupt.wanted)


def describe(
    config: ConfigDict, dataset: data.Dataset, parts: experiment.Experiment
) -> dict[str, Any]:
    """Returns the JSON kept with each checkpoint: enough to use the weights without this run."""
    return {
        "config": schema.to_json(config),
        "class_names": list(dataset.class_names),
        "mean": list(config.augment.mean),
        "std": list(config.augment.std),
        "data": {"source": dataset.source, "checksum": dataset.checksum},
        "device": devices.describe(parts.mesh),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def check_data(meta: dict[str, Any], dataset: data.Dataset, workdir: pathlib.Path) -> None:
    """Raises a UserError unless the run so far was on this data set, wherever it lies now."""
    before = meta["data"]["checksum"]
    if before != dataset.checksum:
        raise errors.UserError(
            f"{workdir} holds a run on other data: their checksum is {before}, and that of"
            f" {dataset.origin} {dataset.checksum}; choose another --workdir, or bring those back"
        )


def introduce(
    log: RunLog,
    dataset: data.Dataset,
    carry: Carry,
    parts: experiment.Experiment,
    workdir: pathlib.Path,
) -> None:
    """Says what is trained, on what, where, and from which step."""
    train, test = len(dataset.train.labels), len(dataset.test.labels)
    log.say(f"data: {dataset.source}, {train:,} training and {test:,} test images")
    log.say(f"      from {dataset.origin}")
    size = experiment.describe_parameters(carry.state.params)
    log.say(f"model: {parts.config.model.name}, {size}, {parts.config.compute_dtype}")
    log.say(f"device: {devices.describe(parts.mesh)}")
    step = int(carry.state.step)
    log.say(f"workdir: {workdir}" + (f", resumed at step {step:,}" if step else ""))


def title(meta: dict[str, Any], workdir: pathlib.Path) -> str:
    """Returns the heading of a run's pictures, which says so where the data are synthetic."""
    return workdir.name + (" (synthetic data)" if meta["data"]["source"] == "synthetic" else "")
