"""Runs a list of jobs, in this process or in parallel, and reports how they ended.

A finished job is recorded, a stopped one resumes, and a failed one does not affect the others.
"""

import math
import sys
import time
import traceback
from collections.abc import Sequence

from jaxcifar.errors import as_user_error, first_line
from jaxcifar.launch.job import (
    Bundle,
    Folders,
    Job,
    Outcome,
    name_of,
    start_process,
    train_bundle,
)
from jaxcifar.launch.parallel import run_parallel
from jaxcifar.system.slots import Slot, divide_machine


def run_all(
    jobs: Sequence[Job],
    folders: Folders,
    parallel_jobs: int = 0,
    budget_minutes: float = math.inf,
    at_once: int = 1,
) -> Outcome:
    """Runs the jobs in order, `parallel_jobs` at a time (0 = as many as the machine can use).

    Jobs that need different numbers of cores do not run at the same time. When the budget is spent,
    jobs that are running save and stop. With `at_once` > 1, up to that many seeds of a run are
    trained as one program on all cores or one GPU.
    """
    deadline = time.monotonic() + budget_minutes * 60
    if at_once > 1:
        parallel_jobs, jobs = 1, [job._replace(cores=0) for job in jobs]
    sizes = sorted({job.cores for job in jobs}, reverse=True)
    outcome = Outcome(False, [])
    for cores in sizes:
        group = [job for job in jobs if job.cores == cores]
        if time.monotonic() >= deadline:
            outcome = outcome._replace(left=outcome.left + len(group))
            continue
        slots = divide_machine(parallel_jobs, cores, len(group))
        bundles = make_bundles(group, folders, at_once)
        print(f"{len(group)} runs, {len(slots)} in parallel, {slots[0]} each", flush=True)
        if len(sizes) == len(slots) == 1 and deadline == math.inf:
            ended = run_here(bundles, folders, slots[0])  # where a progress bar can be shown
        else:
            ended = run_parallel(bundles, folders, slots, deadline)
        outcome = Outcome(ended.stopped, outcome.failed + ended.failed, outcome.left + ended.left)
        if outcome.stopped:
            break
    return outcome


def make_bundles(jobs: Sequence[Job], folders: Folders, at_once: int) -> list[Bundle]:
    """Returns the jobs in bundles of up to `at_once` seeds of a run.

    A job that already has a workdir stays alone, because a bundle cannot resume.
    """
    bundles, left = [], list(jobs)
    while left:
        fresh = [j for j in left if j.run == left[0].run and not folders.workdir(j).exists()]
        bundle = fresh[:at_once] if left[0] in fresh else left[:1]
        bundles.append(bundle)
        left = [job for job in left if job not in bundle]
    return bundles


def run_here(bundles: Sequence[Bundle], folders: Folders, slot: Slot) -> Outcome:
    """Runs the bundles one after another in this process."""
    start_process(slot)
    failed: list[tuple[Job, str]] = []
    total = sum(map(len, bundles))
    for i, bundle in enumerate(bundles):
        left = [job for later in bundles[i:] for job in later]
        print(
            f"\nrun {total - len(left) + 1}/{total}: {name_of(bundle)}, about"
            f" {bundle[0].minutes:.1f} min; about {sum(job.minutes for job in left):,.0f} min left"
            " in total",
            flush=True,
        )
        try:
            if not train_bundle(bundle, folders):
                return Outcome(True, failed)
        except BrokenPipeError:  # nobody reads the output of the next job either
            raise
        except Exception as error:
            if (known := as_user_error(error)) is None:
                traceback.print_exc()
            failed += [(job, first_line(known or error)) for job in bundle]
    return Outcome(False, failed)


def exit_with(outcome: Outcome) -> None:
    """Prints how the jobs ended; exits with 130 after a signal and with 1 if a job failed."""
    for job, reason in outcome.failed:
        print(f"failed: {job}: {reason.removeprefix('error: ')}", file=sys.stderr)
    if outcome.stopped:
        print("stopped; run the same command to continue")
        sys.exit(130)
    if outcome.left:
        print(f"the budget is spent; runs left: {outcome.left}; run the same command to continue")
    if outcome.failed:
        sys.exit(1)
