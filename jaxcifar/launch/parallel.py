"""Trains jobs in child processes, each with its own cores or GPU.

The number of cores can change the last bits of a result; the number of jobs that run at the same
time never does.
"""

import pathlib
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from jaxcifar.errors import first_line
from jaxcifar.launch.job import STOPPED, Bundle, Folders, Job, Outcome, name_of
from jaxcifar.launch.overview import Overview
from jaxcifar.run.signals import Interrupt
from jaxcifar.system import files
from jaxcifar.system.slots import Slot

POLL_SECONDS = 0.5


class Children:
    """The running child processes, each with its bundle and slot.

    Leaving the context stops them all: they save first, unless a second signal has raised
    KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.running: dict[subprocess.Popen, tuple[Bundle, Slot]] = {}
        self.stopping = False

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            for process in self.running:
                process.kill()
        self.stop()
        for process in self.running:
            process.wait()

    def stop(self) -> None:
        """Sends SIGTERM, once: a child that gets it twice ends without saving."""
        for process in () if self.stopping else self.running:
            process.terminate()
        self.stopping = True


def run_parallel(
    bundles: Sequence[Bundle], folders: Folders, slots: Sequence[Slot], deadline: float
) -> Outcome:
    """Trains as many bundles of jobs at a time as there are slots, until all have ended.

    At a signal, or at the deadline (in seconds of `time.monotonic`), all running bundles save and
    stop. A bundle that fails does not affect the others.
    """
    waiting, free = list(bundles), list(slots)
    failed: list[tuple[Job, str]] = []
    left = 0
    with Interrupt("step") as interrupt, Overview(folders) as overview, Children() as children:

        def report(bundle: Bundle, line: str, has_failed: bool) -> None:
            overview.say(f"{name_of(bundle)}: {line}")
            failed.extend((job, line) for job in bundle if has_failed)

        while children.running or (waiting and not children.stopping):
            if interrupt.wanted or time.monotonic() >= deadline:
                children.stop()
            while waiting and free and not children.stopping:
                bundle = waiting.pop(0)
                try:
                    process = start_child(bundle, folders, free[0])
                    children.running[process] = bundle, free.pop(0)
                except Exception as error:
                    report(bundle, first_line(error), True)
            time.sleep(POLL_SECONDS)
            for process in [p for p in children.running if p.poll() is not None]:
                bundle, slot = children.running.pop(process)
                free.append(slot)
                if children.stopping and process.returncode in (STOPPED, -signal.SIGTERM):
                    left += len(bundle)
                else:
                    report(bundle, *last_words(process, folders.log(bundle[0])))
            overview.show([bundle for bundle, _ in children.running.values()])
    return Outcome(interrupt.wanted, failed, left + sum(map(len, waiting)))


def start_child(bundle: Bundle, folders: Folders, slot: Slot) -> subprocess.Popen:
    """Starts a child process that trains a bundle; ctrl-C in the terminal does not reach it."""
    folders.workdirs.mkdir(parents=True, exist_ok=True)
    with (
        files.open_plain(folders.log(bundle[0]), "ab") as log,
        tempfile.TemporaryFile(dir=folders.workdirs) as task,  # TMPDIR may be unusable
    ):
        pickle.dump((bundle, folders, slot), task)
        task.seek(0)
        command = [sys.executable, "-m", "jaxcifar.launch.job"]
        return subprocess.Popen(
            command, stdin=task, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def last_words(process: subprocess.Popen, log: pathlib.Path) -> tuple[str, bool]:
    """Returns the last line that an ended child printed, and whether it failed."""
    if process.returncode < 0:
        number = -process.returncode
        name = next((known.name for known in signal.Signals if known == number), f"signal {number}")
        why = ", perhaps for lack of memory" * (number == signal.SIGKILL)
        return f"killed by {name}{why} (more in {log})", True
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    line = lines[-1] if lines else f"ended without a message; see {log}"
    return (f"{line} (more in {log})", True) if process.returncode else (line, False)
