"""The JSON metadata of a saved step, in Orbax's file, checked before anything uses it."""

import json
import pathlib
import zlib
from typing import Any

from jaxcifar.run.damage import ContentError
from jaxcifar.system import json_files, output
from jaxcifar.system.json_files import INTEGER, MAYBE_NUMBER, TEXT, BadJson

FILE, METRICS = "_CHECKPOINT_METADATA", "metrics/metrics"
SEAL = "seal"  # key of the CRC-32 of a step's other JSON
SYNTAX = (json.JSONDecodeError, UnicodeDecodeError)
NORMALISATION = {"mean": [MAYBE_NUMBER], "std": [MAYBE_NUMBER]}
FORM: dict[Any, Any] = {
    "crc32": {str: INTEGER},
    "seal?": INTEGER,
    "config?": TEXT,
    "class_names?": [TEXT],
    **{f"{key}?": form for key, form in NORMALISATION.items()},
    "initial_weights?": {"name": TEXT, "step": INTEGER, "left_out": [TEXT], **NORMALISATION},
    "data?": {"source": TEXT, "checksum": TEXT},
    "images?": {"train": INTEGER, "test": INTEGER},
    "imported?": {"file": TEXT, "sha256": TEXT},
    "versions?": {str: TEXT},
    **dict.fromkeys(("device?", "commit?", "date?"), TEXT),
}
# The values that are assumed for keys that a step lacks.
UNKNOWN: dict[str, Any] = {
    "class_names": [],
    "mean": [],
    "std": [],
    "data": {"source": "unknown", "checksum": ""},
    "versions": {},
    **dict.fromkeys(("device", "commit", "date"), "unknown"),
}


def read(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the metadata of the step in `folder`.

    Raises:
      OSError: the file cannot be read, which Orbax would treat like an empty file.
      ContentError: it is not what was written.
    """
    try:
        whole = json_files.read(folder / FILE, {"custom_metadata": FORM})
    except BadJson as error:
        raise ContentError(f"{FILE}: {error}") from error
    meta: dict[str, Any] = whole["custom_metadata"]
    seal = sealed(meta)[SEAL]
    if not meta["crc32"] or meta.get(SEAL, seal) != seal:  # old checkpoints have no seal
        raise ContentError(f"{FILE}: its checksum is wrong")
    return meta


def sealed(meta: dict[str, Any]) -> dict[str, Any]:
    """Returns the metadata with their own checksum added."""
    meta = {key: value for key, value in meta.items() if key != SEAL}
    return {**meta, SEAL: zlib.crc32(json.dumps(meta, sort_keys=True).encode())}


def printable(meta: dict[str, Any]) -> dict[str, Any]:
    """Returns the metadata with all keys, and with names that are safe to print."""
    config = {key: meta[key] for key in ("config",) if key in meta}  # keeps its line breaks
    return UNKNOWN | output.cleaned(meta) | config


def check_listed(folder: pathlib.Path) -> None:
    """Raises an OSError or ContentError if this step would keep Orbax from listing any step."""
    for name, form in ((METRICS, {"accuracy": MAYBE_NUMBER}), (FILE, {})):
        try:
            json_files.read(folder / name, form)
        except FileNotFoundError:
            pass
        except BadJson as error:
            # Orbax reads bad syntax in this file as an empty object
            if name == METRICS or not isinstance(error.__cause__, SYNTAX):
                raise ContentError(f"{name}: {error}") from error
