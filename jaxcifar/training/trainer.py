"""Trains a config, or resumes its run."""

import contextlib
import dataclasses
import math
import pathlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import optax
from ml_collections import ConfigDict

from jaxcifar import data
from jaxcifar.config import schema
from jaxcifar.errors import UserError
from jaxcifar.figures import curves, png
from jaxcifar.run import damage, provenance, selection
from jaxcifar.run import workdir as workdirs
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.run.progress import RunLog
from jaxcifar.run.signals import Interrupt
from jaxcifar.system import devices, output
from jaxcifar.training import experiment, initial, losses, optim, state
from jaxcifar.training.epoch import TrainLoop
from jaxcifar.training.scoring import HeldOut, held_out_splits, score
from jaxcifar.training.state import Carry


class Result(NamedTuple):
    """The result of a run.

    `lines` holds the metrics of each epoch. A diverged run counts as finished: its last line is for
    the epoch in which it diverged, and its state is the last one saved before that epoch.
    """

    lines: list[dict[str, Any]]
    state: state.State
    finished: bool
    meta: dict[str, Any]
    parts: experiment.Experiment
    dataset: data.Dataset


def train(config: ConfigDict, workdir: pathlib.Path) -> Result:
    """Trains `config` in `workdir`, from the latest checkpoint if there is one.

    Raises:
      UserError: the config or the data are wrong, or the folder belongs to another run.
    """
    parts = experiment.build_experiment(config)
    with output.busy("loading the data"):
        dataset = experiment.load_data(parts.config)
    if devices.is_leader():
        workdirs.check_workdir(workdir, config)
    with output.busy("preparing the run"):
        weights = None if workdirs.has_steps(workdir) else parts.initial_weights()
        run = Run.prepare(config, parts, dataset, weights)

    with open_workdir(workdir, config, parts) as (checkpoints, interrupt):
        carry = run.latest(checkpoints)
        step = int(carry.state.step)
        if step in checkpoints.steps():
            saved = checkpoints.meta(step)
            check_data(saved, dataset, workdir)
            run.meta.update({initial.KEY: saved[initial.KEY]} if initial.KEY in saved else {})
        log = RunLog(
            workdir, config.num_epochs, run.steps_per_epoch, step, writing=devices.is_leader()
        )
        with log:
            print_introduction(log, run, carry, workdir)
            carry = train_epochs(run, carry, log, checkpoints, interrupt)
            if log.diverged:
                log.print_diverged()
            if log.diverged or not math.isfinite(carry.sums.loss):
                carry = run.latest(checkpoints)  # the last finite state
            checkpoints.save(carry, run.meta, None)  # no accuracy: within an epoch, never the best
            saved_meta = checkpoints.meta(int(carry.state.step))
        if log.lines and devices.is_leader():
            draw_curves(workdir, log.lines, saved_meta)
    finished = int(carry.state.step) == run.last_step or log.diverged
    return Result(log.lines, carry.state, finished, saved_meta, parts, dataset)


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that a run needs besides its workdir."""

    parts: experiment.Experiment
    dataset: data.Dataset
    optimizer: optax.GradientTransformation
    schedule: optim.Schedule
    loop: TrainLoop
    splits: dict[str, HeldOut]
    meta: dict[str, Any]
    weights: initial.Weights | None

    @classmethod
    def prepare(
        cls,
        config: ConfigDict,
        parts: experiment.Experiment,
        dataset: data.Dataset,
        weights: initial.Weights | None = None,
    ) -> "Run":
        """Returns the run of `config`; its metadata holds the config without added defaults."""
        optimizer, schedule = parts.optimizer(len(dataset.train.labels) // config.batch_size)
        loop = parts.train_loop(dataset.train, optimizer)
        meta = describe(config, dataset, parts)
        meta |= {initial.KEY: weights.about} if weights else {}
        splits = held_out_splits(parts, dataset)
        return cls(parts, dataset, optimizer, schedule, loop, splits, meta, weights)

    @property
    def steps_per_epoch(self) -> int:
        """The number of full batches in the training set."""
        return self.loop.steps_per_epoch

    @property
    def last_step(self) -> int:
        """The number of steps in the whole run."""
        return self.parts.config.num_epochs * self.steps_per_epoch

    def latest(self, checkpoints: Checkpoints) -> Carry:
        """Returns the latest checkpoint, or the initial state if there is none."""
        carry = checkpoints.restore_latest(self.parts.abstract_start(self.optimizer))
        if carry is None:
            return self.parts.start(self.optimizer, self.dataset.train.images, self.weights)
        return carry


@contextlib.contextmanager
def open_workdir(
    workdir: pathlib.Path, config: ConfigDict, parts: experiment.Experiment
) -> Iterator[tuple[Checkpoints, Interrupt]]:
    """Claims the workdir for one run; on exit, waits for the last save and releases it."""
    unit = "epoch" if devices.is_accelerated(parts.mesh) else "step"
    with (
        devices.on_leader(workdirs.claim_workdir(workdir, config)),
        Checkpoints(workdir, writing=True) as checkpoints,
        Interrupt(unit) as interrupt,
        devices.exit_alone_on_error(),  # innermost, because the others wait for other processes
        damage.as_user_error(f"stopped in {workdir}; run the same command to continue"),
    ):
        yield checkpoints, interrupt


def train_epochs(
    run: Run, carry: Carry, log: RunLog, checkpoints: Checkpoints, interrupt: Interrupt
) -> Carry:
    """Trains to the last step, until a signal, or until divergence; scores and saves each epoch."""
    config, step = run.parts.config, int(carry.state.step)
    if step < run.last_step and not log.diverged:
        began = time.perf_counter()
        log.say("compiling …")
        log.show_phase("compiling")
        run.loop.compile(carry, config.num_epochs)
        log.say(f"compiled in {time.perf_counter() - began:.1f} s")
    while step < run.last_step and not (devices.any_process(interrupt.wanted) or log.diverged):
        epoch, began_at = divmod(step, run.steps_per_epoch)
        began = time.perf_counter()
        watch = Watch(log, interrupt, epoch + 1, began_at, config.batch_size)
        carry = run.loop.run(carry, watch)
        train_seconds = time.perf_counter() - began
        step = int(carry.state.step)
        if step % run.steps_per_epoch:
            break  # stopped within an epoch; its sums are saved with the state
        log.show_phase("scoring")
        line = score(run.parts, run.schedule, carry, run.splits, epoch)
        examples = (run.steps_per_epoch - began_at) * config.batch_size
        line["examples_per_second"] = examples / train_seconds
        line["seconds"] = time.perf_counter() - began
        log.write_epoch(line)
        if not log.diverged:
            checkpoints.save(carry, run.meta, line.get(f"{selection.split(line)}_accuracy"))
        log.print_epoch()  # last: a terminal may block
    return carry


@dataclasses.dataclass(frozen=True)
class Watch:
    """Called after each program call: shows the progress and decides whether to continue."""

    log: RunLog
    interrupt: Interrupt
    epoch: int
    began_at: int
    batch_size: int

    def __call__(self, sums: losses.Sums, done: int, seconds: float) -> bool:
        """Returns False if a signal asked to stop; `done` counts the steps of the epoch."""
        rate = (done - self.began_at) * self.batch_size / seconds
        self.log.progress(self.epoch, done, sums, rate)
        return not devices.any_process(self.interrupt.wanted)


def describe(
    config: ConfigDict, dataset: data.Dataset, parts: experiment.Experiment
) -> dict[str, Any]:
    """Returns the JSON saved with each checkpoint, which describes its weights and their origin."""
    return {
        "config": schema.to_json(config),
        "class_names": list(dataset.class_names),
        "mean": list(config.augment.mean),
        "std": list(config.augment.std),
        "data": {"source": dataset.source, "checksum": dataset.checksum},
        "images": {"train": len(dataset.train.labels), "test": len(dataset.test.labels)},
        "device": devices.describe(parts.mesh),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def check_data(meta: dict[str, Any], dataset: data.Dataset, workdir: pathlib.Path) -> None:
    """Raises a UserError if the run was trained on other data so far."""
    advice = "choose another --workdir, or restore the original data"
    checksum, class_names = meta["data"]["checksum"], meta["class_names"]
    if difference := data.compare_data(dataset, workdir, checksum, class_names, advice):
        raise UserError(f"{difference}; {advice}")


def print_introduction(log: RunLog, run: Run, carry: Carry, workdir: pathlib.Path) -> None:
    """Prints data, model, devices, workdir, and the step from which training resumes."""
    dataset, parts, step = run.dataset, run.parts, int(carry.state.step)
    train, test = len(dataset.train.labels), len(dataset.test.labels)
    log.say(f"data: {dataset.source}, {train:,} training and {test:,} test images")
    log.say(f"      from {dataset.origin}")
    size = experiment.describe_parameters(carry.state.params)
    log.say(f"model: {parts.config.model.name}, {size}, {parts.config.compute_dtype}")
    if not step and (start := run.meta.get(initial.KEY)):
        log.say(f"initial weights: {start['name']}, step {start['step']:,}")
        if start["left_out"]:
            log.say(f"      without {', '.join(start['left_out'])}, which do not fit")
        if any(list(parts.config.augment[key]) != list(start[key]) for key in ("mean", "std")):
            log.say(f"      WARNING: trained with mean {start['mean']} and std {start['std']}")
    log.say(f"device: {devices.describe(parts.mesh)}")
    log.say(f"workdir: {workdir}" + (f", resumed at step {step:,}" if step else ""))


def draw_curves(workdir: pathlib.Path, lines: list[dict[str, Any]], meta: dict[str, Any]) -> None:
    """Plots the curves of the run; the title says if the data are synthetic."""
    note = " (synthetic data)" if meta["data"]["source"] == "synthetic" else ""
    name = workdir.resolve().name
    charts = curves.learning_curves({name: [lines]})
    png.draw_charts(workdir / "curves.png", charts, name + note)
