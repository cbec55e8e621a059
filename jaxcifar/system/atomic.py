"""Writing a file, or a part of one, so that neither a reader nor a crash ever sees half of it."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import IO

from jaxcifar.errors import UserError


def writable(folder: pathlib.Path, option: str) -> None:
    """Makes the folder that `option` names where there is none, and tries to write there.

    Raises:
      UserError: it cannot be made, or nothing can be written in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise UserError(f"cannot write to {option} {folder}: {error.strerror}") from error


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """Gives a binary file that takes the place of `path` when the block ends without an error."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # another process has its own
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_between_marks(path: pathlib.Path, marks: tuple[str, str], text: str) -> None:
    """Writes `text` in place of what stands between the two lines `marks` of a text file.

    Raises:
      UserError: the file lacks them; it is left as it is.
    """
    before, start, rest = path.read_text().partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (start and end):
        raise UserError(f"{path} lacks the lines {marks[0]!r} and {marks[1]!r}")
    with replacing(path) as file:
        file.write(f"{before}{start}\n{text}\n{end}{after}".encode())
