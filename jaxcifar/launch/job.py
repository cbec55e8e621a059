"""A job is one run of a config with one seed; a process trains it and writes its record.

`python -m jaxcifar.launch.job` is the child process of `parallel.py`, not a command for users. It
reads its task from stdin.
"""

import pathlib
import pickle
import sys
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxcifar.claims import records
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


STOPPED = 130  # the exit status of a child that a signal stopped, which saved and can continue
Bundle = list[Job]  # usually one job; several seeds of a run are trained as one program


def name_of(bundle: Bundle) -> str:
    """Returns the names of the jobs, separated by commas."""
    return ", ".join(map(str, bundle))


class Folders(NamedTuple):
    """Where jobs write: records to out/runs, checkpoints and logs to `workdirs`."""

    out: pathlib.Path
    workdirs: pathlib.Path

    def workdir(self, job: Job) -> pathlib.Path:
        """Returns the workdir of a job, which a later command resumes from."""
        return self.workdirs / records.path_of(self.out, job.run, job.seed).stem

    def log(self, job: Job) -> pathlib.Path:
        """Returns the file that a child process prints to."""
        return self.workdirs / f"{self.workdir(job).name}.log"  # `with_suffix` would cut lr0.01


class Outcome(NamedTuple):
    """How a list of jobs ended."""

    stopped: bool  # by a signal
    failed: list[tuple[Job, str]]  # jobs with the reasons why they failed
    left: int = 0  # jobs that did not finish within the budget


def start_process(slot: Slot) -> None:
    """Prepares this process for training: pins it to its slot, then sets up XLA."""
    pin_process(slot)
    backend.configure()
    provenance.commit()


def train_bundle(bundle: Bundle, folders: Folders) -> bool:
    """Trains a bundle and writes its records; returns False if a signal stopped it.

    A single job resumes from its workdir. Several jobs save nothing before the end.
    """
    from jaxcifar.claims import measure
    from jaxcifar.training import train_many, trainer

    if len(bundle) > 1:
        results = train_many.train([job.config for job in bundle])
    else:
        workdir = folders.workdir(bundle[0])
        result = trainer.train(bundle[0].config, workdir)
        results = [result] if result.finished else None
        if results:
            metrics.check_complete(workdir, result.lines, result.num_epochs)
    for job, result in zip(bundle, results or (), strict=False):
        record = measure.measure_run(job.run, job.config, result)
        if len(bundle) > 1:
            record["runs_at_once"] = len(bundle)
        file, last = records.write(folders.out, record), record["epochs"][-1]
        split = selection.split_of(last)
        score = f"{split} accuracy {format_metric(last.get(f'{split}_accuracy')).strip()}"
        print(f"recorded {file}, {score}, {record['seconds']:.0f} s", flush=True)
    return results is not None


def main() -> None:
    """Trains the bundle on stdin; the exit status is `STOPPED` if a signal stopped it."""
    bundle, folders, slot = pickle.load(sys.stdin.buffer)
    start_process(slot)
    if not train_bundle(bundle, folders):
        sys.exit(STOPPED)


if __name__ == "__main__":
    run_command(main)
