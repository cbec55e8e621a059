"""Trains a page once for every choice of some of its values, and shows which is best.

python -m jaxcifar.sweep --config=PAGE[:VARIANT] --sweep=KEY=V1,V2,… [--seeds=N] --out=DIR
"""

from jaxcifar.system import command

if __name__ == "__main__":
    command.leave_on_interrupt()  # what follows takes seconds to import

import pathlib

from jaxcifar.claims import records
from jaxcifar.claims.records import Records
from jaxcifar.launch import jobs
from jaxcifar.launch.grid import make_grid, plan, read_swept
from jaxcifar.launch.sweep_results import write
from jaxcifar.system import atomic


def main() -> None:
    """Runs the command; exit status 130 where a signal stopped it, 1 where a run failed."""
    parser = command.command_parser(
        "sweep",
        "Trains every choice of some values of a page, with several seeds.",
        epilog="Other values are set by --config.KEY=VALUE. The same command again goes on.",
    )
    parser.add_argument("--config", required=True, metavar="FILE.py[:VARIANT]", help="the page")
    parser.add_argument(
        "--sweep", required=True, action="append", metavar="KEY=V1,V2,…", help="more: a grid"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N−1")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="side by side; 0: all pay")
    parser.add_argument("--cores", type=int, default=1, metavar="C", help="of each job; 0: all")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="every N-th, from the I-th")
    parser.add_argument("--out", required=True, type=pathlib.Path, metavar="DIR")
    text = "so many seeds in one program, on a GPU; nothing of them is saved on the way"
    parser.add_argument("--runs_at_once", type=int, default=1, metavar="M", help=text)
    known, words = parser.parse_known_args()
    jobs.check(known.seeds, known.jobs, known.cores, at_once=known.runs_at_once)
    grid = make_grid(known.config, [read_swept(text) for text in known.sweep], words)
    nothing: Records = {run: {} for run in grid.runs}
    wanted = jobs.shard(plan(grid, known.seeds, known.cores, nothing), known.shard)
    found = records.read(known.out, grid.runs, grid.config_of)
    missing = [job for job in wanted if job.seed not in found[job.run]]
    atomic.check_writable(known.out, "--out")
    place = jobs.Place(known.out, known.out / "checkpoints")
    outcome = jobs.run_all(missing, place, known.jobs, at_once=known.runs_at_once)
    write(known.out, grid, records.read(known.out, grid.runs, grid.config_of))
    jobs.end(outcome)


if __name__ == "__main__":
    command.run_command(main)
