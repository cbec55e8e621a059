"""A job is one run of a config with one seed; a process trains it and writes its record.

`python -m jaxcifar.launch.job` is the child process of `parallel.py`, not a command for users. It
reads its task from stdin.
"""

import json
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxcifar.claims import records
from jaxcifar.config import schema
from jaxcifar.run import metrics, provenance, selection
from jaxcifar.run.progress import format_metric
from jaxcifar.system import backend
from jaxcifar.system.command import run_command
from jaxcifar.system.slots import Slot, pin_process


class Job(NamedTuple):
    """A run to train with one seed."""

    run: str
    seed: int
    minutes: float  # expected
    cores: int  # on CPU; 0 = all
    config: ConfigDict

    def __str__(self) -> str:
        return f"{self.run} seed {self.seed}"


class Folders(NamedTuple):
    """Where jobs write: records to out/runs, checkpoints and logs to `workdirs`."""

    out: pathlib.Path
    workdirs: pathlib.Path

    def workdir(self, job: Job) -> pathlib.Path:
        """Returns the workdir of a job, which a later command resumes from."""
        return self.workdirs / records.path_of(self.out, job.run, job.seed).stem

    def log(self, job: Job) -> pathlib.Path:
        """Returns the file that a child process prints to."""
        return self.workdirs / f"{self.workdir(job).name}.log"  # with_suffix would cut "lr0.01"


class Outcome(NamedTuple):
    """How a list of jobs ended."""

    stopped: bool  # by a signal
    failed: list[tuple[Job, str]]  # each with the reason
    left: int = 0  # jobs that did not finish within the budget


def start_process(slot: Slot) -> None:
    """Prepares this process for training: pins it to its slot, then sets up XLA."""
    pin_process(slot)
    backend.configure()
    provenance.commit()


def train_batch(jobs: Sequence[Job], folders: Folders) -> bool:
    """Trains a job, or several seeds of a run as one program, and writes their records.

    Returns False if a signal stopped the training.
    """
    return train_job(jobs[0], folders) if len(jobs) == 1 else train_together(jobs, folders)


def train_job(job: Job, folders: Folders) -> bool:
    """Trains or resumes a job and writes its record; returns False if a signal stopped it."""
    from jaxcifar.claims import measure
    from jaxcifar.training.trainer import train

    workdir = folders.workdir(job)
    result = train(job.config, workdir)
    if not result.finished:
        return False
    metrics.check_complete(workdir, result.lines, result.num_epochs)
    record = measure.measure_run(job.run, job.config, result)
    write_record(folders, record)
    return True


def write_record(folders: Folders, record: records.Record) -> None:
    """Writes the record of a finished job and prints its last accuracy."""
    path, last = records.write(folders.out, record), record["epochs"][-1]
    split = selection.split(last)
    accuracy = format_metric(last.get(f"{split}_accuracy")).strip()
    print(f"recorded {path}, {split} accuracy {accuracy}, {record['seconds']:.0f} s", flush=True)


def train_together(jobs: Sequence[Job], folders: Folders) -> bool:
    """Trains several seeds of a run as one program and writes their records.

    Returns False if a signal stopped it. Nothing is saved before the end, so all start again.
    """
    from jaxcifar.claims import measure
    from jaxcifar.training import train_many

    results = train_many.train([job.config for job in jobs])
    for job, result in zip(jobs, results or (), strict=False):
        record = measure.measure_run(job.run, job.config, result) | {"runs_at_once": len(jobs)}
        write_record(folders, record)
    return results is not None


def write_task(jobs: Sequence[Job], folders: Folders, slot: Slot) -> str:
    """Returns the JSON that a child process reads."""
    plain = [job._replace(config=schema.to_json(job.config)) for job in jobs]
    return json.dumps([plain, [str(path) for path in folders], slot])


def main() -> None:
    """Trains the task on stdin; the exit status is 130 if a signal stopped it."""
    jobs, paths, slot = json.load(sys.stdin)
    start_process(Slot(*slot))
    batch = [Job(*job)._replace(config=schema.from_json(job[-1])) for job in jobs]
    if not train_batch(batch, Folders(*map(pathlib.Path, paths))):
        sys.exit(130)


if __name__ == "__main__":
    run_command(main)
