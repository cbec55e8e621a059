"""Runs of configs with seeds, one after another or in parallel; each writes a record.

A job that was stopped resumes, and a job that fails does not affect the others. Parallel jobs are
processes of their own (`python -m jaxcifar.launch.jobs`, which is not a command for users), each
with its share of the cores or its own GPU. The last bits of a result depend on the number of cores
it was computed on, but never on how many jobs run at the same time.
"""

import json
import math
import pathlib
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from ml_collections import ConfigDict

from jaxcifar.claims import records
from jaxcifar.config import schema
from jaxcifar.errors import UserError, first_line
from jaxcifar.launch.overview import Overview
from jaxcifar.run import metrics, provenance
from jaxcifar.run.signals import Interrupt
from jaxcifar.system import backend
from jaxcifar.system.command import run_command
from jaxcifar.system.slots import Slot, share, take

T = TypeVar("T")
LOOK_SECONDS = 0.5  # between two looks at the processes


class Job(NamedTuple):
    """A run with a seed that is to be done, and the minutes it is expected to take."""

    run: str
    seed: int
    minutes: float
    cores: int  # on CPU; 0 for all
    config: ConfigDict

    def __str__(self) -> str:
        return f"{self.run} seed {self.seed}"


class Place(NamedTuple):
    """Where the records of jobs go (out/runs), and the folders that they are trained in."""

    out: pathlib.Path
    workdirs: pathlib.Path

    def workdir(self, job: Job) -> pathlib.Path:
        return self.workdirs / records.path_of(self.out, job.run, job.seed).stem

    def log(self, job: Job) -> pathlib.Path:
        """Returns the file of what a job prints that runs beside others."""
        return self.workdirs / f"{self.workdir(job).name}.log"  # a name has dots of its own


class Outcome(NamedTuple):
    """Whether a signal stopped the jobs, and those that failed with a line that says why."""

    stopped: bool
    failed: list[tuple[Job, str]]


def shard(items: Sequence[T], text: str) -> list[T]:
    """Returns the items of a shard "I/N": every N-th, from the I-th, which counts from 0."""
    try:
        index, number = (int(part) for part in text.split("/"))
        if not 0 <= index < number:
            raise ValueError
    except ValueError as error:
        raise UserError(f"--shard={text}; expected I/N with I from 0 to N − 1") from error
    return list(items[index::number])


def check(
    seeds: int, wanted: int, cores: int, budget_minutes: float = math.inf, at_once: int = 1
) -> None:
    """Raises a UserError for numbers of seeds, jobs, cores, minutes or runs that nothing can run
    with.
    """
    if seeds < 1:
        raise UserError(f"--seeds={seeds}; expected at least 1")
    if not budget_minutes >= 0:
        raise UserError(f"--budget_minutes={budget_minutes:g}; expected at least 0")
    if at_once < 1 or (at_once > 1 and wanted > 1):
        raise UserError(
            f"--runs_at_once={at_once} --jobs={wanted}; expected at least 1 run in a program, and"
            " more than one in one process alone"
        )
    share(wanted, cores, 1)


def run_all(
    jobs: Sequence[Job],
    place: Place,
    wanted: int = 0,
    budget_minutes: float = math.inf,
    at_once: int = 1,
) -> Outcome:
    """Runs the jobs, `wanted` side by side or (0) as many as pay; those of one share of the cores
    together, in order. None starts once the budget is spent. With more than one `at_once`, so many
    seeds of a run are one program, of this process.
    """
    deadline = time.monotonic() + budget_minutes * 60
    if at_once > 1:
        wanted, jobs = 1, [job._replace(cores=0) for job in jobs]
    groups = [
        [job for job in jobs if job.cores == cores]
        for cores in sorted({j.cores for j in jobs}, reverse=True)
    ]
    outcome = Outcome(False, [])
    for group in groups:
        slots = share(wanted, group[0].cores, len(group))
        print(f"{len(group)} runs, {len(slots)} side by side, {slots[0]} each", flush=True)
        # one after another needs no other process: its bar can be seen
        here = len(groups) == len(slots) == 1
        if here:
            stopped, failed = one_by_one(group, place, slots, deadline, at_once)
        else:
            stopped, failed = side_by_side(group, place, slots, deadline)
        outcome = Outcome(stopped, outcome.failed + failed)
        if stopped:
            break
    return outcome


def one_by_one(
    jobs: Sequence[Job], place: Place, slots: Sequence[Slot], deadline: float, at_once: int = 1
) -> Outcome:
    """Runs the jobs in this process, up to `at_once` seeds of a run as one program."""
    take(slots[0])
    backend.configure()
    provenance.commit()
    failed: list[tuple[Job, str]] = []
    left = list(jobs)
    while left:
        if time.monotonic() >= deadline:
            print(f"the budget is spent; {len(left)} left", flush=True)
            break
        some = next_jobs(left, place, at_once)
        print(
            f"\nrun {len(jobs) - len(left) + 1}/{len(jobs)}: {', '.join(map(str, some))}, about"
            f" {some[0].minutes:.1f} min; about {sum(job.minutes for job in left):,.0f} min left in"
            " all",
            flush=True,
        )
        left = [job for job in left if job not in some]
        try:
            if not (run_together(some, place) if len(some) > 1 else run_one(some[0], place)):
                return Outcome(True, failed)
        except BrokenPipeError:  # nobody reads what the next would print
            raise
        except Exception as error:  # harms no other job, and is told at the end
            if not isinstance(error, UserError):
                traceback.print_exc()
            failed += [(job, first_line(error)) for job in some]
    return Outcome(False, failed)


