"""Reads PyTorch state_dicts and saves them as checkpoints."""

import contextlib
import hashlib
import io
import os
import pathlib
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcifar.data import cifar10, cifar100
from jaxcifar.errors import UserError, printable
from jaxcifar.run import damage
from jaxcifar.system import devices, files
from jaxcifar.training import about, experiment, initial
from jaxcifar.weights import release, torch_names

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # keys that may hold the state_dict
# What DataParallel, modules that hold the net, and torch.compile put before each name.
PREFIXES = ("module.", "model.", "_orig_mod.")
COUNTER = ".num_batches_tracked"  # a counter of PyTorch's BatchNorm that is not needed here
FLOATS = ("float16", "bfloat16", "float32", "float64")


class StateDict(NamedTuple):
    """The tensors in a file by name, as float32.

    `note` says which keys and which prefix of the names were removed. If `export` wrote the file,
    the names are paths of leaves and `exported` is its metadata; otherwise `exported` is {}.
    """

    tensors: dict[str, np.ndarray]
    note: str = ""
    exported: Mapping[str, Any] = {}


def read_state_dict(file: pathlib.Path, content: bytes) -> StateDict:
    """Returns the state_dict in the content of a file of PyTorch or safetensors.

    The keys `WRAPPERS` may hold the state_dict, and each name may begin with `PREFIXES`. No code in
    the file runs, because PyTorch unpickles only tensors, numbers, strings and their containers.

    Raises:
      UserError: the file holds anything else or no state_dict, or PyTorch is needed and missing.
    """
    if content[8:9] == b"{":  # safetensors: JSON after 8 bytes with its length
        arrays, exported = initial.read_safetensors(file, content)
        keys: list[str] = []
    else:
        (arrays, keys), exported = _read_torch(file, content), {}
    arrays = {name: array for name, array in arrays.items() if not name.endswith(COUNTER)}
    if not arrays:
        raise UserError(f"{file} holds no weights")
    for name, array in arrays.items():
        kind = str(getattr(array, "dtype", type(array).__name__))
        if kind.removeprefix("torch.") not in FLOATS:
            raise UserError(f"{file} holds {name} of type {kind}; expected tensors of floats")
    prefix = "" if exported else _common_prefix(arrays)
    tensors = {
        name.removeprefix(prefix): np.asarray(
            array if isinstance(array, np.ndarray) else array.detach().float(), np.float32
        )
        for name, array in arrays.items()
    }
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise UserError(f"{file} holds {name}, which is not finite in float32")
    note = f"under {'.'.join(keys)}" if keys else ""
    note += f"{' ' * bool(note)}without the prefix {prefix}" if prefix else ""
    return StateDict(tensors, note, exported)


def _common_prefix(names: Iterable[str]) -> str:
    """Returns the longest sequence of `PREFIXES` with which every name begins."""
    prefix = ""
    while more := [p for p in PREFIXES if all(name.startswith(prefix + p) for name in names)]:
        prefix += more[0]
    return prefix


def _read_torch(file: pathlib.Path, content: bytes) -> tuple[dict[str, Any], list[str]]:
    """Returns the tensors of a file of PyTorch, and the keys under which they were."""
    torch = torch_names.require_torch()
    _check_unpacked_size(file, content)
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes may raise anything
        raise UserError(
            f"{file} was not loaded, and no code in it was run: it holds more than weights or is"
            " not a PyTorch file; expected what torch.save(net.state_dict(), FILE) writes"
        ) from error
    keys: list[str] = []
    while isinstance(loaded, dict):
        inside = [k for k in WRAPPERS if k in loaded and not isinstance(loaded[k], torch.Tensor)]
        if not inside:
            break
        keys.append(inside[0])
        loaded = loaded[inside[0]]
    if not (isinstance(loaded, dict) and loaded and all(isinstance(k, str) for k in loaded)):
        raise UserError(
            f"{file} holds no state_dict; expected one, alone or under the key"
            f" {', '.join(map(repr, WRAPPERS[:-1]))} or {WRAPPERS[-1]!r}"
        )
    values = sum(x.numel() for x in loaded.values() if isinstance(x, torch.Tensor))
    if values > len(content):
        raise UserError(f"{file} claims more values than it has bytes; it was not loaded")
    return loaded, keys


