"""The models by name, and how a config becomes one.

A model maps images [B, H, W, C] to logits [B, num_classes] and a dict of named intermediates, such
as gates. For exchange with PyTorch (weights/torch_names.py) a model class may also offer

    torch_name(module)                  a module's name in PyTorch (default: its name here)
    torch_aliases                       other names for modules in PyTorch, as keys, with the names
                                        from `torch_name` as values (default: none)
    flattened_channels(image_channels)  C of the map [H, W, C] that the Dense layer head/dense0
                                        takes flattened (default: 0, no map is flattened)
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcifar.config import fields
from jaxcifar.config.fields import AboveZero, Constraint, Positive
from jaxcifar.models import layers
from jaxcifar.models.adaptive import AdaptiveNet
from jaxcifar.models.mlp import PixelMLP
from jaxcifar.models.resnet import ResNet
from jaxcifar.models.simple_cnn import SimpleCNN
from jaxcifar.models.speednet import SpeedNet
from jaxcifar.models.whitening import Scaled, Whitened, whitening_kernel

MODELS: dict[str, Callable[..., nn.Module]] = {
    "adaptive": AdaptiveNet,
    "resnet": ResNet,
    "simple_cnn": SimpleCNN,
    "mlp": PixelMLP,
    "speednet": SpeedNet,
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}  # by `config.compute_dtype`


class Shared(NamedTuple):
    """The keys of `config.model` that every model has."""

    whitening_size: Annotated[
        int,
        Constraint(lambda n: 0 <= n <= 8, "0 to 8"),
        "side of the patches to whiten before the net, in pixels; 0 turns whitening off",
    ] = 0
    whitening_activation: Annotated[layers.Activation, "activation after the whitening"] = "gelu"
    whitening_examples: Annotated[
        Positive, "training images from which the whitening is measured"
    ] = 5000
    whitening_epsilon: Annotated[
        AboveZero, "added to the eigenvalues of the patches' covariance"
    ] = 5e-4
    logit_scale: Annotated[AboveZero, "factor that multiplies the logits"] = 1.0


def build_model(keys: Mapping, dtype: Any, platform: str) -> nn.Module:
    """Returns the model of `config.model`, with the compute type `dtype`.

    `platform`, "cpu" or "gpu", selects the fastest implementation of each layer.
    """
    shared = fields.pick_shared(Shared, keys)
    net = fields.build_choice(MODELS, keys, Shared._fields, dtype=dtype, platform=platform)
    if shared.whitening_size:
        net = Whitened(net, shared.whitening_size, shared.whitening_activation, dtype)
    return net if shared.logit_scale == 1 else Scaled(net, shared.logit_scale)


def count_whitening_images(keys: Mapping) -> int:
    """Returns how many training images `measure_whitening` needs."""
    shared = fields.pick_shared(Shared, keys)
    return shared.whitening_examples if shared.whitening_size else 0


def measure_whitening(batch_stats: Any, images: jax.Array, keys: Mapping) -> Any:
    """Returns a new net's `batch_stats` with the whitening kernel measured from training images.

    The images are normalised as in evaluation, float32 [N, 32, 32, 3].
    """
    shared = fields.pick_shared(Shared, keys)
    if not shared.whitening_size:
        return batch_stats
    kernel = whitening_kernel(images, shared.whitening_size, shared.whitening_epsilon)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: kernel if path[-1].key == "whitening" else leaf, batch_stats
    )
