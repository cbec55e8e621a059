"""Reads PyTorch state_dicts and saves them as checkpoints."""

import contextlib
import hashlib
import io
import os
import pathlib
import time
import zipfile
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcifar.config import schema
from jaxcifar.data import cifar10
from jaxcifar.errors import UserError, printable
from jaxcifar.run import damage, provenance
from jaxcifar.system import devices, files
from jaxcifar.training import experiment
from jaxcifar.weights import release, torch_names

MAX_BYTES = 2**31
STATE_DICT = "state_dict"  # the usual key, if the file also holds the epoch and the like
PARALLEL = "module."  # the prefix that torch.nn.DataParallel puts before each name
COUNTER = ".num_batches_tracked"  # a counter of PyTorch's BatchNorm that is not needed here


def read_state_dict(file: pathlib.Path, content: bytes) -> dict[str, np.ndarray]:
    """Returns the tensors of a state_dict by name, as float32, without the prefix `module.`.

    No code in the file runs: PyTorch only unpickles tensors, numbers, strings and their containers.

    Raises:
      UserError: the file holds anything else or no state_dict, or PyTorch is not installed.
    """
    torch = torch_names.require_torch()
    _check_unpacked_size(file, content)
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes may raise anything
        raise UserError(
            f"{file} was not loaded, and no code in it was run: it holds more than weights or is"
            " not a PyTorch file; expected what torch.save(net.state_dict(), FILE) writes"
        ) from error
    tensors = loaded.get(STATE_DICT, loaded) if isinstance(loaded, dict) else None
    if not (isinstance(tensors, dict) and tensors and all(isinstance(k, str) for k in tensors)):
        raise UserError(
            f"{file} holds no state_dict; expected one, alone or under the key {STATE_DICT!r}"
        )
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)}
    for name, tensor in tensors.items():
        if not (isinstance(tensor, torch.Tensor) and tensor.is_floating_point()):
            kind = getattr(tensor, "dtype", type(tensor).__name__)
            raise UserError(f"{file} holds {name} of type {kind}; expected tensors of floats")
    if sum(tensor.numel() for tensor in tensors.values()) > len(content):
        raise UserError(f"{file} claims more values than it has bytes; it was not loaded")
    prefix = PARALLEL if all(name.startswith(PARALLEL) for name in tensors) else ""
    return {
        name.removeprefix(prefix): tensor.detach().float().numpy()
        for name, tensor in tensors.items()
    }


def _check_unpacked_size(file: pathlib.Path, content: bytes) -> None:
    """Raises a UserError if the archive is compressed, which torch.save never does."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(content)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > len(content):
            raise UserError(
                f"{file} unpacks from {len(content):,} to {unpacked:,} bytes and was not loaded;"
                " expected a file of torch.save, which compresses nothing"
            )


def find_class_names(config: ConfigDict, file: pathlib.Path | None) -> tuple[str, ...]:
    """Returns the names in `file`, one a line, or those of the config's data.

    Classes are named by their number if the data have another number of classes than the net.

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
                f" expected {number} (config.model.num_classes), one a line"
            )
        return names
    if config.data.source == "cifar10":  # the names are known without the data
        names = cifar10.CLASS_NAMES
    else:
        names = experiment.load_data(config).class_names
    return names if len(names) == number else tuple(map(str, range(number)))


def import_state_dict(
    file: pathlib.Path,
    config: ConfigDict,
    out: pathlib.Path,
    class_names: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Saves the state_dict in `file` to the new folder `out`, as step 0 of a run of `config`.

    `class_names` is the file of `find_class_names`. Returns {params, batch_stats, ema}. If the
    config averages weights, `ema` equals `params`.

    Raises:
      UserError: `out` exists or cannot be written, the file cannot be read, or its weights are not
        finite or do not fit `config.model`.
    """
    if os.path.lexists(out):
        raise UserError(f"--workdir={out} exists; choose a folder that does not")
    parts = experiment.build_experiment(config, mesh=devices.make_mesh())
    names = find_class_names(config, class_names)
    with damage.as_user_error(f"cannot read {file}"):
        content = files.read_bytes(file, MAX_BYTES, follow=True)
    tensors = read_state_dict(file, content)
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise UserError(f"{file} holds {name} with a NaN or an infinite value as float32")
    like = parts.abstract_model()
    variables = {name: like[name] for name in ("params", "batch_stats")}
    model = torch_names.from_state_dict(parts.model, variables, tensors)
    model["ema"] = None if like["ema"] is None else model["params"]
    model = jax.tree.map(lambda leaf, one: jax.device_put(leaf, one.sharding), model, like)
    meta = {
        "config": schema.to_json(config),
        "class_names": list(names),
        "mean": list(config.augment.mean),
        "std": list(config.augment.std),
        "data": {"source": "unknown", "checksum": ""},
        "imported": {"file": file.name, "sha256": hashlib.sha256(content).hexdigest()},
        "device": devices.describe(parts.mesh),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "date": time.strftime("%Y-%m-%d"),
    }
    with damage.as_user_error(f"cannot write to --workdir {out}"):
        release.write_weights(out, 0, model, meta, None)
    return model
