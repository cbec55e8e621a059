"""Re-runs what the reports claim, and judges it.

python -m jaxcifar.reproduce [--claims=ID,…] [--seeds=N] [--jobs=N] [--shard=I/N] [--out=results]
python -m jaxcifar.reproduce --list | --table
"""

from jaxcifar import errors

if __name__ == "__main__":
    errors.leave_on_interrupt()  # what follows takes seconds to import

import pathlib
import statistics
import sys
from collections.abc import Iterable, Sequence

from jaxcifar import files, jobs
from jaxcifar.claims import figures, records, tables
from jaxcifar.claims.judge import Claim, judge_all
from jaxcifar.claims.records import Records
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.errors import UserError
from jaxcifar.run import workdir

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


def write_table(out: pathlib.Path) -> None:
    """Writes the pictures, out/README.md, and the claims table of the README beside `out`.

    A README there that has no place for the table, or cannot be written, is left as it is.
    """
    found = records.read(out, RUNS)
    judged = judge_all(CLAIMS, found)
    files.writable(out, "--out")
    pictures = figures.draw(out, found, judged)
    workdir.write_text(out / "README.md", tables.page(out, found, judged, pictures))
    print(f"wrote {out / 'README.md'} and {len(pictures)} pictures; {tables.verdicts(judged)}")
    readme = out.resolve().parent / "README.md"
    if readme.exists():
        table = tables.headline_table(judged, found)
        try:
            files.replace_between_marks(readme, tables.MARKS, table)
        except (UserError, OSError, UnicodeDecodeError) as error:
            why = errors.first_line(error)
            print(f"no table beside {out}: {why}; it is left as it is", file=sys.stderr)
        else:
            print(f"wrote the table of {readme}")


def main() -> None:
    """Runs the command; exit status 130 where a signal stopped it."""
    parser = errors.command_parser(
        "reproduce", "Re-runs what the reports claim, cheapest first, and judges it."
    )
    parser.add_argument("--claims", default="", metavar="ID,…", help="ids or prefixes; default all")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N−1")
    parser.add_argument("--budget_minutes", type=float, default=float("inf"), metavar="M")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="side by side; 0: all pay")
    parser.add_argument("--cores", type=int, default=BY_LENGTH, metavar="C", help="of each; 0: all")
    parser.add_argument(
        "--shard", default="0/1", metavar="I/N", help="every N-th run, from the I-th"
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"))
    parser.add_argument("--list", action="store_true", help="show the claims and what they need")
    parser.add_argument("--table", action="store_true", help="write the tables and the pictures")
    text = "so many seeds in one program, on a GPU; nothing of them is saved on the way"
    parser.add_argument("--runs_at_once", type=int, default=1, metavar="M", help=text)
    arguments = parser.parse_args()
    cores = 0 if arguments.cores == BY_LENGTH else arguments.cores
    at_once, budget = arguments.runs_at_once, arguments.budget_minutes
    jobs.check(arguments.seeds, arguments.jobs, cores, budget, at_once)
    chosen = choose(arguments.claims)
    if arguments.table:
        write_table(arguments.out)
        return
    found = records.read(arguments.out, RUNS)
    if arguments.list:
        print(listing(chosen, arguments.seeds, found))
        return
    planned = plan(chosen, arguments.seeds, found, arguments.shard, arguments.cores)
    files.writable(arguments.out, "--out")
    place = jobs.Place(arguments.out, WORKDIRS)
    outcome = jobs.run_all(planned, place, arguments.jobs, budget, at_once)
    if arguments.shard == "0/1" and not outcome.stopped:
        write_table(arguments.out)
    jobs.end(outcome)


if __name__ == "__main__":
    errors.run_command(main)
