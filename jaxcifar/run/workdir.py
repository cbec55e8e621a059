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

from jaxcifar import config as configs
from jaxcifar import files, schema
from jaxcifar.errors import UserError
from jaxcifar.run import metrics


def claim(path: pathlib.Path, config: ConfigDict) -> None:
    """Makes `path` the folder of this config, or finds that it is already.

    Raises:
      UserError: it belongs to another config (saying what differs), is not a run's folder, or
        cannot be written.
    """
    try:
        if (path / "config.json").exists():
            differences = schema.differences(load_config(path), config)
            if differences:
                raise UserError(
                    f"{path} holds a run of another config ({'; '.join(differences)}); "
                    "choose another --workdir, or move this one away"
                )
        elif path.exists() and any(path.iterdir()):
            raise UserError(f"{path} is not empty and not a run's; choose another --workdir")
        files.writable(path, "--workdir")
        if not (path / "config.json").exists():
            write_text(path / "config.json", configs.to_json(config) + "\n")
    except OSError as error:
        raise UserError(f"cannot write to --workdir {path}: {error.strerror}") from error


@contextlib.contextmanager
def lock(path: pathlib.Path) -> Iterator[None]:
    """Holds the folder for one training process; the kernel lets go of it however that ends.

    Raises:
      UserError: another process trains there, which the message names.
    """
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
        yield


def load_config(path: pathlib.Path) -> ConfigDict:
    """Returns the config of the run in `path`."""
    file = path / "config.json"
    if not file.is_file():
        raise UserError(f"{path} is not a run's folder: no config.json; expected what train wrote")
    try:
        return configs.from_json(file.read_text())
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except (AttributeError, ValueError) as error:  # JSON, but no object; or no JSON
        raise UserError(f"{file} is damaged: {error}; restore it or train again") from error


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes through a temporary file, so that neither reader nor crash sees half of it."""
    with files.replacing(path) as file:
        file.write(text.encode())


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes JSON text, atomically; null for a number that is not finite."""
    write_text(path, json.dumps(metrics.finite(content), indent=2, allow_nan=False) + "\n")
