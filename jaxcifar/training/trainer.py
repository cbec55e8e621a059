"""Trains a config, or resumes its run."""

import contextlib
import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import optax
from ml_collections import ConfigDict

from jaxcifar import data
from jaxcifar.run import damage, metrics, selection
from jaxcifar.run import workdir as workdirs
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.run.progress import RunLog
from jaxcifar.run.signals import Interrupt
from jaxcifar.system import devices, output
from jaxcifar.training import experiment, initial, losses, schedules, state
from jaxcifar.training.about import (
    check_data,
    draw_curves,
    make_metadata,
    print_introduction,
    young_averages,
)
from jaxcifar.training.epoch import TrainLoop
from jaxcifar.training.scoring import HeldOut, held_out_splits, score
from jaxcifar.training.state import Carry

EPOCH_SECONDS = "epoch_seconds"  # in the metadata of a step within an epoch: its time so far


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

    @property
    def num_epochs(self) -> int:
        """The number of finished epochs, fewer than the config's if the run stopped early."""
        batch_size = self.parts.config.batch_size
        return int(self.state.step) // (len(self.dataset.train.labels) // batch_size)


def train(
    config: ConfigDict,
    workdir: pathlib.Path,
    on_epoch: Callable[[metrics.Line], object] = lambda line: None,
) -> Result:
    """Trains `config` in `workdir`, from the latest checkpoint if there is one.

    After each epoch, once its metrics are in metrics.jsonl, process 0 calls `on_epoch` with them.

    Raises:
      UserError: the config or the data are wrong, or the folder belongs to another run.
    """
    parts = experiment.build_experiment(config)
    with output.busy("loading the data"):
        dataset = experiment.load_data(parts.config)
    continues = functools.partial(has_same_rates, parts, dataset)
    with output.busy("loading the initial weights"):  # before the workdir is created
        weights = None if workdirs.list_steps(workdir) else parts.initial_weights()
    if devices.is_leader():
        workdirs.check_workdir(workdir, config, continues)
    with output.busy("preparing the run"):
        run = Run.prepare(config, parts, dataset, weights)

    claim = workdirs.claim_workdir(workdir, config, continues)
    with open_workdir(workdir, claim, parts) as (checkpoints, interrupt):
        carry = run.latest(checkpoints)
        step = int(carry.state.step)
        saved = checkpoints.meta(step) if step in checkpoints.steps() else {}
        if saved:
            check_data(saved, dataset, workdir)
            run.meta.update({initial.KEY: saved[initial.KEY]} if initial.KEY in saved else {})
        if devices.is_leader():
            workdirs.lengthen(workdir, config)
        log = RunLog(
            workdir, config.num_epochs, run.steps_per_epoch, step, writing=devices.is_leader()
        )
        with log:
            print_introduction(log, parts, dataset, run.meta, carry.state, workdir)
            spent = saved.get(EPOCH_SECONDS, 0.0)  # only a step within an epoch has it
            carry = train_epochs(run, carry, log, checkpoints, interrupt, spent, on_epoch)
            carry = end_run(run, carry, log, checkpoints)
            saved_meta = checkpoints.meta(int(carry.state.step))
        if log.lines and devices.is_leader():
            draw_curves(workdir, log.lines, saved_meta)
    finished = int(carry.state.step) == run.last_step or run.has_ended(log)
    return Result(log.lines, carry.state, finished, saved_meta, parts, dataset)


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that a run needs besides its workdir."""

    parts: experiment.Experiment
    dataset: data.Dataset
    optimizer: optax.GradientTransformation
    schedule: schedules.Schedule
    loop: TrainLoop
    splits: dict[str, HeldOut]
    meta: dict[str, Any]
    stopping: selection.EarlyStopping
    weights: initial.Weights | None

    @classmethod
    def prepare(
        cls,
        config: ConfigDict,
        parts: experiment.Experiment,
        dataset: data.Dataset,
        weights: initial.Weights | None = None,
    ) -> "Run":
        """Returns the run of `config`; its metadata hold the config without added defaults."""
        optimizer, schedule = parts.optimizer(len(dataset.train.labels) // config.batch_size)
        loop = parts.train_loop(dataset.train, optimizer)
        meta = make_metadata(config, dataset, parts)
        meta |= {initial.KEY: weights.about} if weights else {}
        splits = held_out_splits(parts, dataset)
        stopping = selection.EarlyStopping(**parts.config.early_stopping)
        return cls(parts, dataset, optimizer, schedule, loop, splits, meta, stopping, weights)

    @property
    def steps_per_epoch(self) -> int:
        """The number of full batches in the training set."""
        return self.loop.steps_per_epoch

    @property
    def last_step(self) -> int:
        """The number of steps in the whole run."""
        return self.parts.config.num_epochs * self.steps_per_epoch

    def has_ended(self, log: RunLog) -> bool:
        """Returns whether the run diverged or stopped early, and takes no more steps."""
        return selection.has_ended(log.lines, self.stopping)

    def latest(self, checkpoints: Checkpoints) -> Carry:
        """Returns the latest checkpoint, or the initial state if there is none."""
        carry = checkpoints.restore_latest(self.parts.abstract_start(self.optimizer))
        if carry is None:
            return self.parts.start(self.optimizer, self.dataset.train.images, self.weights)
        return carry


def has_same_rates(parts: experiment.Experiment, dataset: data.Dataset, num_epochs: int) -> bool:
    """Returns whether the start of this run has the learning rates of a run of `num_epochs`."""
    c, steps_per_epoch = parts.config, len(dataset.train.labels) // parts.config.batch_size
    steps = np.arange(num_epochs * steps_per_epoch)
    old, new = (
        schedules.build_schedule(c.schedule, c.optimizer.learning_rate, steps_per_epoch, epochs)(
            steps
        )
        for epochs in (num_epochs, c.num_epochs)
    )
    return np.array_equal(old, new)


@contextlib.contextmanager
def open_workdir(
    workdir: pathlib.Path,
    claim: contextlib.AbstractContextManager[None],
    parts: experiment.Experiment,
) -> Iterator[tuple[Checkpoints, Interrupt]]:
    """Claims the workdir for one run; on exit, waits for the last save and frees the workdir."""
    unit = "epoch" if devices.is_accelerated(parts.mesh) else "step"
    with (
        devices.on_leader(claim),
        Checkpoints(workdir, writing=True) as checkpoints,
        Interrupt(unit) as interrupt,
        devices.exit_alone_on_error(),  # innermost, because leaving the others waits for processes
        damage.reporting(f"stopped in {workdir}; run the same command to continue"),
    ):
        yield checkpoints, interrupt


def train_epochs(
    run: Run,
    carry: Carry,
    log: RunLog,
    checkpoints: Checkpoints,
    interrupt: Interrupt,
    spent: float,
    on_epoch: Callable[[metrics.Line], object],
) -> Carry:
    """Trains until the last step, a signal, divergence or early stopping.

    Each epoch is scored and saved. `spent` is the time in seconds that the current epoch took
    before the run was resumed.
    """
    config, step = run.parts.config, int(carry.state.step)
    if step < run.last_step and not run.has_ended(log):
        began = time.perf_counter()
        log.say("compiling …")
        log.show_phase("compiling")
        unit, interrupt.unit = interrupt.unit, "compilation"
        run.loop.compile(carry, config.num_epochs)
        interrupt.unit = unit
        log.say(f"compiled in {time.perf_counter() - began:.1f} s")
    while step < run.last_step and not run.has_ended(log):
        if devices.any_process(interrupt.wanted):
            break
        epoch, began_at = divmod(step, run.steps_per_epoch)
        began = time.perf_counter()
        watch = Watch(log, interrupt, epoch + 1, began_at, config.batch_size)
        carry = run.loop.run(carry, watch)
        train_seconds = time.perf_counter() - began
        step = int(carry.state.step)
        if step % run.steps_per_epoch:
            if math.isfinite(carry.sums.loss):  # the sums of an unfinished epoch are saved too
                meta = run.meta | {EPOCH_SECONDS: spent + train_seconds}
                checkpoints.save(carry, meta, None)
            break
        log.show_phase("scoring")
        line = score(run.parts, run.schedule, carry, run.splits, epoch)
        examples = (run.steps_per_epoch - began_at) * config.batch_size
        line["examples_per_second"] = examples / train_seconds
        line["seconds"] = spent + time.perf_counter() - began
        spent = 0.0
        log.write_epoch(line)
        if not log.diverged:
            checkpoints.save(carry, run.meta, line.get(f"{selection.split_of(line)}_accuracy"))
        log.print_epoch()  # after saving, because the terminal may block, and so may `on_epoch`
        if devices.is_leader():
            on_epoch(log.lines[-1])
    return carry


def end_run(run: Run, carry: Carry, log: RunLog, checkpoints: Checkpoints) -> Carry:
    """Saves and returns the last finite state, and prints how the run ended and any warnings."""
    if log.diverged:
        log.print_diverged()
    elif run.stopping.due(log.lines):
        log.say(run.stopping.describe(log.lines))
    if log.diverged or not math.isfinite(carry.sums.loss):
        carry = run.latest(checkpoints)
    checkpoints.save(carry, run.meta, None)  # a step within an epoch is never the best
    if int(carry.state.step) == run.last_step:
        for note in young_averages(run.parts.config, carry.state):
            log.say(note)
    return carry


@dataclasses.dataclass(frozen=True)
class Watch:
    """Shows the progress after each program call and decides whether to continue."""

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