def _check_unpacked_size(file: pathlib.Path, content: bytes) -> None:
    """Raises a UserError if the archive is compressed, which torch.save never does."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(content)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > len(content):
            raise UserError(
                f"{file} unpacks from {len(content):,} to {unpacked:,} bytes and was not loaded;"
                " expected a file of torch.save, which compresses nothing"
            )


def find_class_names(
    config: ConfigDict, file: pathlib.Path | None, exported: Mapping[str, Any]
) -> tuple[str, ...]:
    """Returns the names in `file`, one per line; without it, the export's or those of the data.

    If the data have another number of classes than the net, the names are numbers.

    Raises:
      UserError: the file cannot be read, or does not name each class of the net once.
    """
    number = config.model.num_classes
    if file is not None:
        lines = (line.strip() for line in files.read_text(file).splitlines())
        names = tuple(printable(line) for line in lines if line)
        if len(names) != number or len(set(names)) < number:
            raise UserError(
                f"{file} has {len(names)} class names, {len(set(names))} of them different;"
                f" expected {number} (config.model.num_classes), one per line"
            )
        return names
    if exported:
        return tuple(map(printable, exported["class_names"]))
    if config.data.source == "cifar10":  # the names are known without the data
        names = cifar10.CLASS_NAMES
    elif config.data.source == "cifar100":
        names = cifar100.CLASS_NAMES[config.data.get("labels", "fine")]
    else:
        names = experiment.load_data(config).class_names
    return names if len(names) == number else tuple(map(str, range(number)))


def _check_normalisation(file: pathlib.Path, config: ConfigDict, state: StateDict) -> None:
    """Raises a UserError if exported weights were trained with another mean or std."""
    for key in ("mean", "std") if state.exported else ():
        trained, found = (",".join(map(str, x[key])) for x in (state.exported, config.augment))
        if trained != found:
            raise UserError(
                f"{file} was trained with {key} {trained}, but config.augment.{key} is {found};"
                f" add --config.augment.{key}={trained}"
            )


def import_state_dict(
    file: pathlib.Path,
    config: ConfigDict,
    out: pathlib.Path,
    class_names: pathlib.Path | None = None,
) -> tuple[dict[str, Any], str]:
    """Saves the state_dict in `file` to the new folder `out`, as step 0 of a run of `config`.

    `class_names` is the file of `find_class_names`. Returns {params, batch_stats, ema} and the note
    of `StateDict`. If the config averages weights, `ema` equals `params`.

    Raises:
      UserError: `out` exists or cannot be written, the file cannot be read, or its weights are not
        finite or do not fit `config.model`.
    """
    if os.path.lexists(out):
        raise UserError(f"--workdir={out} already exists; choose another folder")
    parts = experiment.build_experiment(config, mesh=devices.make_mesh())
    with damage.reporting(f"cannot read {file}"):
        content = files.read_bytes(file, initial.MAX_BYTES, follow=True)
    state = read_state_dict(file, content)
    _check_normalisation(file, parts.config, state)
    names = find_class_names(config, class_names, state.exported)
    like = parts.abstract_model()
    variables = {name: like[name] for name in ("params", "batch_stats")}
    if state.exported:
        model = torch_names.from_paths(variables, state.tensors)
    else:
        model = torch_names.from_state_dict(parts.model, variables, state.tensors)
    model["ema"] = None if like["ema"] is None else model["params"]
    model = jax.tree.map(lambda leaf, one: jax.device_put(leaf, one.sharding), model, like)
    meta = {
        **about.make_weights_metadata(config, names, parts),
        "data": {"source": "unknown", "checksum": ""},
        "imported": {"file": file.name, "sha256": hashlib.sha256(content).hexdigest()},
    }
    with damage.reporting(f"cannot write to --workdir {out}"):
        release.write_weights(out, 0, model, meta, None)
    return model, state.note
