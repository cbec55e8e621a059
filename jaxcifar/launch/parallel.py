"""Trains jobs in child processes, each with its own cores or GPU.

The number of cores can change the last bits of a result; the number of jobs that run at the same
time never does.
"""

import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

from jaxcifar.errors import UserError, first_line
from jaxcifar.launch.job import Folders, Job, Outcome, write_task
from jaxcifar.launch.overview import Overview
from jaxcifar.run.signals import Interrupt
from jaxcifar.system import files
from jaxcifar.system.slots import Slot

POLL_SECONDS = 0.5


class Children:
    """Child processes, at most one per slot; leaving the context stops them all.

    Once `stop` is set, no child starts. Every running child gets SIGTERM and saves, and `run` waits
    for it. A second signal raises KeyboardInterrupt, which kills the children instead.
    """

    def __init__(self, folders: Folders, slots: Sequence[Slot]):
        self.stop = threading.Event()
        self._folders = folders
        self._processes: list[subprocess.Popen] = []
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, kind: type | None, *_: Any) -> None:
        self.stop.set()
        if kind is KeyboardInterrupt:
            for process in self._processes:
                process.kill()

    def run(self, batch: Sequence[Job]) -> str:
        """Trains a batch of jobs in a child process and waits for it; called in a thread.

        Returns the last line that the child printed, or "" if it was stopped or never started.

        Raises:
          UserError: the child failed; the message is its last line.
        """
        slot = self._free.get()
        try:
            if self.stop.is_set():
                return ""
            process = start_child(batch, self._folders, slot)
            self._processes.append(process)
            while process.poll() is None:
                if self.stop.wait(POLL_SECONDS):
                    process.terminate()
                    process.wait()
        finally:
            self._free.put(slot)
        log = self._folders.log(batch[0])
        if process.returncode < 0 and not self.stop.is_set():
            killed = f"killed by {signal.Signals(-process.returncode).name}"
            raise UserError(f"{killed}, perhaps for lack of memory (more in {log})")
        if process.returncode and not self.stop.is_set():
            raise UserError(f"{last_line(log)} (more in {log})")
        return "" if process.returncode else last_line(log)


def run_parallel(
    batches: Sequence[Sequence[Job]], folders: Folders, slots: Sequence[Slot], deadline: float
) -> Outcome:
    """Trains as many batches of jobs at a time as there are slots, until all have ended.

    At a signal, or at the deadline (in seconds of `time.monotonic`), all running batches save and
    stop. A batch that fails does not affect the others.
    """
    failed: list[tuple[Job, str]] = []
    left = 0
    with (
        Interrupt("step") as interrupt,
        Overview() as overview,
        ThreadPoolExecutor(len(slots)) as pool,
        Children(folders, slots) as children,
    ):
        futures = {pool.submit(children.run, batch): batch for batch in batches}
        while futures:
            if interrupt.wanted or time.monotonic() >= deadline:
                children.stop.set()
            for future in wait(futures, POLL_SECONDS, FIRST_COMPLETED).done:
                batch, error = futures.pop(future), future.exception()
                line = first_line(error) if error else future.result()
                if line:
                    overview.say(f"{name_of(batch)}: {line}")
                if error:
                    failed += [(job, line) for job in batch]
                elif not line:
                    left += len(batch)
            running = [batch for future, batch in futures.items() if future.running()]
            overview.show(
                [(name_of(b), folders.workdir(b[0]), b[0].config.num_epochs) for b in running]
            )
    return Outcome(interrupt.wanted, failed, left)


def name_of(batch: Sequence[Job]) -> str:
    """Returns the names of the jobs, separated by commas."""
    return ", ".join(map(str, batch))


def start_child(batch: Sequence[Job], folders: Folders, slot: Slot) -> subprocess.Popen:
    """Starts a child process that trains a batch; ctrl-C in the terminal does not reach it."""
    folders.workdirs.mkdir(parents=True, exist_ok=True)
    with (
        files.open_plain(folders.log(batch[0]), "ab") as log,
        tempfile.TemporaryFile("w+", dir=folders.workdirs) as task,  # TMPDIR may be unusable
    ):
        task.write(write_task(batch, folders, slot))
        task.seek(0)
        command = [sys.executable, "-m", "jaxcifar.launch.job"]
        return subprocess.Popen(
            command, stdin=task, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def last_line(log: pathlib.Path) -> str:
    """Returns the last line of a log that is not blank."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"ended without a message; see {log}"
