"""Turns ctrl-C and the signals of a scheduler into a request to stop, so that a run saves first."""

import contextlib
import os
import signal
import stat
from types import FrameType
from typing import Any

from jaxcifar.system import output, second_signal


class Interrupt:
    """Handles signals: the first sets `wanted`, and its repetition raises KeyboardInterrupt.

    The message names the `unit` that is finished first, "step" or "epoch", and what happens
    `then`. A duplicate, which comes within a second, does nothing. A signal that is already
    ignored, such as SIGHUP under nohup, stays ignored.
    """

    def __init__(self, unit: str, then: str = "to save") -> None:
        self.wanted = False
        self.unit, self._then = unit, then
        self._before: dict[int, Any] = {}
        self._repeats = second_signal.Repeats()

    def __enter__(self) -> "Interrupt":
        for number in second_signal.SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _discard_terminal_output()
        if self._repeats.is_second(number):
            raise KeyboardInterrupt
        if self.wanted:  # a scheduler may send another signal while the run saves
            return
        self.wanted = True
        output.say(
            f"\nstopping after this {self.unit} {self._then}; press ctrl-C again to stop at once,"
            " unsaved"
        )


def _discard_terminal_output() -> None:
    """Redirects stdout and stderr to the null device if they are the terminal that hung up."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # closed
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                output.discard(descriptor)
