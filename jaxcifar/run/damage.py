"""Whether an error in reading a checkpoint is of what its files hold, or may pass.

A step is damaged where its content is: a checksum is wrong, a file is missing, or what it holds
cannot be decoded. An error of the disk or the memory says nothing of the content. One of the
program that reads may be of either: `Strange`.
"""

import contextlib
import json
import os
import pathlib
import re
import zlib
from collections.abc import Iterator
from typing import Any

from jaxcifar.errors import UserError, first_line

# TensorStore's errors are ValueErrors with a status; these ones are of what a file holds, unless
# the text has the number of an operating system's error, other than 2: there is no such file.
CONTENT = ("DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE")
OS_ERROR = re.compile(r"os_error_code='(?!2')(\d+)'")


SEAL = "seal"  # of a step's JSON: a CRC-32 of what it had without
# What reading a format raises that is not as it should be, and a program with a bug.
PARSING = LookupError, TypeError, ValueError, AttributeError, NotImplementedError, AssertionError


class Damaged(UserError):
    """The content of a saved step is wrong or gone."""

    def __init__(self, folder: pathlib.Path, why: BaseException):
        super().__init__(f"step {folder.name} is damaged, in {folder}: {_short(why)}")


class Strange(UserError):
    """The content of a saved step is wrong, if the same program can read another step."""

    def __init__(self, message: str, folder: pathlib.Path, why: BaseException):
        super().__init__(message)
        self.damaged = Damaged(folder, why)


class Wrong(Exception):
    """What was read is not what was written."""


def sealed(meta: dict[str, Any]) -> dict[str, Any]:
    """Returns the JSON with a checksum of itself."""
    meta = {key: value for key, value in meta.items() if key != SEAL}
    return {**meta, SEAL: zlib.crc32(json.dumps(meta, sort_keys=True).encode())}


def unsealed(content: Any) -> dict[str, Any]:
    """Returns the JSON that was sealed, or is of a time before there were seals."""
    try:
        meta = content["custom_metadata"]
        whole = sealed(meta)
        if meta["crc32"] and meta.get(SEAL, whole[SEAL]) == whole[SEAL]:
            return meta
        problem = "its checksum is wrong"
    except (KeyError, TypeError, AttributeError) as error:
        problem = repr(error)
    raise Wrong(f"_CHECKPOINT_METADATA: {problem}")


@contextlib.contextmanager
def classify_read_error(folder: pathlib.Path) -> Iterator[None]:
    """Judges an error in reading the step in `folder`; a UserError is passed on.

    Raises:
      Damaged: the error is of the content, and every file that is there can be read.
      Strange: it may be of the content or of this program.
      UserError: any other.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError):
            raise
        chain = _chain(error)
        content = next(filter(_is_of_content, chain), None)
        other = next(filter(_may_pass, chain), None) or _unreadable(folder)
        if content and not other:
            raise Damaged(folder, content) from error
        why = other or chain[-1]
        message = (
            f"cannot read {folder}: {_short(why)}; it may be whole, and was left in its place:"
            " start again when that is mended, or move it away to go on without"
        )
        if isinstance(why, PARSING) and not other:
            raise Strange(message, folder, why) from error
        raise UserError(message) from error


@contextlib.contextmanager
def as_user_error(what: str) -> Iterator[None]:
    """Turns an error that may pass, or a file that is not there, into a UserError's one line."""
    try:
        yield
    except (UserError, BrokenPipeError):  # of the other, `run_command` tells
        raise
    except Exception as error:
        known = (e for e in _chain(error) if isinstance(e, OSError) or _may_pass(e))
        if (cause := next(known, None)) is None:
            raise
        raise UserError(f"{what}: {_short(cause)}") from error


def _chain(error: BaseException) -> list[BaseException]:
    """Returns the error, what it came of, and so on; Orbax makes chains that end in themselves."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return chain


def _is_of_content(error: BaseException) -> bool:
    decoding = Wrong, json.JSONDecodeError, UnicodeDecodeError, FileNotFoundError
    return isinstance(error, decoding) or (
        isinstance(error, ValueError)
        and (str(error).startswith(CONTENT) or "Error decoding" in str(error))
    )


def _may_pass(error: BaseException) -> bool:
    """True for an error of the memory or the operating system, also as TensorStore tells one."""
    if isinstance(error, FileNotFoundError):
        return False
    return isinstance(error, OSError | MemoryError) or bool(OS_ERROR.search(str(error)))


def _unreadable(folder: pathlib.Path) -> OSError | None:
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
    with file.open("rb") as content:
        while content.read(2**20):
            pass


def _short(error: BaseException) -> str:
    if found := OS_ERROR.search(str(error)):
        return os.strerror(int(found[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    name = "" if isinstance(error, Wrong) else f"{type(error).__name__}: "
    text = first_line(error).split(" [tensorstore_spec=")[0]
    return name + (text if len(text) < 200 else f"{text[:40]} … {text[-150:]}")
