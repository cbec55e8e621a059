"""The workdir: the folder of one run, which no run of another config may overwrite."""

import contextlib
import errno
import fcntl
import glob
import json
import os
import pathlib
import socket
import warnings
from collections.abc import Iterator
from typing import IO, Any

from ml_collections import ConfigDict

from jaxcifar.config import compare, files, schema
from jaxcifar.errors import UserError
from jaxcifar.run import damage, metrics
from jaxcifar.system import atomic

TEMPORARY = "*.[0-9]*.tmp"  # files of `atomic.replacing`
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # of some network file systems
LEFTOVERS = (".lock", ".writable", TEMPORARY)  # of a process that was killed at its start


def check_path(path: pathlib.Path) -> None:
    """Raises a UserError if Orbax, which merges shards by a pattern, cannot save in the folder."""
    if glob.escape(str(path.resolve())) != str(path.resolve()):
        raise UserError(
            f"{path} has one of the characters * ? [ in its full path, where checkpoints cannot be"
            " saved; choose another folder"
        )


def check_workdir(path: pathlib.Path, config: ConfigDict) -> None:
    """Creates the workdir if needed and checks that this config may use it.

    Raises:
      UserError: the folder belongs to a run of another config (the message lists the differences),
        is not empty and does not hold a run, or cannot be written.
    """
    check_path(path)
    try:
        if (path / "config.json").exists():
            differences = compare.differences(load_config(path), config)
            if differences:
                raise UserError(
                    f"{path} holds a run of another config ({'; '.join(differences)}); "
                    "choose another --workdir, or move this one away"
                )
        elif path.exists() and not all(any(map(f.match, LEFTOVERS)) for f in path.iterdir()):
            raise UserError(
                f"{path} is not empty and does not hold a run; choose another --workdir"
            )
    except OSError as error:
        raise UserError(f"cannot write to --workdir {path}: {error.strerror}") from error
    atomic.check_writable(path, "--workdir")


@contextlib.contextmanager
def claim_workdir(path: pathlib.Path, config: ConfigDict) -> Iterator[None]:
    """Locks the workdir for one training process and writes its config.json.

    The lock is released however the process ends. Temporary files of a killed process are removed.
    On a file system without locks, a warning says that nothing prevents a second process.

    Raises:
      UserError: this config may not use the folder, or another process is training in it.
    """
    check_workdir(path, config)
    with (path / ".lock").open("a+") as file:  # "w" would erase the name of the holder
        _lock(file, path)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        check_workdir(path, config)  # another process may have claimed it in the meantime
        with damage.as_user_error(f"cannot write to --workdir {path}"):
            for leftover in path.glob(TEMPORARY):
                leftover.unlink()
            if not (path / "config.json").exists():
                write_text(path / "config.json", schema.to_json(config) + "\n")
        yield


def _lock(file: IO[str], path: pathlib.Path) -> None:
    """Locks the file of a workdir; raises a UserError that names the process that holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read() or "another process"
        raise UserError(
            f"{holder} is training in {path}; wait for it, or choose another --workdir"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise UserError(f"cannot lock --workdir {path}: {error.strerror}") from error
        warnings.warn(
            f"the file system of {path} has no locks ({error.strerror}): make sure that only one"
            " process trains there",
            stacklevel=2,
        )


def new_folder_beside(path: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the path of a new folder beside a workdir: "RUN-NAME", "RUN-NAME-2", …

    Raises:
      UserError: the parent folder cannot be written.
    """
    path = path.resolve()
    atomic.check_writable(path.parent, "the folder of --workdir")
    numbered = (
        f"{path.name}-{name}{number}" for number in ("", *(f"-{n}" for n in range(2, 1000)))
    )
    return next(f for f in map(path.with_name, numbered) if not f.exists())


def load_config(path: pathlib.Path) -> ConfigDict:
    """Returns the config of the run in `path`.

    Raises:
      UserError: there is no run, or its config.json cannot be read.
    """
    file = path / files.RUN_FILE
    if not file.is_file():
        raise UserError(f"{path} is not a run's folder: it has no config.json, which train writes")
    return files.read_json_file(file)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic.replacing(path) as file:
        file.write(text.encode())


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file atomically, with null for numbers that are not finite."""
    write_text(path, json.dumps(metrics.finite(content), indent=2, allow_nan=False) + "\n")
