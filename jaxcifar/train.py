"""Trains what a config page describes, or resumes where it stopped.

python -m jaxcifar.train --config=configs/adaptive.py [--workdir=DIR] [--config.KEY=VALUE ...]
"""

import argparse
import math
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxcifar import backend, data, experiment
from jaxcifar import config as configs
from jaxcifar.errors import run_command
from jaxcifar.run import plots, provenance
from jaxcifar.run import workdir as workdirs
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.run.interrupt import Interrupt
from jaxcifar.run.log import RunLog, number
from jaxcifar.training import losses, parallel, state
from jaxcifar.training.state import Carry


class Result(NamedTuple):
    """How training ended: metrics of each epoch, the state, whether it finished, what made it."""

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
    workdirs.claim(workdir, config)

    steps_per_epoch = len(dataset.train.labels) // config.batch_size
    last_step = config.num_epochs * steps_per_epoch
    optimizer, schedule = parts.optimizer(steps_per_epoch)
    loop = parts.train_loop(dataset.train, optimizer)
    held_out = {"test": dataset.test}
    if len(dataset.validation.labels):
        held_out["validation"] = dataset.validation
    selection = list(held_out)[-1]  # the best step is chosen on the test set only where it must be
    predictors = {name: parts.predictor(split.images) for name, split in held_out.items()}
    meta = describe(config, dataset, parts)

    with (
        workdirs.lock(workdir),
        Checkpoints(workdir, writing=True) as checkpoints,
        Interrupt() as interrupt,
    ):
        fresh = parts.start(optimizer)
        carry = checkpoints.restore_latest(like=fresh) or fresh
        step = int(carry.state.step)
        with RunLog(workdir, config.num_epochs, steps_per_epoch, step) as log:
            introduce(log, dataset, carry, parts, workdir)
            if step < last_step:
                log.say(f"compiled in {timed(lambda: loop.compile(carry))[1]:.1f} s")
            while step < last_step and not interrupt.wanted:
                epoch, began_at = divmod(step, steps_per_epoch)

                def proceed(sums: losses.Sums, done: int, seconds: float) -> bool:
                    rate = (done - began_at) * config.batch_size / seconds  # noqa: B023
                    log.progress(epoch + 1, done, sums, rate)  # noqa: B023
                    return not interrupt.wanted

                began = time.perf_counter()
                carry, train_seconds = timed(lambda: loop.run(carry, proceed))  # noqa: B023
                step = int(carry.state.step)
                if step % steps_per_epoch:
                    break  # asked to stop within the epoch; its sums are saved with it
                line = {
                    "epoch": epoch + 1,
                    "step": step,
                    "learning_rate": float(schedule(step - 1)),
                }
                line |= prefixed("train", carry.sums)
                for name, split in held_out.items():
                    logits, _ = predictors[name](carry.state.eval_variables())
                    line |= prefixed(name, losses.evaluate(parts.loss, logits, split.labels))
                examples = (steps_per_epoch - began_at) * config.batch_size
                line["examples_per_second"] = examples / train_seconds
                line["seconds"] = time.perf_counter() - began
                log.epoch(line)
                carry = Carry(carry.state, parallel.place(losses.zero_sums(), parts.mesh))
                checkpoints.save(carry, meta, line[f"{selection}_accuracy"])
            checkpoints.save(carry, meta, -math.inf)  # within an epoch: never the best
            meta = checkpoints.meta(step)  # of a run that had finished: as it was then
        if log.lines:
            plots.curves(workdir / "curves.png", {workdir.name: log.lines}, title(meta, workdir))
    return Result(log.lines, carry.state, step == last_step, meta, parts, dataset)


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


def prefixed(split: str, sums: losses.Sums) -> dict[str, float]:
    """Returns {split_loss, split_accuracy}."""
    return {f"{split}_{key}": value for key, value in sums.means().items()}


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Returns the function's result and how many seconds it took."""
    began = time.perf_counter()
    return function(), time.perf_counter() - began


def title(meta: dict[str, Any], workdir: pathlib.Path) -> str:
    """Returns the heading of a run's pictures, which says so where the data are synthetic."""
    return workdir.name + (" (synthetic data)" if meta["data"]["source"] == "synthetic" else "")


def summary(result: Result, source: str) -> str:
    """Returns the last lines, as report 000 prints them."""
    last = result.lines[-1]
    selection = "validation" if "validation_accuracy" in last else "test"
    key = f"{selection}_accuracy"
    best = max(result.lines, key=lambda line: line[key])
    rates = sorted(line["examples_per_second"] for line in result.lines)
    return (
        f"{source} data: loss {number(last['train_loss'])},"
        f" train acc {number(last['train_accuracy'])},"
        f" test acc {number(last['test_accuracy'])} last,"
        f" {number(best['test_accuracy'])} best (epoch {best['epoch']}, selected on {selection})\n"
        f"{rates[len(rates) // 2]:,.1f} examples/sec on {result.meta['device']}"
    )


def parse(arguments: list[str]) -> tuple[str, pathlib.Path, list[str]]:
    """Returns the config page, the workdir and the config overrides of a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxcifar.train",
        description="Trains a config, or resumes it where it stopped.",
        epilog="Any value of the config is set by --config.KEY=VALUE, such as "
        "--config.optimizer.learning_rate=3e-4. The same command again resumes.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="FILE.py[:VARIANT]", help="the page")
    parser.add_argument("--workdir", help="default: checkpoints/<name of the page and variant>")
    known, overrides = parser.parse_known_args(arguments)
    workdir = known.workdir or f"checkpoints/{configs.name(known.config)}"
    return known.config, pathlib.Path(workdir), overrides


def main() -> None:
    """Runs the command; exit status 130 where it was stopped before the end."""
    page, workdir, overrides = parse(sys.argv[1:])
    backend.configure()
    provenance.commit()
    config = configs.load(page, overrides)
    result = train(config, workdir)
    if not result.finished:
        command = " ".join(["python -m jaxcifar.train", *sys.argv[1:]])
        print(f"stopped and saved at step {int(result.state.step):,}; to resume: {command}")
        sys.exit(130)
    print(summary(result, config.data.source))
    print(f"next: python -m jaxcifar.evaluate --checkpoint={workdir}")


if __name__ == "__main__":
    run_command(main)
