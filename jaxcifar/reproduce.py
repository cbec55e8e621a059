"""Re-runs what the reports claim, and judges it.

python -m jaxcifar.reproduce [--claims=ID,…] [--seeds=N] [--budget_minutes=M] [--out=results]
python -m jaxcifar.reproduce --list | --table
"""

import argparse
import pathlib
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxcifar import backend, files
from jaxcifar.claims import figures, records, tables
from jaxcifar.claims.judge import Claim, judge_all
from jaxcifar.claims.records import Records
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.errors import UserError, run_command
from jaxcifar.run import provenance, workdir

WORKDIRS = pathlib.Path("checkpoints/reproduce")


class Job(NamedTuple):
    """A run with a seed that is still to do, and the minutes it is expected to take."""

    minutes: float
    run: str
    seed: int


def choose(ids: str) -> list[Claim]:
    """Returns the claims of a comma-separated list of ids, or prefixes of ids; all for ""."""
    chosen = []
    for wanted in filter(None, ids.split(",")):
        found = [claim for claim in CLAIMS if claim.id.startswith(wanted)]
        if not found:
            raise UserError(f"--claims: no claim {wanted!r}; --list shows them all")
        chosen += found
    return chosen or list(CLAIMS)


def plan(chosen: Iterable[Claim], seeds: int, found: Records) -> list[Job]:
    """Returns the missing runs of the claims, the cheapest first."""
    runs = {run for claim in chosen for run in claim.runs}
    return sorted(
        Job(minutes_of(run, found), run, seed)
        for run in runs
        for seed in range(seeds)
        if seed not in found[run]
    )


def minutes_of(run: str, found: Records) -> float:
    """Returns what a run takes: as measured where it was, else the estimate for two CPU cores."""
    measured = [record["seconds"] / 60 for record in found[run].values()]
    return statistics.median(measured) if measured else RUNS[run]


def listing(chosen: Sequence[Claim], seeds: int, found: Records) -> str:
    """Returns a line per claim: id, verdict, what it still needs and the estimated time."""
    lines, judged = [], judge_all(CLAIMS, found)
    for claim in chosen:
        jobs = plan([claim], seeds, found)
        needs = ", ".join(f"{job.run} seed {job.seed}" for job in jobs)
        lines.append(f"{claim.id:22} {tables.verdict(judged[claim]):35} {claim.text}")
        if jobs:
            minutes = sum(job.minutes for job in jobs)
            lines.append(f"{'':59}needs {needs} (about {minutes:,.0f} min)")
    total = sum(job.minutes for job in plan(chosen, seeds, found))
    lines.append(f"{len(chosen)} claims; missing runs: about {total:,.0f} minutes (CPU estimate)")
    return "\n".join(lines)


def run_jobs(jobs: Sequence[Job], budget_minutes: float, out: pathlib.Path) -> bool:
    """Runs the jobs in order and records each; returns false where a signal stopped it.

    No job starts once the budget is spent. A killed job goes on from its checkpoint next time.
    """
    from jaxcifar.claims import measure
    from jaxcifar.run import metrics
    from jaxcifar.train import train

    began = time.perf_counter()
    for number, job in enumerate(jobs, 1):
        if time.perf_counter() - began >= budget_minutes * 60:
            print(
                f"the budget of {budget_minutes:g} minutes is spent; {len(jobs) - number + 1} left"
            )
            break
        left = sum(j.minutes for j in jobs[number - 1 :])
        print(
            f"\nrun {number}/{len(jobs)}: {job.run} seed {job.seed},"
            f" about {job.minutes:.1f} min; about {left:,.0f} min left in all",
            flush=True,
        )
        config = records.config_of(job.run, job.seed)
        directory = WORKDIRS / records.path_of(out, job.run, job.seed).stem
        result = train(config, directory)
        if not result.finished:
            return False
        metrics.check(directory, result.lines, config.num_epochs)
        record = measure.record(job.run, config, result)
        print(f"recorded {records.write(out, record)}, {record['seconds']:.0f} s")
    return True


def write_table(out: pathlib.Path) -> None:
    """Writes the pictures, out/README.md, and the claims table of the README beside it."""
    found = records.read(out, RUNS)
    judged = judge_all(CLAIMS, found)
    out.mkdir(parents=True, exist_ok=True)
    pictures = figures.draw(out, found, judged)
    workdir.write_text(out / "README.md", tables.page(out, found, judged, pictures))
    print(f"wrote {out / 'README.md'} and {len(pictures)} pictures; {tables.verdicts(judged)}")
    readme = out.resolve().parent / "README.md"
    if readme.exists():
        table = tables.headline_table(judged, found)
        files.replace_between_marks(readme, tables.MARKS, table)
        print(f"wrote the table of {readme.name}")


def main() -> None:
    """Runs the command; exit status 130 where a signal stopped it."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxcifar.reproduce",
        description="Re-runs what the reports claim, cheapest first, and judges it.",
        allow_abbrev=False,
    )
    parser.add_argument("--claims", default="", metavar="ID,…", help="ids or prefixes; default all")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N−1")
    parser.add_argument("--budget_minutes", type=float, default=float("inf"), metavar="M")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"))
    parser.add_argument("--list", action="store_true", help="show the claims and what they need")
    parser.add_argument("--table", action="store_true", help="write the tables and the pictures")
    arguments = parser.parse_args()
    chosen = choose(arguments.claims)
    if arguments.table:
        write_table(arguments.out)
        return
    found = records.read(arguments.out, RUNS)
    if arguments.list:
        print(listing(chosen, arguments.seeds, found))
        return
    backend.configure()
    provenance.commit()
    jobs = plan(chosen, arguments.seeds, found)
    if not run_jobs(jobs, arguments.budget_minutes, arguments.out):
        print("stopped and saved; the same command goes on")
        sys.exit(130)
    write_table(arguments.out)


if __name__ == "__main__":
    run_command(main)
