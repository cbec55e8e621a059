"""Writes files atomically: neither a reader nor a crash ever sees half a file."""

import contextlib
import os
import pathlib
import secrets
import tempfile
from collections.abc import Iterator
from typing import IO

from jaxcifar.errors import UserError
from jaxcifar.system import files


def check_writable(folder: pathlib.Path, option: str) -> None:
    """Creates the folder given by a command-line option if needed, and tests writing to it.

    Raises:
      UserError: the folder cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"cannot write to {option} {folder}: {error.strerror}") from error


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """Yields a binary file that replaces `path` if the block ends without an error."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:  # never a file or link that exists
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file atomically, as UTF-8."""
    with replacing(path) as file:
        file.write(text.encode())


def replace_between_marks(path: pathlib.Path, marks: tuple[str, str], text: str) -> None:
    """Replaces the text between the two lines `marks` of a file.

    Raises:
      UserError: the file cannot be read or lacks the marks; it is left unchanged.
    """
    before, start, rest = files.read_text(path).partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (start and end):
        raise UserError(f"{path} lacks the lines {marks[0]!r} and {marks[1]!r}")
    write_text(path, f"{before}{start}\n{text}\n{end}{after}")
