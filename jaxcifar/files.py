"""Writing a file so that neither a reader nor a crash ever sees half of it."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import IO


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
