"""Reads PyTorch state_dicts and turns them into checkpoints."""

import hashlib
import io
import os
import pathlib
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcifar.config import schema
from jaxcifar.data import cifar10
from jaxcifar.errors import UserError
from jaxcifar.run import damage, provenance
from jaxcifar.system import devices
from jaxcifar.training import experiment
from jaxcifar.weights import release, torch_names

WITHIN = "state_dict"  # where many keep it, beside the epoch and the like


PARALLEL = "module."  # what torch.nn.DataParallel puts before each name


COUNTER = ".num_batches_tracked"  # of PyTorch's BatchNorm, which has no use of it


def read(file: pathlib.Path, content: bytes) -> dict[str, np.ndarray]:
    """Returns the tensors of a state_dict by name, float32, without `module.` before the names.

    No code is run: of a pickle nothing but tensors, numbers, texts and their containers is made.

    Raises:
      UserError: there is anything else in it, or no state_dict; or PyTorch is not installed.
    """
    torch = torch_names.pytorch()
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # of damaged bytes it may raise anything
        raise UserError(
            f"{file} holds more than weights, or is not PyTorch's, and was not loaded (no code in"
            " it was run); expected what torch.save(net.state_dict(), FILE) writes"
        ) from error
    found = loaded.get(WITHIN, loaded) if isinstance(loaded, dict) else None
    if not (isinstance(found, dict) and found and all(isinstance(name, str) for name in found)):
        raise UserError(f"{file} holds no state_dict; expected one, alone or under {WITHIN!r}")
    found = {name: tensor for name, tensor in found.items() if not name.endswith(COUNTER)}
    for name, tensor in found.items():
        if not (isinstance(tensor, torch.Tensor) and tensor.is_floating_point()):
            kind = getattr(tensor, "dtype", type(tensor).__name__)
            raise UserError(f"{file} holds {name} of type {kind}; expected tensors of floats")
    before = PARALLEL if all(name.startswith(PARALLEL) for name in found) else ""
    return {
        name.removeprefix(before): tensor.detach().float().numpy() for name, tensor in found.items()
    }


def import_torch(file: pathlib.Path, config: ConfigDict, out: pathlib.Path) -> dict[str, Any]:
    """Writes the state_dict in `file` to the new folder `out` as step 0 of a run of `config`.

    Returns {params, batch_stats, ema}; where the config has averaged weights, they are the same.

    Raises:
      UserError: `out` exists or cannot be written; the file cannot be read; or its weights are
        not those of `config.model`.
    """
    if os.path.lexists(out):
        raise UserError(f"--workdir={out} exists; choose a folder that does not")
    parts = experiment.build_experiment(config)
    with damage.as_user_error(f"cannot read {file}"):
        content = file.read_bytes()
    tensors = read(file, content)
    like = parts.abstract_model()
    variables = {name: like[name] for name in ("params", "batch_stats")}
    model = torch_names.from_torch(config.model, variables, tensors)
    model["ema"] = None if like["ema"] is None else model["params"]
    model = jax.tree.map(lambda leaf, one: jax.device_put(leaf, one.sharding), model, like)
    if config.data.source == "cifar10":  # without the data
        class_names = cifar10.CLASS_NAMES
    else:
        class_names = experiment.load_data(config).class_names
    meta = {
        "config": schema.to_json(config),
        "class_names": list(class_names),
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
        release.write(out, 0, model, meta, None)
    return model
