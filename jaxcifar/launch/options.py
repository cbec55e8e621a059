"""The options that `sweep` and `reproduce` share."""

import argparse
import math
from collections.abc import Sequence

from jaxcifar.claims.records import Records
from jaxcifar.errors import UserError
from jaxcifar.system.slots import divide_machine

MAX_SEEDS = 10_000


def add_options(parser: argparse.ArgumentParser, cores: int | None, cores_text: str) -> None:
    """Adds the options; `cores` is the default of --cores, and `cores_text` describes it."""
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="train with seeds 0 to N−1 (default: 1)"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help="number of parallel runs (default: 0, as many as the machine can use)",
    )
    parser.add_argument(
        "--cores",
        type=int,
        default=cores,
        metavar="C",
        help=f"CPU cores of each run; 0 means all (default: {cores_text})",
    )
    parser.add_argument(
        "--shard",
        default="0/1",
        metavar="I/N",
        help="train only every N-th run, starting with run I (counted from 0), to divide the runs"
        " among machines that share a folder (default: 0/1, all runs)",
    )
    parser.add_argument(
        "--runs_at_once",
        type=int,
        default=1,
        metavar="M",
        help="number of seeds to train as one program, for small models on a GPU; if it is above"
        " 1, nothing is saved before the end (default: 1)",
    )


def check_options(
    seeds: int, jobs: int, cores: int, budget_minutes: float = math.inf, at_once: int = 1
) -> None:
    """Raises a UserError if a number on the command line is out of range."""
    if seeds < 1:
        raise UserError(f"--seeds={seeds}; expected at least 1")
    if seeds > MAX_SEEDS:
        raise UserError(f"--seeds={seeds}; expected at most {MAX_SEEDS:,}")
    if not budget_minutes >= 0:
        raise UserError(f"--budget_minutes={budget_minutes:g}; expected at least 0")
    if at_once < 1 or (at_once > 1 and jobs > 1):
        raise UserError(
            f"--runs_at_once={at_once} --jobs={jobs}; expected --runs_at_once of at least 1 and,"
            " if it is above 1, --jobs of at most 1"
        )
    divide_machine(jobs, cores, 1)  # checks --jobs and --cores


def missing(every: Sequence[tuple[str, int]], found: Records, shard: str) -> list[tuple[str, int]]:
    """Returns the runs and seeds of a shard that have no record.

    Shard "I/N" has every N-th run, starting with run I (from 0). Shards divide all runs, missing or
    not, so they stay the same while records come in.

    Raises:
      UserError: the shard has another form.
    """
    try:
        index, number = (int(part) for part in shard.split("/"))
        if not 0 <= index < number:
            raise ValueError
    except ValueError as error:
        raise UserError(f"--shard={shard}; expected I/N with I from 0 to N − 1") from error
    return [(run, seed) for run, seed in every[index::number] if seed not in found[run]]
