"""Which runs the claims still need, and how long they take."""

import pathlib
import statistics
from collections.abc import Iterable, Sequence

from jaxcifar.claims import records, tables
from jaxcifar.claims.judge import Claim, judge_all
from jaxcifar.claims.records import Records
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.errors import UserError
from jaxcifar.launch import jobs

WORKDIRS = pathlib.Path("checkpoints/reproduce")


HOURS = 60.0  # minutes; a run that takes as long has all the cores


BY_LENGTH = -1  # the cores of a run: all of them or one, by that


def choose(ids: str) -> list[Claim]:
    """Returns the claims of a comma-separated list of ids, or prefixes of ids; all for ""."""
    chosen = []
    for wanted in filter(None, ids.split(",")):
        found = [claim for claim in CLAIMS if claim.id.startswith(wanted)]
        if not found:
            raise UserError(f"--claims: no claim {wanted!r}; --list shows them all")
        chosen += found
    return chosen or list(CLAIMS)


def plan(
    chosen: Iterable[Claim], seeds: int, found: Records, shard: str = "0/1", cores: int = BY_LENGTH
) -> list[jobs.Job]:
    """Returns the missing runs of the claims that are in the shard, the cheapest first.

    Shards are of all the runs, so that they stay the same while records come in. `cores` of each
    on CPU; BY_LENGTH: one for a run of minutes and all for one of hours.
    """
    wanted = {run for claim in chosen for run in claim.runs}
    every = [(run, seed) for run in RUNS if run in wanted for seed in range(seeds)]
    missing = [(run, seed) for run, seed in jobs.shard(every, shard) if seed not in found[run]]
    planned = [
        jobs.Job(
            run,
            seed,
            minutes_of(run, found),
            int(RUNS[run] < HOURS) if cores == BY_LENGTH else cores,
            records.config_of(run, seed),
        )
        for run, seed in missing
    ]
    return sorted(planned, key=lambda job: job.minutes)


def minutes_of(run: str, found: Records) -> float:
    """Returns what a run takes: as measured where it was, else the estimate for two CPU cores."""
    measured = [record["seconds"] / 60 for record in found[run].values()]
    return statistics.median(measured) if measured else RUNS[run]


def listing(chosen: Sequence[Claim], seeds: int, found: Records) -> str:
    """Returns a line per claim: id, verdict, what it still needs and the estimated time."""
    lines, judged = [], judge_all(CLAIMS, found)
    for claim in chosen:
        todo = plan([claim], seeds, found)
        needs = ", ".join(map(str, todo))
        lines.append(f"{claim.id:22} {tables.verdict(judged[claim]):35} {claim.text}")
        if todo:
            minutes = sum(job.minutes for job in todo)
            lines.append(f"{'':59}needs {needs} (about {minutes:,.0f} min)")
    total = sum(job.minutes for job in plan(chosen, seeds, found))
    lines.append(f"{len(chosen)} claims; missing runs: about {total:,.0f} minutes (CPU estimate)")
    return "\n".join(lines)
