"""Reads the weights that a run starts from, `config.init_from`, from another run or a file.

The other run's folder may come from train, release or import_torch, and the file from
`export --to=safetensors`.
"""

import contextlib
import hashlib
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxcifar.errors import UserError, first_line
from jaxcifar.run import damage
from jaxcifar.run.leaves import by_path
from jaxcifar.run.saved_model import read_model
from jaxcifar.system import devices, files, json_files
from jaxcifar.system.json_files import INTEGER, NUMBER, TEXT
from jaxcifar.training.state import eval_variables

SUFFIX = ".safetensors"
MAX_BYTES = 2**31
EXPORTED = {  # metadata that `export` writes, and their forms
    "class_names": [TEXT],
    "mean": [NUMBER],
    "std": [NUMBER],
    "step": INTEGER,
}
KEY = "initial_weights"  # in the metadata of a run that started from them


class Weights(NamedTuple):
    """Initial leaves by path, such as params/head/kernel, and JSON about their origin."""

    leaves: dict[str, Any]
    about: dict[str, Any]


def read_weights(source: str, like: Mapping, head: Collection[str], mesh: Mesh) -> Weights:
    """Returns the leaves of `source` that fit `like`, {params, batch_stats}.

    From a run, these are the weights of the latest step, or its averaged weights if it has any.
    `head` lists the leaves of the last layer, the only ones that may be missing or have another
    shape.

    Raises:
      UserError: the source cannot be read, or leaves outside the head do not fit.
    """
    path = files.expand_home(source)
    found, about = _read_file(path) if path.suffix == SUFFIX else _read_run(path, mesh)
    wanted = by_path(like)
    shapes = [{p: tuple(leaf.shape) for p, leaf in tree.items()} for tree in (found, wanted)]
    differ = sorted(p for p in found | wanted if shapes[0].get(p) != shapes[1].get(p))
    if wrong := [p for p in differ if p not in head]:
        old, new = (shape.get(wrong[0], "no such array") for shape in shapes)
        raise UserError(
            f"config.init_from={source} does not fit config.model in {len(wrong)} arrays, such as"
            f" {wrong[0]} (the source has {old}, the model {new}); only the last layer"
            f" ({', '.join(sorted(head))}) may differ"
        )
    digest = hashlib.sha256()
    for _, leaf in sorted(found.items()):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    about |= {"name": path.resolve().name, "sha256": digest.hexdigest(), "left_out": differ}
    leaves = {p: found[p] for p in wanted if p not in differ}
    return Weights(devices.place(leaves, mesh), about)


def _read_run(path: pathlib.Path, mesh: Mesh) -> tuple[dict[str, Any], dict[str, Any]]:
    if not path.is_dir():
        raise UserError(
            f"config.init_from: {path} is neither a run's folder nor a file *{SUFFIX} that export"
            " wrote; import_torch makes a run's folder from PyTorch's weights"
        )
    files.check_folder(path)
    step, model, meta = read_model(path, "latest", devices.replicated(mesh))
    about = {"step": step, "mean": meta["mean"], "std": meta["std"]}
    return by_path(eval_variables(**{"batch_stats": {}, "ema": None} | model)), about


def _read_file(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with damage.reporting(f"cannot read config.init_from={path}"):
        content = files.read_bytes(path, MAX_BYTES, follow=True)
    exported: dict[str, Any] = {}
    with contextlib.suppress(UserError):
        leaves, exported = read_safetensors(path, content)
    if not exported:
        raise UserError(
            f"config.init_from: {path} is damaged or was not written by export --to=safetensors"
        )
    return leaves, {key: exported[key] for key in ("step", "mean", "std")}


def read_safetensors(
    file: pathlib.Path, content: bytes
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns the arrays of a safetensors file, and its metadata if `export` wrote it, else {}."""
    import safetensors.numpy

    try:
        arrays = safetensors.numpy.load(content)
        size = int.from_bytes(content[:8], "little")
        form = {"__metadata__?": {str: TEXT}}
        metadata = json_files.parse(content[8 : 8 + size], form).get("__metadata__", {})
        if not metadata.keys() >= EXPORTED.keys():
            return arrays, {}
        return arrays, {k: json_files.parse(metadata[k], form) for k, form in EXPORTED.items()}
    except KeyError as error:
        raise UserError(
            f"{file} holds tensors of type {error.args[0]}, which NumPy lacks; save them as float32"
        ) from error
    except (safetensors.SafetensorError, ValueError) as error:
        raise UserError(
            f"{file} is not a complete safetensors file: {first_line(error)}"
        ) from error
