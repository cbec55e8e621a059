"""Makes a second signal end the process, whatever the process is doing."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType

STOPPED = "stopped by ctrl-C"
STUCK = "stopped by the second signal; what was not saved is lost"
DUPLICATE_SECONDS = 1.0
GRACE_SECONDS = 5.0
SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,  # SLURM sends it before the time limit if asked to (--signal=USR1@60)
    signal.SIGUSR2,
    signal.SIGXCPU,  # once a second while the process is above its limit of CPU time
)


class Repeats:
    """Tells a second signal from a duplicate of the first.

    A shell whose terminal is closed passes SIGHUP on, and the kernel sends it too; a launcher and
    the scheduler may both send SIGTERM. Only a person repeats ctrl-C.
    """

    def __init__(self) -> None:
        self._first: dict[int, float] = {}

    def is_second(self, number: int) -> bool:
        """Returns whether the signal that has just come repeats an earlier one on purpose."""
        now = time.monotonic()
        if number == signal.SIGXCPU:
            return False
        if number not in self._first:
            self._first[number] = now
            return False
        return number == signal.SIGINT or now - self._first[number] >= DUPLICATE_SECONDS


@contextlib.contextmanager
def enforced() -> Iterator[None]:
    """Ends the process, with status 130, if it still runs five seconds after a second signal.

    Python handles a signal only between two instructions of the main thread. That moment may come
    late, for example while a net is compiled, or never, for example in a collective operation whose
    other processes are stuck. The first ctrl-C raises KeyboardInterrupt unless another handler is
    set, and the second one ends the process at once.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # the background jobs of a script ignore ctrl-C
        signal.signal(signal.SIGINT, _interrupt)
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    over = threading.Event()
    threading.Thread(target=_watch, args=(ours, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGINT, before)
        theirs.close()


def leave_at_once(*_: object, message: str = STOPPED) -> None:
    """Prints one line and ends the process; a signal handler or any thread may call it."""
    with contextlib.suppress(OSError):
        os.write(2, f"{message}\n".encode())  # `print` may be what the signal has interrupted
    os._exit(130)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, leave_at_once)
    raise KeyboardInterrupt


def _watch(ours: socket.socket, over: threading.Event) -> None:
    repeats = Repeats()
    with ours:
        while number := ours.recv(1):
            if number[0] in SIGNALS and repeats.is_second(number[0]):
                if not over.wait(GRACE_SECONDS):
                    leave_at_once(message=STUCK)
                return
