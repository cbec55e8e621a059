"""The folder of a run: claimed by one config, and never overwritten by another."""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from jaxcifar.config import compare, schema
from jaxcifar.errors import UserError
from jaxcifar.run import damage, metrics
from jaxcifar.system import atomic

HALF = "*.[0-9]*.tmp"  # what `files.replacing` writes to
LEFT = (".lock", ".writable", HALF)  # by a process that was killed before the folder was a run's


def check(path: pathlib.Path, config: ConfigDict) -> None:
    """Makes the folder where there is none, and finds that it is, or can be, that of this config.

    Raises:
      UserError: it belongs to another config (saying what differs), is not a run's folder, or
        cannot be written.
    """
    try:
        if (path / "config.json").exists():
            differences = compare.differences(load_config(path), config)
            if differences:
                raise UserError(
                    f"{path} holds a run of another config ({'; '.join(differences)}); "
                    "choose another --workdir, or move this one away"
                )
        elif path.exists() and not all(any(map(f.match, LEFT)) for f in path.iterdir()):
            raise UserError(f"{path} is not empty and not a run's; choose another --workdir")
    except OSError as error:
        raise UserError(f"cannot write to --workdir {path}: {error.strerror}") from error
    atomic.writable(path, "--workdir")


@contextlib.contextmanager
def claim(path: pathlib.Path, config: ConfigDict) -> Iterator[None]:
    """Holds `path`, as the folder of this config, for one training process.

    The kernel lets go of it however the process ends; what a killed one left half written is
    cleared.

    Raises:
      UserError: it cannot be that of this config, or another process, which the message names,
        trains there.
    """
    check(path, config)
    with (path / ".lock").open("a+") as file:  # not "w": the name in it may be another's
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read() or "another process"
            raise UserError(
                f"{holder} is training in {path}; wait for it, or choose another --workdir"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        check(path, config)  # another may have claimed it since
        with damage.as_user_error(f"cannot write to --workdir {path}"):
            for half in path.glob(HALF):
                half.unlink()
            if not (path / "config.json").exists():
                write_text(path / "config.json", schema.to_json(config) + "\n")
        yield


def beside(path: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the path of a folder that is not there yet, "RUN-NAME" next to a run's folder RUN.

    Raises:
      UserError: nothing can be written there.
    """
    path = path.resolve()
    atomic.writable(path.parent, "the folder of --workdir")
    numbered = (
        f"{path.name}-{name}{number}" for number in ("", *(f"-{n}" for n in range(2, 1000)))
    )
    return next(f for f in map(path.with_name, numbered) if not f.exists())


def load_config(path: pathlib.Path) -> ConfigDict:
    """Returns the config of the run in `path`."""
    file = path / "config.json"
    if not file.is_file():
        raise UserError(f"{path} is not a run's folder: no config.json; expected what train wrote")
    try:
        return schema.from_json(file.read_text())
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except (AttributeError, ValueError) as error:  # JSON, but no object; or no JSON
        raise UserError(f"{file} is damaged: {error}; restore it or train again") from error


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes through a temporary file, so that neither reader nor crash sees half of it."""
    with atomic.replacing(path) as file:
        file.write(text.encode())


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes JSON text, atomically; null for a number that is not finite."""
    write_text(path, json.dumps(metrics.finite(content), indent=2, allow_nan=False) + "\n")
