"""The models by name: image batch -> logits and a dict of named intermediates (the gates)."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcifar import signature
from jaxcifar.models import layers
from jaxcifar.models.adaptive import AdaptiveNet
from jaxcifar.models.mlp import PixelMLP
from jaxcifar.models.resnet import ResNet
from jaxcifar.models.simple_cnn import SimpleCNN
from jaxcifar.models.speednet import SpeedNet
from jaxcifar.models.whitening import Scaled, Whitened
from jaxcifar.signature import AboveZero, Where

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
    signature.check_choice("compute_dtype", compute_dtype, DTYPES)
    return DTYPES[compute_dtype]


class Shared(NamedTuple):
    """The keys of `config.model` that every model has.

    `whitening_size` puts the whitening of patches of so many pixels a side, and an activation,
    before the net; 0 for none. `logit_scale` multiplies its logits.
    """

    whitening_size: Annotated[int, Where(lambda n: 0 <= n <= 8, "0 to 8")] = 0
    whitening_activation: layers.Activation = "gelu"
    logit_scale: AboveZero = 1.0


def build(keys: Mapping, dtype: Any, platform: str) -> nn.Module:
    """Returns the model that `config.model` describes, computing in `dtype` on `platform`.

    On "cpu" some layers compute the same function in another way.
    """
    shared, own = signature.divide(Shared, "model", keys)
    net = signature.build(MODELS, "model", own, dtype=dtype, platform=platform)
    if shared.whitening_size:
        net = Whitened(net, shared.whitening_size, shared.whitening_activation, dtype)
    return net if shared.logit_scale == 1 else Scaled(net, shared.logit_scale)
