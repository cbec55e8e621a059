"""Writes weights as an ONNX model, by way of jax2onnx, which is not a dependency."""

import functools
import importlib
import logging
import types
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import jax
import numpy as np

from jaxcifar.errors import UserError, first_line

TOLERANCE = 1e-4  # of a probability
INSTALL = (  # jax2onnx asks for an older Orbax, which it does not need here
    "pip install onnx onnx-ir onnxruntime sympy && pip install --no-deps jax2onnx"
)


def require_onnx() -> list[types.ModuleType]:
    """Returns onnx, onnxruntime, the passes of onnx_ir, jax2onnx and its converter.

    Raises:
      UserError: one of them is not installed.
    """
    names = ("onnx", "onnxruntime", "onnx_ir.passes.common")
    try:
        return [
            importlib.import_module(name)
            for name in (*names, "jax2onnx", "jax2onnx.converter.conversion_api")
        ]
    except ImportError as error:
        raise UserError(f"this needs jax2onnx ({first_line(error)}): {INSTALL}") from error


def to_onnx(
    program: Callable[[jax.Array], jax.Array], images: np.ndarray, metadata: Mapping[str, str]
) -> bytes:
    """Returns an ONNX model of `program`, from images, uint8 [B, 32, 32, 3], to probabilities.

    The model's probabilities of `images`, from ONNX Runtime, are compared with those of `program`.

    Raises:
      UserError: a package is not installed, or the model cannot be made or computes other
        probabilities.
    """
    onnx, runtime, passes, jax2onnx, converter = require_onnx()
    inputs = [jax.ShapeDtypeStruct(("batch", *images.shape[1:]), images.dtype)]
    for library in ("jax2onnx", "onnx_ir"):  # they warn about parts that are not needed here
        logging.getLogger(library).setLevel(logging.ERROR)
    names = {"input_names": ["images"], "output_names": ["probabilities"]}
    try:
        # The optimiser of jax2onnx 0.17.1 has a fault: it moves a transpose past an addition, but
        # only for one operand, as in a ResNet with shortcut B. ONNX Runtime optimises anyway.
        with mock.patch.object(converter, "optimize_graph", functools.partial(_shrink, passes)):
            model = jax2onnx.to_onnx(program, inputs, model_name="jaxcifar", **names)
        onnx.helper.set_model_props(model, dict(metadata))
        content = bytes(model.SerializeToString())
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (found,) = session.run(["probabilities"], {"images": images})
    except Exception as error:  # jax2onnx and ONNX Runtime raise errors of many classes
        raise UserError(f"jax2onnx cannot convert this net: {first_line(error)}") from error
    difference = float(abs(found - np.asarray(jax.jit(program)(images))).max())
    if not difference <= TOLERANCE:
        raise UserError(
            f"jax2onnx converts this net into one whose probabilities differ by {difference:.2g}"
            " from those of JAX; no file was written"
        )
    return content


def _shrink(passes: Any, model: Any) -> Any:
    """Returns the model without unused nodes and with one copy of the weights for all views."""
    model = passes.RemoveUnusedNodesPass()(model).model
    return passes.DeduplicateInitializersPass(size_limit=2**28)(model).model
