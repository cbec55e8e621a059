"""Errors in reading and writing a run's folder: damaged steps, and errors of the system."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator

from jaxcifar.errors import UserError, first_line
from jaxcifar.system import json_files

OS_ERROR = re.compile(r"os_error_code='(\d+)'")  # in the text of TensorStore's errors


class Damaged(UserError):
    """A saved step differs from its manifest."""

    def __init__(self, folder: pathlib.Path, difference: str):
        super().__init__(f"step {folder.name} is damaged, in {folder}: {difference}")


class ContentError(Exception):
    """The content that was read differs from what was written."""


@contextlib.contextmanager
def reporting(what: str) -> Iterator[None]:
    """Turns an error of the operating system or of memory into a UserError, "WHAT: error"."""
    try:
        yield
    except (UserError, BrokenPipeError):  # `run_command` handles both
        raise
    except Exception as error:
        if not any(map(_is_system_error, _chain(error))):
            raise
        raise UserError(f"{what}: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Returns an error in one short line, without the parts that only a developer needs.

    Of the error and its causes, the line describes the first error of the operating system or of
    memory, or the first about the content, or the last.
    """
    chain = _chain(error)
    content = (e for e in chain if isinstance(e, ContentError | json_files.BadJson))
    error = next(filter(_is_system_error, chain), None) or next(content, chain[-1])
    if found := OS_ERROR.search(str(error)):
        return os.strerror(int(found[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    plain = isinstance(error, ContentError | json_files.BadJson)
    name = "" if plain else f"{type(error).__name__}: "
    text = first_line(error).split(" [tensorstore_spec=")[0]
    return name + (text if len(text) < 200 else f"{text[:40]} … {text[-150:]}")


def _chain(error: BaseException) -> list[BaseException]:
    """Returns the error, its cause, the cause's cause, …; Orbax's chains can be loops."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return chain


def _is_system_error(error: BaseException) -> bool:
    """Returns whether memory or the operating system failed, possibly within TensorStore."""
    return isinstance(error, OSError | MemoryError) or bool(OS_ERROR.search(str(error)))
