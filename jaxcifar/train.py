"""Trains what a config page describes, or resumes where it stopped.

python -m jaxcifar.train --config=configs/adaptive.py [--workdir=DIR] [--config.KEY=VALUE ...]
    [--find_rate | --profile=STEPS]
    [--distributed [--coordinator=HOST:PORT --processes=N --process=I]]
"""

from jaxcifar.system import command

if __name__ == "__main__":
    command.leave_on_interrupt()  # what follows takes seconds to import

import argparse
import pathlib
import statistics
import sys

from jaxcifar.config import files, overrides
from jaxcifar.run import metrics, provenance, selection
from jaxcifar.run.progress import number
from jaxcifar.system import backend, devices
from jaxcifar.training import find_rate, profiling
from jaxcifar.training.trainer import Result, train


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


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the options of a command line, and the words that change the config."""
    parser = command.command_parser(
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
    known.workdir = pathlib.Path(known.workdir or f"checkpoints/{files.config_name(known.config)}")
    return known, words


def main() -> None:
    """Runs the command; exit status 130 where it was stopped before the end, 1 if it diverged."""
    known, words = parse(sys.argv[1:])
    backend.configure()
    provenance.commit()
    config = overrides.load_config(known.config, words)
    if known.distributed:
        devices.join(known.coordinator, known.processes, known.process)
    with devices.ending_alone():
        if known.find_rate:
            return find_rate.run(config, known.workdir)
        if known.profile is not None:
            return profiling.run(config, known.workdir, known.profile)
        result = train(config, known.workdir)
    if metrics.diverged(result.lines):
        sys.exit(1)
    if not result.finished:
        again = command.command_line("train", *sys.argv[1:])
        print(f"stopped and saved at step {int(result.state.step):,}; to resume: {again}")
        sys.exit(130)
    if devices.is_leader():
        print(summary(result, config.num_epochs, config.data.source))
        print(f"next: {command.command_line('evaluate', f'--checkpoint={known.workdir}')}")


if __name__ == "__main__":
    command.run_command(main)
