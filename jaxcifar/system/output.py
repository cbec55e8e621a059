"""Printing that cannot end a run.

A line may have nowhere to go: the reader of a pipe is gone, the terminal or the stream is closed,
the disk is full. The output is then lost, but the run must go on and save.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import TextIO


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a line at once, to stdout by default. Never raises."""
    attempt(lambda: print(text, file=stream, flush=True), stream)


def attempt(write: Callable[[], object], stream: TextIO | None = None) -> None:
    """Calls `write`, which prints to `stream` (default: stdout), and ignores the stream's errors.

    Characters that the stream cannot encode become "?". After an error of the operating system,
    the stream discards everything.
    """
    stream = stream or sys.stdout
    try:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
        write()
    except BlockingIOError:  # the reader is slow; later lines may pass
        pass
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            discard(stream.fileno())
    except (ValueError, RuntimeError):  # a closed stream; a signal that came while printing
        pass


def discard(descriptor: int) -> None:
    """Redirects a file descriptor to the null device."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def open_closed_streams() -> None:
    """Opens stdout and stderr on the null device if they were closed at the start (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
