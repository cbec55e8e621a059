"""Turns ctrl-C and SIGTERM into a wish to stop, so that a run can save first."""

import signal
from types import FrameType
from typing import Any


class Interrupt:
    """While entered, the first signal sets `wanted`; a second one stops at once, unsaved."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> "Interrupt":
        self._before = [signal.signal(number, self._ask) for number in self.SIGNALS]
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in zip(self.SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        print("\nstopping after this step, to save; again to stop at once, unsaved", flush=True)