def next_jobs(jobs: Sequence[Job], place: Place, at_once: int) -> list[Job]:
    """Returns the first job, and others of its run to train with it: none that has begun alone."""
    first = jobs[0]
    fresh = [j for j in jobs if j.run == first.run and not place.workdir(j).exists()]
    return fresh[:at_once] if first in fresh else [first]


def run_together(jobs: Sequence[Job], place: Place) -> bool:
    """Trains jobs of a run as one program and writes their records; false where a signal stopped
    it, and all begin again.
    """
    from jaxcifar.claims import measure
    from jaxcifar.training import train_many

    results = train_many.train([job.config for job in jobs])
    for job, result in zip(jobs, results or (), strict=False):
        record = measure.record(job.run, job.config, result) | {"runs_at_once": len(jobs)}
        print(f"recorded {records.write(place.out, record)}", flush=True)
    return results is not None


def run_one(job: Job, place: Place) -> bool:
    """Trains a job, or goes on, and writes its record; returns false where a signal stopped it."""
    from jaxcifar.claims import measure
    from jaxcifar.training.trainer import train

    workdir = place.workdir(job)
    result = train(job.config, workdir)
    if not result.finished:
        return False
    metrics.check_complete(workdir, result.lines, job.config.num_epochs)
    record = measure.record(job.run, job.config, result)
    print(f"recorded {records.write(place.out, record)}, {record['seconds']:.0f} s", flush=True)
    return True


class Process(NamedTuple):
    """A job that runs in a process of its own."""

    job: Job
    slot: Slot
    popen: subprocess.Popen


def side_by_side(
    jobs: Sequence[Job], place: Place, slots: Sequence[Slot], deadline: float
) -> Outcome:
    """Runs as many jobs at a time as there are slots; a signal stops all, and each saves."""
    waiting, free, running = list(jobs), list(slots), list[Process]()
    failed: list[tuple[Job, str]] = []
    asked = False
    with Interrupt("step") as interrupt, Overview() as overview:
        try:
            while True:
                while waiting and free and not interrupt.wanted and time.monotonic() < deadline:
                    process = start(waiting.pop(0), free.pop(0), place)
                    running.append(process)
                    epochs = process.job.config.num_epochs
                    overview.begin(str(process.job), place.workdir(process.job), epochs)
                if not running:
                    break
                if interrupt.wanted and not asked:
                    asked = True
                    for process in running:
                        process.popen.terminate()
                time.sleep(LOOK_SECONDS)
                overview.look()
                for process in [p for p in running if p.popen.poll() is not None]:
                    running.remove(process)
                    free.append(process.slot)
                    told = last_line(place.log(process.job))
                    overview.end(str(process.job), told)
                    if process.popen.returncode and not asked:
                        failed.append((process.job, f"{told} (more in {place.log(process.job)})"))
        finally:
            for process in running:  # asked to stop at once
                process.popen.kill()
    if waiting and not interrupt.wanted:
        print(f"the budget is spent; {len(waiting)} left", flush=True)
    return Outcome(interrupt.wanted, failed)


def start(job: Job, slot: Slot, place: Place) -> Process:
    """Starts a job in a process of its own, which no key of this terminal reaches."""
    task = {
        "job": {**job._asdict(), "config": job.config.to_dict()},
        "place": [str(path) for path in place],
        "slot": slot,
    }
    place.workdirs.mkdir(parents=True, exist_ok=True)
    with place.log(job).open("ab") as log:
        popen = subprocess.Popen(
            [sys.executable, "-m", "jaxcifar.launch.jobs"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    with popen.stdin as stdin:  # type: ignore[union-attr]
        stdin.write(json.dumps(task).encode())
    return Process(job, slot, popen)


def last_line(log: pathlib.Path) -> str:
    """Returns the last line that a process wrote that is not empty."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended without a word; see {log}"


def end(outcome: Outcome) -> None:
    """Tells of each job that failed; then the command's exit status is 1, or 130 after a signal."""
    for job, why in outcome.failed:
        print(f"failed: {job}: {why.removeprefix('error: ')}", file=sys.stderr)
    if outcome.stopped:
        print("stopped; the same command goes on")
    if outcome.stopped or outcome.failed:
        sys.exit(130 if outcome.stopped else 1)


def main() -> None:
    """Runs the one job that stdin describes; exit status 130 where a signal stopped it."""
    task: dict[str, Any] = json.load(sys.stdin)
    take(Slot(*task["slot"]))
    backend.configure()
    provenance.commit()
    config = schema.from_json(json.dumps(task["job"].pop("config")))
    place = Place(*map(pathlib.Path, task["place"]))
    if not run_one(Job(**task["job"], config=config), place):
        sys.exit(130)


if __name__ == "__main__":
    run_command(main)
