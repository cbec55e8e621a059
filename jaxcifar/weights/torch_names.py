"""Weights under PyTorch's names and in its layouts: the table of both, and the way there and back.

A leaf of {params, batch_stats} is one tensor of a state_dict. Names are the module's path, joined
by dots, and those of the common CIFAR ResNets for `resnet`.
"""

import importlib
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from jaxcifar.errors import UserError

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "slope": "weight",  # of PReLU
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
RESNET = {
    "conv": "conv1",
    "norm": "bn1",
    "norm1": "bn1",
    "norm2": "bn2",
    "skip": "shortcut.0",
    "skip_norm": "shortcut.1",
    "head": "linear",
}
ALSO = {"fc.": "linear.", "downsample.": "shortcut."}  # torchvision's names for the same
# which axes of a leaf its tensor has, by their number: HWIO -> OIHW, IO -> OI
AXES = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
SAFE = (2, 6)  # the first version of PyTorch whose weights_only holds (CVE-2025-32434)


class Row(NamedTuple):
    """A leaf and its tensor.

    `view` is the leaf's `shape`, but for a Dense layer behind a flattened map: there it is that of
    a kernel over the map, [H, W, C_in, C_out], because PyTorch flattens [C_in, H, W].
    """

    path: tuple[str, ...]
    name: str
    shape: tuple[int, ...]
    view: tuple[int, ...]

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        turned = tuple(self.view[axis] for axis in AXES[len(self.view)])
        return turned if len(self.shape) != 2 else (turned[0], math.prod(turned[1:]))


def table(model: Mapping, variables: Mapping) -> list[Row]:
    """Returns a row for each leaf of {params, batch_stats}, whose model `config.model` describes.

    The leaves are arrays, or their shapes.
    """
    rows = []
    for path, leaf in traverse_util.flatten_dict(variables).items():
        shape = tuple(leaf.shape)
        name = _name(path[1:], model["name"] == "resnet")
        rows.append(Row(path, name, shape, _view(path, shape, _flattened(model))))
    return rows


def to_torch(model: Mapping, variables: Mapping) -> dict[str, np.ndarray]:
    """Returns {params, batch_stats} as a state_dict of arrays, its names those of `table`."""
    leaves = traverse_util.flatten_dict(variables)
    tensors = {}
    for row in table(model, variables):
        turned = np.asarray(leaves[row.path]).reshape(row.view).transpose(AXES[len(row.view)])
        tensors[row.name] = np.ascontiguousarray(turned.reshape(row.tensor_shape))
    return tensors


def from_torch(model: Mapping, like: Mapping, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns {params, batch_stats} with the leaves of `like`: the inverse of `to_torch`.

    Raises:
      UserError: a name is missing or is not one of the model's, or a shape is another.
    """
    rows = table(model, like)
    if model["name"] == "resnet":
        given = tensors  # a name whose usual one is there too is left, and told
        tensors = {n if _usual(n) in given else _usual(n): x for n, x in given.items()}
    _check(rows, tensors)
    leaves = {}
    for row in rows:
        axes = AXES[len(row.view)]
        turned = tensors[row.name].reshape([row.view[axis] for axis in axes])
        leaves[row.path] = np.ascontiguousarray(turned.transpose(np.argsort(axes))).reshape(
            row.shape
        )
    return {name: {} for name in like} | traverse_util.unflatten_dict(leaves)


def pytorch() -> Any:
    """Returns the module torch, which this package does not need but for an exchange.

    Raises:
      UserError: it is not installed, or so old that loading weights could run code.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise UserError(
            "this needs PyTorch, which is not installed here: pip install torch (for the CPU"
            " alone: with --index-url https://download.pytorch.org/whl/cpu)"
        ) from error
    version = tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2])
    if version < SAFE:
        raise UserError(f"PyTorch {torch.__version__} is installed; expected 2.6 or newer")
    return torch


def _name(path: tuple[str, ...], of_resnet: bool) -> str:
    *modules, leaf = path
    if of_resnet:
        modules = [_resnet(module) for module in modules]
    own = LEAVES.get(leaf, f"{leaf}.weight")  # a kernel that is no module's
    return ".".join([*modules, own])


def _resnet(module: str) -> str:
    if found := re.fullmatch(r"stage(\d+)_block(\d+)", module):
        return f"layer{int(found[1]) + 1}.{found[2]}"
    return RESNET.get(module, module)


def _usual(name: str) -> str:
    for also, usual in ALSO.items():
        name = re.sub(rf"(^|\.){re.escape(also)}", rf"\1{usual}", name)
    return name


def _flattened(model: Mapping) -> int:
    """Returns the channels of the map that the head takes flattened; 0 where it takes none."""
    if model["name"] == "mlp":
        return 3 * (2 * model.get("whitening_size", 0) ** 2 or 1)
    if model["name"] == "simple_cnn" or model.get("head_input") == "flatten":
        return model["widths"][-1]
    return 0


def _view(path: tuple[str, ...], shape: tuple[int, ...], channels: int) -> tuple[int, ...]:
    if channels and path[-3:] == ("head", "dense0", "kernel"):
        side = math.isqrt(shape[0] // channels)
        return (side, side, channels, shape[1])
    return shape


def _check(rows: list[Row], tensors: Mapping[str, np.ndarray]) -> None:
    expected = {row.name: row.tensor_shape for row in rows}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    problems = [f"lack {_some(missing)}"] if missing else []
    problems += [f"have {_some(unexpected)}, which the model has not"] if unexpected else []
    problems += [
        f"have {name} of shape {list(found[name])}, where the model's is {list(shape)}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ][:1]
    if problems:
        raise UserError(
            f"the weights do not fit config.model: they {'; they '.join(problems)}; expected those"
            " of a net of the same depth, width and shortcut: --config.model.KEY=VALUE changes it"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
