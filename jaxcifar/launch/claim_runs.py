"""Finds the runs that the claims still need, and how long they take."""

import pathlib
import statistics
from collections.abc import Iterable, Sequence

from jaxcifar.claims import records, tables
from jaxcifar.claims.claim import Claim
from jaxcifar.claims.judge import judge_all
from jaxcifar.claims.records import Records
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.errors import UserError
from jaxcifar.launch.job import Folders, Job
from jaxcifar.launch.options import missing

RESULTS = pathlib.Path("results")
LONG_MINUTES = 60.0  # a run that takes this long gets all cores


def folders_of(out: pathlib.Path) -> Folders:
    """Returns the folders for `--out`; the workdirs are in OUT/checkpoints.

    The default, results/, is committed to git, so its workdirs are in checkpoints/reproduce, which
    is not.
    """
    default = out.resolve() == RESULTS.resolve()
    return Folders(out, pathlib.Path("checkpoints/reproduce") if default else out / "checkpoints")


def choose_claims(ids: str) -> list[Claim]:
    """Returns the claims whose ids start with one of a comma-separated list; all of them for ""."""
    chosen = []
    for prefix in filter(None, ids.split(",")):
        found = [claim for claim in CLAIMS if claim.id.startswith(prefix)]
        if not found:
            raise UserError(f"--claims: no claim {prefix!r}; --list shows them all")
        chosen += found
    return list(dict.fromkeys(chosen)) or list(CLAIMS)  # two prefixes may share a claim


def plan_jobs(
    claims: Iterable[Claim],
    seeds: int,
    found: Records,
    shard: str = "0/1",
    cores: int | None = None,
) -> list[Job]:
    """Returns a job for each run in the shard that the claims need and no record covers.

    The shortest come first. `cores` is the number of cores per run on CPU; None means one for a run
    of minutes and all for a run of hours.
    """
    needed = {run for claim in claims for run in claim.runs}
    every = [(run, seed) for run in RUNS if run in needed for seed in range(seeds)]
    jobs = [
        Job(
            run,
            seed,
            expected_minutes(run, found),
            int(RUNS[run] < LONG_MINUTES) if cores is None else cores,
            records.config_of(run, seed),
        )
        for run, seed in missing(every, found, shard)
    ]
    return sorted(jobs, key=lambda job: job.minutes)


def expected_minutes(run: str, found: Records) -> float:
    """Returns the median time of the recorded seeds, or the estimate for two CPU cores."""
    measured = [record["seconds"] / 60 for record in found[run].values()]
    return statistics.median(measured) if measured else RUNS[run]


def list_claims(claims: Sequence[Claim], seeds: int, found: Records) -> str:
    """Returns each claim's id, verdict and text, with its missing runs and their expected time."""
    lines, judged = [], judge_all(CLAIMS, found)
    for claim in claims:
        missing = plan_jobs([claim], seeds, found)
        lines.append(f"{claim.id:22} {tables.verdict(judged[claim]):35} {claim.text}")
        if missing:
            names, minutes = ", ".join(map(str, missing)), sum(job.minutes for job in missing)
            lines.append(f"{'':59}needs {names} (about {minutes:,.0f} min)")
    total = sum(job.minutes for job in plan_jobs(claims, seeds, found))
    lines.append(f"{len(claims)} claims; missing runs: about {total:,.0f} minutes on CPU")
    return "\n".join(lines)
