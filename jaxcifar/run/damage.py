"""Decides whether an error in reading a step without a manifest means that the step is damaged.

The step is damaged if its content is wrong: a checksum differs, a file is missing, or a file cannot
be decoded. Errors of the disk, of memory or in this program say nothing about the content.
"""

import contextlib
import json
import os
import pathlib
import re
from collections.abc import Iterator

from jaxcifar.errors import UserError, first_line
from jaxcifar.system import files, json_files

# TensorStore raises ValueErrors with a status. These statuses mean wrong content, unless the text
# has the number of an error of the operating system other than 2, "no such file".
CONTENT = ("DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE")
OS_ERROR = re.compile(r"os_error_code='(?!2')(\d+)'")


class Damaged(UserError):
    """The content of a saved step is wrong or missing."""

    def __init__(self, folder: pathlib.Path, why: BaseException):
        super().__init__(f"step {folder.name} is damaged, in {folder}: {describe(why)}")


class ContentError(Exception):
    """The content that was read differs from what was written."""


@contextlib.contextmanager
def classify_read_error(folder: pathlib.Path) -> Iterator[None]:
    """Turns an error in reading the step in `folder` into a UserError.

    Raises:
      Damaged: the content is wrong, although all files can be read.
      UserError: any other error; UserErrors pass unchanged.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError):
            raise
        chain = _chain(error)
        content = next(filter(_is_content_error, chain), None)
        system = next(filter(_is_system_error, chain), None) or _find_read_error(folder)
        if content and not system:
            raise Damaged(folder, content) from error
        raise UserError(
            f"cannot read {folder}: {describe(system or chain[-1])}; the step may be intact and was"
            " left in place: fix the error and run the command again, or move the step away to"
            " continue without it"
        ) from error


@contextlib.contextmanager
def reporting(what: str) -> Iterator[None]:
    """Turns an error of the operating system or of memory into a UserError, "WHAT: error"."""
    try:
        yield
    except (UserError, BrokenPipeError):  # `run_command` handles both
        raise
    except Exception as error:
        known = (e for e in _chain(error) if isinstance(e, OSError) or _is_system_error(e))
        if (cause := next(known, None)) is None:
            raise
        raise UserError(f"{what}: {describe(cause)}") from error


def _chain(error: BaseException) -> list[BaseException]:
    """Returns the error, its cause, the cause's cause, …; Orbax's chains can be loops."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return chain


def _is_content_error(error: BaseException) -> bool:
    decoding = ContentError, json_files.BadJson, json.JSONDecodeError, UnicodeDecodeError
    return isinstance(error, (*decoding, FileNotFoundError)) or (
        isinstance(error, ValueError)
        and (str(error).startswith(CONTENT) or "Error decoding" in str(error))
    )


def _is_system_error(error: BaseException) -> bool:
    """Returns whether memory or the operating system failed, possibly within TensorStore."""
    if isinstance(error, FileNotFoundError):
        return False
    return isinstance(error, OSError | MemoryError) or bool(OS_ERROR.search(str(error)))


def _find_read_error(folder: pathlib.Path) -> OSError | None:
    """Reads every file in a folder and returns the first error; Orbax may have hidden it."""

    def fail(error: OSError) -> None:
        raise error

    try:
        for parent, _, names in os.walk(folder, onerror=fail):
            for name in names:
                _read_through(pathlib.Path(parent, name))
    except OSError as error:
        return error
    return None


def _read_through(file: pathlib.Path) -> None:
    with files.open_plain(file) as content:
        while content.read(2**20):
            pass


def describe(error: BaseException) -> str:
    """Returns an error in one short line, without the parts that only a developer needs."""
    if found := OS_ERROR.search(str(error)):
        return os.strerror(int(found[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    name = (
        "" if isinstance(error, ContentError | json_files.BadJson) else f"{type(error).__name__}: "
    )
    text = first_line(error).split(" [tensorstore_spec=")[0]
    return name + (text if len(text) < 200 else f"{text[:40]} … {text[-150:]}")
