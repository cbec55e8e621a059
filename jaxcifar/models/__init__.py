"""The models by name: image batch -> logits and a dict of named intermediates (the gates)."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxcifar import config
from jaxcifar.models.adaptive import AdaptiveNet
from jaxcifar.models.mlp import PixelMLP
from jaxcifar.models.resnet import ResNet
from jaxcifar.models.simple_cnn import SimpleCNN

MODELS: dict[str, Callable[..., nn.Module]] = {
    "adaptive": AdaptiveNet,
    "resnet": ResNet,
    "simple_cnn": SimpleCNN,
    "mlp": PixelMLP,
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def dtype(compute_dtype: str) -> Any:
    """Returns the compute type that `config.compute_dtype` names."""
    config.check_choice("compute_dtype", compute_dtype, DTYPES)
    return DTYPES[compute_dtype]


def build(keys: Mapping, dtype: Any, platform: str) -> nn.Module:
    """Returns the model that `config.model` describes, computing in `dtype` on `platform`.

    On "cpu" some layers compute the same function in another way.
    """
    return config.build(MODELS, "model", keys, dtype=dtype, platform=platform)
