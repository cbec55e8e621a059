"""Trains a config with every combination of some values and ranks the results.

python -m jaxcifar.sweep --config=FILE.py[:VARIANT] --sweep=KEY=V1,V2,… [--seeds=N] --out=DIR
"""

from jaxcifar.system import command

if __name__ == "__main__":
    command.leave_on_interrupt()  # the imports below take seconds

import argparse
import pathlib

from jaxcifar.claims import records
from jaxcifar.launch import jobs
from jaxcifar.launch.grid import make_grid, parse_swept, plan_jobs
from jaxcifar.launch.job import Folders
from jaxcifar.launch.options import add_options, check_options
from jaxcifar.launch.sweep_results import write_results
from jaxcifar.system import atomic


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    """Returns the options and the overrides of the config."""
    parser = command.command_parser(
        "sweep",
        "Trains a config with every combination of some values, each with several seeds.",
        epilog="Set any other value with --config.KEY=VALUE. Run the same command to continue a"
        " sweep that was stopped.",
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE.py[:VARIANT]", help="the config file to start from"
    )
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
        type=pathlib.Path,
        metavar="DIR",
        help="folder for the table, the charts, the records and the checkpoints",
    )
    add_options(parser, cores=1, cores_text="1")
    return parser.parse_known_args()


def main() -> None:
    """Runs the command; the exit status is 130 after a signal and 1 if a run failed."""
    known, words = parse_arguments()
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
