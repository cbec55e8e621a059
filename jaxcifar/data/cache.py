"""Keeps arrays that are slow to read as .npz files in the cache folder."""

import logging
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxcifar.system import atomic, files


def read(path: Path, names: Sequence[str]) -> list[np.ndarray] | None:
    """Returns the named arrays of a file; None if it is missing or, with a warning, damaged."""
    if not path.exists():
        return None
    try:
        with files.open_plain(path, follow=True) as raw, np.load(raw, allow_pickle=False) as file:
            return [file[name] for name in names]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        warn_damaged(path, f"{type(error).__name__}: {error}")
        return None


def warn_damaged(path: Path, problem: str) -> None:
    """Logs that a file of the cache is not used."""
    logging.getLogger(__name__).warning("%s is damaged (%s); reading the data again", path, problem)


def write(path: Path, **arrays: np.ndarray) -> None:
    """Writes the arrays, uncompressed and atomically; failing only logs a warning."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        logging.getLogger(__name__).warning(
            "cannot write a copy of the data to %s: %s", path, error
        )
