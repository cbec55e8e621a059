"""Re-runs what the reports claim, and judges it.

python -m jaxcifar.reproduce [--claims=ID,…] [--seeds=N] [--jobs=N] [--shard=I/N] [--out=results]
python -m jaxcifar.reproduce --list | --table
"""

from jaxcifar.system import command

if __name__ == "__main__":
    command.leave_on_interrupt()  # what follows takes seconds to import

import pathlib

from jaxcifar.claims import records
from jaxcifar.claims.reports import RUNS
from jaxcifar.claims.results import write_table
from jaxcifar.launch import jobs
from jaxcifar.launch.claim_runs import BY_LENGTH, WORKDIRS, choose, listing, plan
from jaxcifar.system import atomic


def main() -> None:
    """Runs the command; exit status 130 where a signal stopped it."""
    parser = command.command_parser(
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
    atomic.check_writable(arguments.out, "--out")
    place = jobs.Place(arguments.out, WORKDIRS)
    outcome = jobs.run_all(planned, place, arguments.jobs, budget, at_once)
    if arguments.shard == "0/1" and not outcome.stopped:
        write_table(arguments.out)
    jobs.end(outcome)


if __name__ == "__main__":
    command.run_command(main)
