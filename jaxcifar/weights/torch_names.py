"""Converts weights between Flax and PyTorch: names and layouts, in both directions.

A leaf of {params, batch_stats} becomes one tensor of a state_dict. Its name is the path of modules,
joined by dots; a model class may offer other names for its modules (see `jaxcifar.models`).
"""

import importlib
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from flax import traverse_util

from jaxcifar.errors import UserError
from jaxcifar.models.whitening import Scaled, Whitened

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "slope": "weight",  # of PReLU
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
# Number of axes -> the axes of a leaf in the order of its tensor: HWIO -> OIHW, IO -> OI.
AXES = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
OLDEST_SAFE = (2, 6)  # older PyTorch can run code despite weights_only (CVE-2025-32434)


class Row(NamedTuple):
    """A leaf and its tensor.

    `view` is the shape in which the leaf's axes are permuted. It is `shape`, except for a Dense
    layer after a flattened map: PyTorch flattens [C_in, H, W], so its kernel is viewed as
    [H, W, C_in, C_out].
    """

    path: tuple[str, ...]
    name: str
    shape: tuple[int, ...]
    view: tuple[int, ...]

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        permuted = tuple(self.view[axis] for axis in AXES[len(self.view)])
        return permuted if len(self.shape) != 2 else (permuted[0], math.prod(permuted[1:]))


def list_rows(model: nn.Module, variables: Mapping) -> list[Row]:
    """Returns one row per leaf of the model's {params, batch_stats}: arrays or their shapes."""
    net, image_channels = _inner_net(model)
    torch_name = getattr(net, "torch_name", lambda module: module)
    channels = net.flattened_channels(image_channels) if hasattr(net, "flattened_channels") else 0
    rows = []
    for path, leaf in traverse_util.flatten_dict(variables).items():
        _, *modules, last = path
        last = LEAVES.get(last, f"{last}.weight")  # a kernel without a module of its own
        name = ".".join([*map(torch_name, modules), last])
        shape = tuple(leaf.shape)
        rows.append(Row(path, name, shape, _view(path, shape, channels)))
    return rows


def to_state_dict(model: nn.Module, variables: Mapping) -> dict[str, np.ndarray]:
    """Returns {params, batch_stats} as a state_dict of arrays."""
    leaves = traverse_util.flatten_dict(variables)
    tensors = {}
    for row in list_rows(model, variables):
        permuted = np.asarray(leaves[row.path]).reshape(row.view).transpose(AXES[len(row.view)])
        tensors[row.name] = np.ascontiguousarray(permuted.reshape(row.tensor_shape))
    return tensors


def from_state_dict(
    model: nn.Module, like: Mapping, tensors: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Returns a state_dict as {params, batch_stats} with the leaves of `like`.

    This is the inverse of `to_state_dict`, and it also reads the model's `torch_aliases`.

    Raises:
      UserError: a tensor is missing, unexpected or of another shape.
    """
    rows = list_rows(model, like)
    tensors = _rename_aliases(getattr(_inner_net(model)[0], "torch_aliases", {}), tensors)
    _check_tensors({row.name: row.tensor_shape for row in rows}, tensors)
    leaves = {}
    for row in rows:
        axes = AXES[len(row.view)]
        permuted = tensors[row.name].reshape([row.view[axis] for axis in axes])
        leaf = permuted.transpose(np.argsort(axes))
        leaves[row.path] = np.ascontiguousarray(leaf).reshape(row.shape)
    return {name: {} for name in like} | traverse_util.unflatten_dict(leaves)


def from_paths(like: Mapping, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns arrays named by their paths, such as params/conv/kernel, as the variables `like`.

    Raises:
      UserError: an array is missing, unexpected or of another shape.
    """
    leaves = traverse_util.flatten_dict(like, sep="/")
    _check_tensors({path: tuple(leaf.shape) for path, leaf in leaves.items()}, tensors)
    return {name: {} for name in like} | traverse_util.unflatten_dict(dict(tensors), sep="/")


def require_torch() -> Any:
    """Returns the module torch, which only import from and export to PyTorch need.

    Raises:
      UserError: it is not installed, or is so old that loading weights could run code.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise UserError(
            "this needs PyTorch, which is not installed here: pip install torch (for the CPU"
            " alone: with --index-url https://download.pytorch.org/whl/cpu)"
        ) from error
    version = tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2])
    if version < OLDEST_SAFE:
        raise UserError(f"PyTorch {torch.__version__} is installed; expected 2.6 or newer")
    return torch


def _inner_net(model: nn.Module, image_channels: int = 3) -> tuple[nn.Module, int]:
    """Returns the net inside whitening and scaling, and the channels of the images it sees."""
    if isinstance(model, Scaled):
        return _inner_net(model.net, image_channels)
    if isinstance(model, Whitened):
        return _inner_net(model.net, model.channels_out(image_channels))
    return model, image_channels


def _view(path: tuple[str, ...], shape: tuple[int, ...], channels: int) -> tuple[int, ...]:
    if channels and path[-3:] == ("head", "dense0", "kernel"):
        side = math.isqrt(shape[0] // channels)
        return (side, side, channels, shape[1])
    return shape


def _rename_aliases(
    aliases: Mapping[str, str], tensors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Replaces aliases in the names of tensors, unless the new name is already taken."""
    renamed = {}
    for name, tensor in tensors.items():
        usual = ".".join(aliases.get(part, part) for part in name.split("."))
        renamed[name if usual in tensors else usual] = tensor
    return renamed


def _check_tensors(
    expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, np.ndarray]
) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    problems = [f"they lack {_first_three(missing)}"] if missing else []
    if unexpected:
        problems.append(f"they have {_first_three(unexpected)}, which the model does not have")
    problems += [
        f"{name} has shape {list(found[name])}, but the model's has {list(shape)}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ][:1]
    if problems:
        raise UserError(
            f"the weights do not fit config.model: {'; '.join(problems)}; describe the net they"
            " belong to, for a ResNet its depth, width and shortcut, by --config.model.KEY=VALUE"
        )


def _first_three(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
