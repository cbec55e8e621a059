"""Turns ctrl-C, SIGTERM and SIGHUP into a wish to stop, so that a run can save first."""

import os
import signal
import stat
from types import FrameType
from typing import Any


class Interrupt:
    """While entered, the first signal sets `wanted`; a second one stops at once, unsaved.

    `unit` says what is finished first, "step" or "epoch", and `then` what follows. A signal that is
    ignored, as SIGHUP is under nohup, stays so.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, unit: str, then: str = "to save") -> None:
        self.wanted = False
        self._unit, self._then = unit, then
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        for number in self.SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _mute_terminal()
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        after = f"stopping after this {self._unit}, {self._then}; again to stop at once, unsaved"
        print(f"\n{after}", flush=True)


def _mute_terminal() -> None:
    """Sends what is printed to nowhere: on a terminal that hung up, a print is an error."""
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
