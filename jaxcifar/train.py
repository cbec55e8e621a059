"""Trains a config, or resumes its run.

python -m jaxcifar.train --config=configs/adaptive.py [--workdir=DIR] [--config.KEY=VALUE ...]
    [--init_from=DIR|FILE] [--find_rate | --profile=STEPS | --summary | --show_batch]
    [--distributed [--coordinator=HOST:PORT --processes=N --process=I]]
"""

from jaxcifar.system import command

if __name__ == "__main__":
    command.start_command()  # the imports below take seconds

import argparse
import json
import statistics
import sys
from typing import Any

from ml_collections import ConfigDict

from jaxcifar.config import files, overrides, schema
from jaxcifar.errors import UserError
from jaxcifar.run import metrics, provenance, selection
from jaxcifar.run.progress import format_metric
from jaxcifar.system import backend, devices, output
from jaxcifar.system.files import expand_home
from jaxcifar.training import find_rate, preview, profiling
from jaxcifar.training.trainer import Result, train


def summary(result: Result, num_epochs: int, source: str) -> str:
    """Returns the summary of a finished run, in the format of report 000."""
    if problem := metrics.find_problem(result.lines, num_epochs):
        return f"finished, without a summary: {problem}"
    last = result.lines[-1]
    split = selection.split_of(last)
    best = selection.best(result.lines, lambda line: line.get(f"{split}_accuracy"))
    rates = [x["examples_per_second"] for x in result.lines if "examples_per_second" in x]
    rate = statistics.median(rates or [0.0])
    return (
        f"{source} data: loss {format_metric(last.get('train_loss'))},"
        f" train acc {format_metric(last.get('train_accuracy'))},"
        f" test acc {format_metric(last.get('test_accuracy'))} last,"
        f" {format_metric(best.get('test_accuracy'))} best"
        f" (epoch {best['epoch']}, selected on {split})\n"
        f"{rate:,.1f} examples/sec on {result.meta['device']}"
    )


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = command.command_parser(
        "train",
        "Trains a config. If the run was stopped, the same command resumes it.",
        (
            "--config=configs/quickstart.py",
            "--config=configs/quickstart.py --workdir=checkpoints/slow \\\n"
            "      --config.optimizer.learning_rate=3e-4 --config.num_epochs=2",
        ),
        ("--config.KEY=VALUE sets any value of the config.",),
    )
    command.add_config_option(parser)
    text = "the folder of the run (default: checkpoints/<name of the config and variant>)"
    parser.add_argument("--workdir", metavar="DIR", help=text)
    text = (
        "start from the latest weights of the run in DIR, or from FILE, which export"
        " --to=safetensors wrote; the same as --config.init_from (default: random weights)"
    )
    parser.add_argument("--init_from", metavar="DIR|FILE", help=text)
    instead = parser.add_argument_group("diagnostics, instead of training")
    only = instead.add_mutually_exclusive_group()
    text = (
        "raise the learning rate step by step, plot the loss and suggest a rate; writes to a new"
        " folder beside the workdir"
    )
    only.add_argument("--find_rate", action="store_true", help=text)
    text = (
        "profile this many steps of one epoch, print the slowest operations and write a trace to a"
        " new folder beside the workdir (default: none)"
    )
    only.add_argument("--profile", type=int, metavar="STEPS", help=text)
    text = "print the layers of the net with their shapes, parameters and operations"
    only.add_argument("--summary", action="store_true", help=text)
    text = (
        "write a picture of an augmented batch with its labels to a new folder beside the workdir"
    )
    only.add_argument("--show_batch", action="store_true", help=text)
    multi = parser.add_argument_group("multi-process training")
    text = (
        "train in several processes; SLURM, Open MPI and Kubernetes provide the options below;"
        " elsewhere, pass all three to every process"
    )
    multi.add_argument("--distributed", action="store_true", help=text)
    multi.add_argument("--coordinator", metavar="HOST:PORT", help="the address of process 0")
    multi.add_argument("--processes", type=int, metavar="N", help="the number of processes")
    text = "the index of this process, 0 to N − 1"
    multi.add_argument("--process", type=int, metavar="I", help=text)
    return parser


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the options of a command line and the remaining words, which override the config."""
    known, words = make_parser().parse_known_args(arguments)
    joining = known.coordinator, known.processes, known.process
    if not known.distributed and any(option is not None for option in joining):
        raise UserError("--coordinator, --processes and --process need --distributed")
    if known.init_from is not None:
        words.append(f"--config.init_from={known.init_from}")
    default = f"checkpoints/{files.config_name(known.config)}"
    known.workdir = expand_home(known.workdir or default)
    return known, words


def identity(config: ConfigDict, known: argparse.Namespace) -> dict[str, Any]:
    """Returns what must be the same in all processes of a run, except the data."""
    flat = schema.flatten(json.loads(schema.to_json(config)))
    flat.pop("data.dir", None)  # each machine may have its own copy
    options = {name: str(getattr(known, name)) for name in ("workdir", "find_rate", "profile")}
    return flat | options | {"commit": provenance.commit()} | provenance.versions()


def main() -> None:
    """Runs the command; exits with 130 if a signal stopped the run, with 1 if it diverged."""
    known, words = parse(sys.argv[1:])
    backend.configure()
    provenance.commit()
    config = overrides.load_config(known.config, words)
    if known.distributed:
        devices.join(known.coordinator, known.processes, known.process)
    with devices.exit_alone_on_error():
        if known.distributed:
            devices.check_same(identity(config, known))
        if known.summary:
            return preview.print_summary(config)
        if known.show_batch:
            return preview.show_batch(config, known.workdir)
        if known.find_rate:
            return find_rate.run(config, known.workdir)
        if known.profile is not None:
            return profiling.run(config, known.workdir, known.profile)
        result = train(config, known.workdir)
    if metrics.diverged(result.lines):
        sys.exit(1)
    if not result.finished:
        again = command.command_line("train", *sys.argv[1:])
        output.say(f"stopped and saved at step {int(result.state.step):,}; to resume: {again}")
        sys.exit(130)
    if devices.is_leader():
        output.say(summary(result, result.num_epochs, config.data.source))
        words = [f"--checkpoint={known.workdir}"]
        words += ["--step=best"] * bool(result.parts.config.early_stopping.patience)
        output.say(f"next: {command.command_line('evaluate', *words)}")


if __name__ == "__main__":
    command.run_command(main)
