"""Writes weights in formats that other programs read."""

import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxcifar import models
from jaxcifar.config import schema
from jaxcifar.errors import UserError
from jaxcifar.run import damage
from jaxcifar.system import atomic
from jaxcifar.training.step import forward
from jaxcifar.weights import onnx, torch_names
from jaxcifar.weights.net import Net, load_net

PLATFORMS = ("cpu", "cuda")


def describe(net: Net) -> dict[str, str]:
    """Returns metadata: `config`, `class_names`, `mean` and `std` as JSON, and `step`."""
    config = schema.without_paths(net.parts.config)
    return {
        "config": schema.to_json(config),
        "class_names": json.dumps(net.class_names),
        "mean": json.dumps(config.augment.mean),
        "std": json.dumps(config.augment.std),
        "step": str(net.step),
    }


def to_safetensors(net: Net) -> bytes:
    """Returns the weights as safetensors, with names such as params/conv/kernel and Flax's layouts.

    The metadata are those of `describe`.
    """
    import safetensors.numpy

    flat = traverse_util.flatten_dict(net.variables, sep="/")
    tensors = {name: np.ascontiguousarray(leaf) for name, leaf in flat.items()}
    return safetensors.numpy.save(tensors, describe(net))


def make_program(net: Net, compute_dtype: str) -> Callable[[jax.Array], jax.Array]:
    """Returns a function that contains the weights, the normalisation and the views of an image.

    It maps uint8 images [B, 32, 32, 3] to probabilities [B, num_classes], float32.
    """
    # One program serves all platforms, so the model uses no platform's own implementations.
    dtype = models.DTYPES[compute_dtype]
    model = models.build_model(net.parts.config.model, dtype, "")
    augment = dataclasses.replace(net.parts.augment, dtype=dtype)
    variables = jax.tree.map(np.asarray, net.variables)

    def probabilities(images: jax.Array) -> jax.Array:
        views = net.parts.evaluation.views
        logits, _ = forward(variables, images, model=model, augment=augment, views=views)
        return jax.nn.softmax(logits)

    return probabilities


def to_jax(net: Net) -> bytes:
    """Returns `make_program` as a serialized `jax.export` program for each of `PLATFORMS`."""
    program = make_program(net, net.parts.config.compute_dtype)
    shape = jax.export.symbolic_shape("batch, 32, 32, 3")
    images = jax.ShapeDtypeStruct(shape, jnp.uint8)
    exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())


def to_onnx(net: Net) -> bytes:
    """Returns `make_program` as an ONNX model in float32, with the metadata of `describe`."""
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    return onnx.to_onnx(make_program(net, "float32"), images, describe(net))


def to_torch(net: Net) -> bytes:
    """Returns the weights as a PyTorch state_dict, in the format of `torch.save`."""
    torch = torch_names.require_torch()
    tensors = torch_names.to_state_dict(net.parts.model, net.variables)
    file = io.BytesIO()
    torch.save({name: torch.tensor(tensor) for name, tensor in tensors.items()}, file)
    return file.getvalue()


FORMATS: dict[str, Callable[[Net], bytes]] = {
    "safetensors": to_safetensors,
    "jax": to_jax,
    "torch": to_torch,
    "onnx": to_onnx,
}
NEEDS: dict[str, Callable[[], Any]] = {
    "torch": torch_names.require_torch,
    "onnx": onnx.require_onnx,
}


def export_weights(source: pathlib.Path, step: str, format: str, out: pathlib.Path) -> int:
    """Writes the weights of a step of the run in `source` to the file `out`; returns its size.

    Raises:
      UserError: `out` exists or cannot be written, the run or step does not exist, or a package
        is needed and not installed.
    """
    if os.path.lexists(out):
        raise UserError(f"--out={out} already exists; choose another file")
    if format in NEEDS:
        NEEDS[format]()  # fail before anything slow
    atomic.check_writable(out.parent, "the folder of --out,")
    content = FORMATS[format](load_net(source, step))
    with damage.reporting(f"cannot write to --out {out}"), atomic.replacing(out) as file:
        file.write(content)
    return len(content)
