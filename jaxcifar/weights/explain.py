"""Explains predictions by Grad-CAM (Selvaraju et al., arXiv 1610.02391)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar.errors import UserError
from jaxcifar.weights.net import Net

BATCH = 100  # images at once


def grad_cam(net: Net, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Returns how much each part of an image supports its class, float32 [N, h, w], at least 0.

    A map has the size of the last map before the net's head. It is the sum of that map's channels,
    each weighted by the mean gradient of the class's logit, and 0 where the sum is negative. Only
    one view of each image is used.

    Args:
      net: a trained net.
      images: uint8 [N, 32, 32, 3].
      classes: int [N], the class to explain of each image.

    Raises:
      UserError: the net, such as an MLP on pixels, has no such map.
    """
    compiled = jax.jit(functools.partial(_grad_cam, net.parts))
    parts = [slice(start, start + BATCH) for start in range(0, len(images), BATCH)]
    maps = [compiled(net.variables, images[part], classes[part]) for part in parts]
    return np.concatenate([np.asarray(each) for each in maps])


def _grad_cam(parts: Any, variables: Any, images: jax.Array, classes: jax.Array) -> jax.Array:
    x = parts.augment.normalise(images)
    apply = functools.partial(parts.model.apply, train=False)
    marked = functools.partial(apply, mutable=["perturbations"])
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(marked, variables, x)[1])
    if not zeros:
        raise UserError(
            f"config.model.name={parts.config.model.name} has no convolution to explain;"
            " omit --explain"
        )

    def score(added: Any) -> tuple[jax.Array, Any]:
        """Adds `added` to the last map; returns the sum of the classes' logits, and the map."""
        (logits, _), maps = apply({**variables, **added}, x, mutable=["intermediates"])
        return jnp.take_along_axis(logits, classes[:, None], 1).sum(), maps

    # the images do not affect one another, so each gets the gradient of its own logit
    gradients, maps = jax.grad(score, has_aux=True)(zeros)
    gradient, features = (jax.tree.leaves(t)[0].astype(jnp.float32) for t in (gradients, maps))
    return jax.nn.relu((gradient.mean((1, 2), keepdims=True) * features).sum(-1))
