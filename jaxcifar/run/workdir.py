"""The workdir: the folder of one run, which no run of another config may overwrite."""

import contextlib
import errno
import fcntl
import glob
import itertools
import json
import os
import pathlib
import re
import socket
import warnings
from collections.abc import Callable, Iterator
from typing import IO, Any

from ml_collections import ConfigDict

from jaxcifar.config import compare, fields, schema
from jaxcifar.errors import UserError, first_line
from jaxcifar.run import damage, metrics
from jaxcifar.system import atomic, files, json_files

STEPS = "steps"  # the folder of the checkpoints
STEP = re.compile("0|[1-9][0-9]*")  # the name of a step's folder, as Orbax reads it
TEMPORARY = "*.[0-9]*.tmp"  # files of `atomic.replacing`
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # of some network file systems
LEFTOVERS = (".lock", TEMPORARY)  # of a process that was killed at its start


def resolve(path: pathlib.Path) -> pathlib.Path:
    """Returns the full path of a run's folder, without links.

    Raises:
      UserError: it is a link to itself, or is not UTF-8, which Orbax can neither save nor read.
    """
    try:
        full = path.resolve()
        str(full).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path} is not UTF-8 in its full path; rename the folder") from error
    except (RuntimeError, OSError) as error:  # Python 3.13 raises an OSError
        raise UserError(f"cannot read {path}: {first_line(error)}") from error
    return full


def check_path(path: pathlib.Path) -> None:
    """Raises a UserError if Orbax, which merges shards by a pattern, cannot save in the folder."""
    full = str(resolve(path))
    if glob.escape(full) != full:
        raise UserError(
            f"{path} has one of the characters * ? [ in its full path, where checkpoints cannot be"
            " saved; choose another folder"
        )


def check_workdir(
    path: pathlib.Path, config: ConfigDict, continues: Callable[[int], bool] = lambda _: False
) -> None:
    """Creates the workdir if needed and checks that this config may use it.

    `continues(n)` says whether a run of n epochs, fewer than the config's, equals the start of the
    config's run; the config may then continue that run.

    Raises:
      UserError: the folder belongs to a run of another config (the message lists the differences),
        is not empty and does not hold a run, holds a link or a device, or cannot be written.
    """
    check_path(path)
    files.check_folder(path)
    try:
        if (path / "config.json").exists():
            saved = load_config(path)
            with naming(path):
                differences = compare.differences(saved, config)
            if len(differences) == 1 and saved.num_epochs < config.num_epochs:
                _check_continues(path, saved.num_epochs, config, continues)
            elif differences:
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
    for file in (path / metrics.FILE, path / metrics.ASIDE):
        if file.exists():
            with damage.reporting(f"cannot write to {file}"):
                files.open_plain(file, "ab").close()


def _check_continues(
    path: pathlib.Path, epochs: int, config: ConfigDict, continues: Callable[[int], bool]
) -> None:
    if not continues(epochs):
        raise UserError(
            f"{path} holds a run with num_epochs={epochs}; with num_epochs={config.num_epochs},"
            f" schedule.name={config.schedule.name} would have given it other learning rates: to"
            f" train longer, start a run from its weights, --workdir=NEW --init_from={path}"
        )


def list_steps(path: pathlib.Path) -> set[str]:
    """Returns the names of the saved steps of a run, which are numbers, without reading them.

    Temporary folders of a killed save have other names.
    """
    return {folder.name for folder in (path / STEPS).glob("*") if STEP.fullmatch(folder.name)}


@contextlib.contextmanager
def claim_workdir(
    path: pathlib.Path, config: ConfigDict, continues: Callable[[int], bool] = lambda _: False
) -> Iterator[None]:
    """Locks the workdir for one training process and writes its config.json.

    `continues` is that of `check_workdir`. The lock is released however the process ends. Temporary
    files of a killed process are removed. On a file system without locks, a warning says that
    nothing prevents a second process.

    Raises:
      UserError: this config may not use the folder, or another process is training in it.
    """
    check_workdir(path, config, continues)
    with damage.reporting(f"cannot lock --workdir {path}"):
        # "w" would erase the name of the holder
        file = files.open_plain(path / ".lock", "a+", errors="replace")
    with file:
        _lock(file, path)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        # another process may have claimed the folder in the meantime
        check_workdir(path, config, continues)
        with damage.reporting(f"cannot write to --workdir {path}"):
            for pattern in LEFTOVERS[1:]:
                for leftover in path.glob(pattern):
                    leftover.unlink()
            if not (path / "config.json").exists():
                atomic.write_text(path / "config.json", schema.to_json(config) + "\n")
        yield


def lengthen(path: pathlib.Path, config: ConfigDict) -> None:
    """Updates config.json of a claimed run if the config now has more epochs."""
    if load_config(path).num_epochs != config.num_epochs:
        with damage.reporting(f"cannot write to --workdir {path}"):
            atomic.write_text(path / "config.json", schema.to_json(config) + "\n")


def _lock(file: IO[str], path: pathlib.Path) -> None:
    """Locks the file of a workdir; raises a UserError that names the process that holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read(200) or "another process"
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


def make_folder_beside(path: pathlib.Path, name: str) -> pathlib.Path:
    """Makes a new folder beside a workdir, "RUN-NAME", "RUN-NAME-2", …, and returns its path.

    Raises:
      UserError: the parent folder cannot be written.
    """
    check_beside(path)
    path = path.resolve()
    for number in itertools.count(1):
        folder = path.with_name(f"{path.name}-{name}" + (f"-{number}" if number > 1 else ""))
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def check_beside(path: pathlib.Path) -> None:
    """Raises a UserError if no folder can be made beside a workdir."""
    atomic.check_writable(path.resolve().parent, "the folder of --workdir")


def load_config(path: pathlib.Path) -> ConfigDict:
    """Returns the config of the run in `path`.

    Raises:
      UserError: there is no run, or its config.json cannot be read.
    """
    file = path / "config.json"
    if not os.path.lexists(path):
        near = fields.nearest(path.name, [f.name for f in path.parent.glob("*")])
        guess = f"; did you mean {path.with_name(near)}?" if near else ""
        raise UserError(f"{path} does not exist{guess}")
    if not os.path.lexists(file):
        raise UserError(f"{path} is not a run's folder: it has no config.json, which train writes")
    files.check_folder(path)
    try:
        with naming(path):
            return schema.from_dict(json_files.read(file, {}))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except json_files.BadJson as error:
        raise UserError(f"{file} is damaged: {error}; restore it or train again") from error


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
    """Puts the path of a run's config.json before the message of a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path / 'config.json'}: {error}") from error


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file atomically, with null for numbers that are not finite."""
    atomic.write_text(
        path, json.dumps(metrics.without_nonfinite(content), indent=2, allow_nan=False) + "\n"
    )
