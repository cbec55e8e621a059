"""Trains what a config page describes, or resumes where it stopped.

python -m jaxcifar.train --config=configs/adaptive.py [--workdir=DIR] [--config.KEY=VALUE ...]
    [--find_rate | --profile=STEPS]
    [--distributed [--coordinator=HOST:PORT --processes=N --process=I]]
"""

from jaxcifar import errors

if __name__ == "__main__":
    errors.leave_on_interrupt()  # what follows takes seconds to import

import argparse
import dataclasses
import math
import pathlib
import shlex
import statistics
import sys
import time
from typing import Any, NamedTuple

import optax
from ml_collections import ConfigDict

from jaxcifar import backend, data, experiment, find_rate, overrides, profiling
from jaxcifar import config as configs
from jaxcifar.run import damage, metrics, plots, provenance, selection
from jaxcifar.run import workdir as workdirs
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.run.interrupt import Interrupt
from jaxcifar.run.log import RunLog, number
from jaxcifar.scoring import held_out, score
from jaxcifar.training import losses, parallel, state
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
    if leader := parallel.is_leader():
        workdirs.check(workdir, config)

    steps_per_epoch = len(dataset.train.labels) // config.batch_size
    last_step = config.num_epochs * steps_per_epoch
    optimizer, schedule = parts.optimizer(steps_per_epoch)
    loop = parts.train_loop(dataset.train, optimizer)
    splits = held_out(parts, dataset)
    meta = describe(config, dataset, parts)

    with (
        parallel.led(workdirs.claim(workdir, config)),
        Checkpoints(workdir, writing=True) as checkpoints,
        Interrupt("epoch" if parallel.is_accelerated(parts.mesh) else "step") as interrupt,
        parallel.ending_alone(),  # before what is above waits for the other processes
        damage.told(f"stopped in {workdir}, where the same command goes on"),
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
            while step < last_step and not (parallel.anywhere(interrupt.wanted) or log.diverged):
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
        return not parallel.anywhere(self.interrupt.wanted)


def describe(
    config: ConfigDict, dataset: data.Dataset, parts: experiment.Experiment
) -> dict[str, Any]:
    """Returns the JSON kept with each checkpoint: enough to use the weights without this run."""
    return {
        "config": configs.to_json(config),
        "class_names": list(dataset.class_names),
        "mean": list(config.augment.mean),
        "std": list(config.augment.std),
        "data": {"source": dataset.source, "checksum": dataset.checksum},
        "device": parallel.describe(parts.mesh),
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
    log.say(f"device: {parallel.describe(parts.mesh)}")
    step = int(carry.state.step)
    log.say(f"workdir: {workdir}" + (f", resumed at step {step:,}" if step else ""))


def title(meta: dict[str, Any], workdir: pathlib.Path) -> str:
    """Returns the heading of a run's pictures, which says so where the data are synthetic."""
    return workdir.name + (" (synthetic data)" if meta["data"]["source"] == "synthetic" else "")


def summary(result: Result, num_epochs: int, source: str) -> str:
    """Returns the last lines, as report 000 prints them."""
    if wrong := metrics.problem(result.lines, num_epochs):
        return f"finished, without a summary: {wrong}"
    last = result.lines[-1]
    split = selection.split(last)
    best = selection.best(result.lines, lambda line: line.get(f"{split}_accuracy"))
    rate = statistics.median(line["examples_per_second"] for line in result.lines)
    return (
        f"{source} data: loss {number(last['train_loss'])},"
        f" train acc {number(last['train_accuracy'])},"
        f" test acc {number(last['test_accuracy'])} last,"
        f" {number(best['test_accuracy'])} best (epoch {best['epoch']}, selected on {split})\n"
        f"{rate:,.1f} examples/sec on {result.meta['device']}"
    )


def command(module: str, *words: str) -> str:
    """Returns a command line that can be pasted: this Python, and every word quoted."""
    return shlex.join([sys.executable, "-m", f"jaxcifar.{module}", *words])


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the options of a command line, and the words that change the config."""
    parser = errors.command_parser(
        "train",
        "Trains a config, or resumes it where it stopped.",
        epilog="Any value of the config is set by --config.KEY=VALUE, such as "
        "--config.optimizer.learning_rate=3e-4. The same command again resumes.",
    )
    parser.add_argument("--config", required=True, metavar="FILE.py[:VARIANT]", help="the page")
    parser.add_argument("--workdir", help="default: checkpoints/<name of the page and variant>")
    instead = parser.add_argument_group("to train no run, but see of its first steps")
    only = instead.add_mutually_exclusive_group()
    text = "the loss while the rate rises: a picture and a suggestion, beside the workdir"
    only.add_argument("--find_rate", action="store_true", help=text)
    text = "the costliest operations of a step, and a trace, beside the workdir"
    only.add_argument("--profile", type=int, metavar="STEPS", help=text)
    several = parser.add_argument_group("of several processes, on one machine or many, each says")
    several.add_argument("--distributed", action="store_true", help="SLURM, … says the rest, or:")
    several.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    several.add_argument("--processes", type=int, metavar="N")
    several.add_argument("--process", type=int, metavar="I", help="from 0 to N − 1")
    known, words = parser.parse_known_args(arguments)
    known.workdir = pathlib.Path(known.workdir or f"checkpoints/{configs.name(known.config)}")
    return known, words


def main() -> None:
    """Runs the command; exit status 130 where it was stopped before the end, 1 if it diverged."""
    known, words = parse(sys.argv[1:])
    backend.configure()
    provenance.commit()
    config = overrides.load(known.config, words)
    if known.distributed:
        parallel.join(known.coordinator, known.processes, known.process)
    with parallel.ending_alone():
        if known.find_rate:
            return find_rate.run(config, known.workdir)
        if known.profile is not None:
            return profiling.run(config, known.workdir, known.profile)
        result = train(config, known.workdir)
    if metrics.diverged(result.lines):
        sys.exit(1)
    if not result.finished:
        again = command("train", *sys.argv[1:])
        print(f"stopped and saved at step {int(result.state.step):,}; to resume: {again}")
        sys.exit(130)
    if parallel.is_leader():
        print(summary(result, config.num_epochs, config.data.source))
        print(f"next: {command('evaluate', f'--checkpoint={known.workdir}')}")


if __name__ == "__main__":
    errors.run_command(main)
