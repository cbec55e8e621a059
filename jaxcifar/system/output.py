"""Printing that cannot end a run.

A line may have nowhere to go: the reader of a pipe is gone, the terminal or the stream is closed,
the disk is full. The output is then lost, but the run must go on and save.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Shows what a command is doing, and for how long, on stderr if that is a terminal."""
    if not (sys.stderr and sys.stderr.isatty()):
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn(what, markup=False), TimeElapsedColumn()
    shown = Progress(*columns, console=Console(stderr=True), transient=True)
    shown.add_task("", total=None)
    attempt(shown.start, sys.stderr)
    try:
        yield
    finally:
        attempt(shown.stop, sys.stderr)


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
