"""Trains every combination of some config values and ranks them."""

from jaxcifar.system import command

if __name__ == "__main__":
    command.start_command()  # the imports below take seconds

import argparse

from jaxcifar.claims import records
from jaxcifar.launch import jobs
from jaxcifar.launch.grid import make_grid, parse_swept, plan_jobs
from jaxcifar.launch.job import Folders
from jaxcifar.launch.options import add_options, check_options
from jaxcifar.launch.sweep_results import write_results
from jaxcifar.system import atomic
from jaxcifar.system.files import expand_home


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = command.command_parser(
        "sweep",
        "Trains a config with every combination of some values, each with one or more seeds.",
        (
            "--config=configs/quickstart.py --sweep=optimizer.learning_rate=1e-3,3e-4 \\\n"
            "      --out=sweeps/quickstart",
            "--config=configs/simple_cnn.py:batchnorm --out=sweeps/grid --seeds=3 \\\n"
            "      --sweep=optimizer.learning_rate=0.1,0.01 --sweep=batch_size=64,128",
        ),
        (
            "--config.KEY=VALUE sets any other value. The same command continues a sweep that was",
            "stopped.",
        ),
    )
    command.add_config_option(parser)
    parser.add_argument(
        "--sweep",
        required=True,
        action="append",
        metavar="KEY=V1,V2,…",
        help="a config key and its values; repeat the option for a grid",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=expand_home,
        metavar="DIR",
        help="folder for the table, the charts, the records and the checkpoints",
    )
    add_options(parser, cores=1, cores_text="1")
    return parser


def main() -> None:
    """Runs the command; the exit status is 130 after a signal and 1 if a run failed."""
    known, words = make_parser().parse_known_args()
    check_options(known.seeds, known.jobs, known.cores, at_once=known.runs_at_once)
    grid = make_grid(known.config, [parse_swept(text) for text in known.sweep], words)
    found = records.read(known.out, grid.runs, grid.config_of)
    missing = plan_jobs(grid, known.seeds, found, known.shard, known.cores)
    atomic.check_writable(known.out, "--out")
    folders = Folders(known.out, known.out / "checkpoints")
    outcome = jobs.run_all(missing, folders, known.jobs, at_once=known.runs_at_once)
    write_results(known.out, grid, records.read(known.out, grid.runs, grid.config_of))
    jobs.exit_with(outcome)


if __name__ == "__main__":
    command.run_command(main)
