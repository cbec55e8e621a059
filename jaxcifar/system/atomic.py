"""Writes files atomically: neither a reader nor a crash ever sees half a file."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import IO

from jaxcifar.errors import UserError


def check_writable(folder: pathlib.Path, option: str) -> None:
    """Creates the folder given by a command-line option if needed, and tests writing to it.

    Raises:
      UserError: the folder cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise UserError(f"cannot write to {option} {folder}: {error.strerror}") from error


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """Yields a binary file that replaces `path` if the block ends without an error."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # unique to this process
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_between_marks(path: pathlib.Path, marks: tuple[str, str], text: str) -> None:
    """Replaces the text between the two lines `marks` of a file.

    Raises:
      UserError: the file lacks the marks; it is left unchanged.
    """
    before, start, rest = path.read_text().partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (start and end):
        raise UserError(f"{path} lacks the lines {marks[0]!r} and {marks[1]!r}")
    with replacing(path) as file:
        file.write(f"{before}{start}\n{text}\n{end}{after}".encode())
