"""Trains the runs of the reports' claims and judges the claims."""

from jaxcifar.system import command

if __name__ == "__main__":
    command.start_command()  # the imports below take seconds

import argparse
import math

from jaxcifar.claims import records
from jaxcifar.claims.reports import RUNS
from jaxcifar.claims.results import write_table
from jaxcifar.launch import claim_runs, jobs
from jaxcifar.launch.options import add_options, check_options
from jaxcifar.system import atomic
from jaxcifar.system.files import expand_home


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = command.command_parser(
        "reproduce",
        "Trains the runs behind the reports' claims, the shortest first, and judges each claim.",
        ("--list", "--claims=002,003 --seeds=3 --budget_minutes=60"),
        ("Finished runs are not repeated. The same command continues the others.",),
    )
    parser.add_argument(
        "--claims",
        default="",
        metavar="ID,…",
        help="claims to reproduce, by id or the start of an id (default: all)",
    )
    parser.add_argument(
        "--budget_minutes",
        type=float,
        default=math.inf,
        metavar="M",
        help="save and stop after M minutes (default: no limit)",
    )
    parser.add_argument(
        "--out",
        type=expand_home,
        default=claim_runs.RESULTS,
        metavar="DIR",
        help="folder for the tables, the charts and the records (default: results). Checkpoints go"
        " to DIR/checkpoints, or for the default to checkpoints/reproduce",
    )
    parser.add_argument(
        "--list", action="store_true", help="list the claims and the runs they need; train nothing"
    )
    parser.add_argument(
        "--table", action="store_true", help="write the tables and the charts; train nothing"
    )
    add_options(parser, cores=None, cores_text="1 for a run under an hour, otherwise all")
    return parser


def main() -> None:
    """Runs the command; the exit status is 130 after a signal and 1 if a run failed."""
    options = make_parser().parse_args()
    at_once, budget = options.runs_at_once, options.budget_minutes
    check_options(options.seeds, options.jobs, options.cores or 0, budget, at_once)
    claims = claim_runs.choose_claims(options.claims)
    if options.table:
        write_table(options.out)
        return
    found = records.read(options.out, RUNS)
    if options.list:
        print(claim_runs.list_claims(claims, options.seeds, found))
        return
    missing = claim_runs.plan_jobs(claims, options.seeds, found, options.shard, options.cores)
    atomic.check_writable(options.out, "--out")
    folders = claim_runs.folders_of(options.out)
    outcome = jobs.run_all(missing, folders, options.jobs, budget, at_once)
    if options.shard == "0/1" and not outcome.stopped:
        write_table(options.out)
    jobs.exit_with(outcome)


if __name__ == "__main__":
    command.run_command(main)
