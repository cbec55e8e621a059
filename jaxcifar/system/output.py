"""Printing that cannot end a run.

A line may have nowhere to go: the reader of a pipe is gone, the terminal or the stream is closed,
the disk is full. The output is then lost, but the run must go on and save.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from jaxcifar.errors import printable

MAX_LINE = 10_000  # characters


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints the `printable_lines` of a text at once, to stdout by default; never raises."""
    attempt(lambda: print(printable_lines(text), file=stream, flush=True), stream)


def show(text: str, stream: TextIO | None = None) -> None:
    """Prints the `printable_lines` of a command's result; raises if that fails."""
    print(printable_lines(text), file=stream)


def printable_lines(text: str) -> str:
    """Returns the text with printable lines, even if names from elsewhere are in them."""
    return "\n".join(printable(line, MAX_LINE) for line in text.split("\n"))


def cleaned(tree: Any) -> Any:
    """Returns a tree of JSON in which every text is printable and short, as names should be."""
    if isinstance(tree, dict):
        return {printable(key): cleaned(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [cleaned(value) for value in tree]
    return printable(tree) if isinstance(tree, str) else tree


def csv_cell(text: str) -> str:
    """Returns the text so that a spreadsheet shows it and does not compute it as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def markdown_cell(text: str) -> str:
    """Returns a text as a cell of a Markdown table, with | and < escaped."""
    return printable(text, MAX_LINE).replace("|", "\\|").replace("<", "&lt;")


def markdown_table(rows: Iterable[Sequence[str]]) -> str:
    """Returns rows of texts as a Markdown table; the first row is the head."""
    cells = [[*map(markdown_cell, row)] for row in rows]
    head, *body = (f"| {' | '.join(row)} |" for row in cells)
    return "\n".join([head, "|---" * len(cells[0]) + "|", *body])


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


def prepare_streams() -> None:
    """Makes stdout and stderr accept any text.

    If they were closed at the start (`>&-`), they are opened on the null device. Characters that
    they cannot encode, such as half of a file's name that is not UTF-8, become "?".
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="replace")
