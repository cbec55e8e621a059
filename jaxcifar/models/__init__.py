"""The models by name: image batch -> logits and a dict of named intermediates (the gates)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcifar import config
from jaxcifar.models.adaptive import AdaptiveNet
from jaxcifar.models.mlp import PixelMLP
from jaxcifar.models.resnet import ResNet
from jaxcifar.models.simple_cnn import SimpleCNN
from jaxcifar.models.speednet import SpeedNet
from jaxcifar.models.whitening import Scaled, Whitened

MODELS: dict[str, Callable[..., nn.Module]] = {
    "adaptive": AdaptiveNet,
    "resnet": ResNet,
    "simple_cnn": SimpleCNN,
    "mlp": PixelMLP,
    "speednet": SpeedNet,
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def dtype(compute_dtype: str) -> Any:
    """Returns the compute type that `config.compute_dtype` names."""
    config.check_choice("compute_dtype", compute_dtype, DTYPES)
    return DTYPES[compute_dtype]


class Shared(NamedTuple):
    """The keys of `config.model` that every model has.

    `whitening_size` puts the whitening of patches of so many pixels a side, and an activation,
    before the net; 0 for none. `logit_scale` multiplies its logits.
    """

    whitening_size: int = 0
    whitening_activation: str = "gelu"
    logit_scale: float = 1.0


def build(keys: Mapping, dtype: Any, platform: str) -> nn.Module:
    """Returns the model that `config.model` describes, computing in `dtype` on `platform`.

    On "cpu" some layers compute the same function in another way.
    """
    shared, own = config.divide(Shared, "model", keys)
    net = config.build(MODELS, "model", own, dtype=dtype, platform=platform)
    config.check_range("model.whitening_size", shared.whitening_size, 0, 9)
    if shared.whitening_size:
        net = Whitened(net, shared.whitening_size, shared.whitening_activation, dtype)
    return net if shared.logit_scale == 1 else Scaled(net, shared.logit_scale)
