"""Mixing a batch with itself, images and labels: mixup and cutmix.

Each image is mixed with the one before it in the batch, whose order is random. The weight of an
image's own part is drawn once for a batch, as in the papers' code; it weighs the losses too.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxcifar.training import boxes

Array = jax.Array
Mix = Callable[[Array, Array], tuple[Array, Array]]  # (key, x) -> (x, weight of the own part)


def partner(batch: Array) -> Array:
    """Returns, in the place of each example of a batch [B, …], the one that it is mixed with."""
    return jnp.roll(batch, 1, axis=0)


def mixup(x: Array, weight: Array | float) -> tuple[Array, Array]:
    """Returns weight·x + (1 − weight)·partner of images [B, H, W, C], and the weight (Zhang et al.,
    arXiv 1710.09412)."""
    weight = jnp.asarray(weight)
    return (weight * x + (1 - weight) * partner(x)).astype(x.dtype), weight


def cutmix(key: Array, x: Array, weight: Array | float) -> tuple[Array, Array]:
    """Returns images [B, H, W, C] with a box of their partners', and the share that is their own.

    The box has about 1 − weight of the area and the image's shape; its centre is uniform over the
    image, and it is clipped at the edge (Yun et al., arXiv 1905.04899).
    """
    _, h, w, _ = x.shape
    key_y, key_x = jax.random.split(key)
    height, width = (jnp.int32(n * jnp.sqrt(1 - weight)) for n in (h, w))
    top = jax.random.randint(key_y, (1, 1), 0, h) - height // 2
    left = jax.random.randint(key_x, (1, 1), 0, w) - width // 2
    hole = boxes.box(x.shape, top, left, height, width)
    return jnp.where(hole, partner(x), x), 1 - hole.mean()


def build(mixup_alpha: float, cutmix_alpha: float, share: float) -> Mix | None:
    """Returns what mixes a `share` of the batches; None where both alphas are 0.

    Weights are drawn from Beta(alpha, alpha). Of both, a batch has either, with probability ½.
    """
    if not (mixup_alpha or cutmix_alpha):
        return None

    def mix(key: Array, x: Array) -> tuple[Array, Array]:
        draw, place, which, whether = jax.random.split(key, 4)
        ways = []
        if mixup_alpha:
            ways.append(mixup(x, jax.random.beta(draw, mixup_alpha, mixup_alpha)))
        if cutmix_alpha:
            ways.append(cutmix(place, x, jax.random.beta(draw, cutmix_alpha, cutmix_alpha)))
        mixed = ways[0]
        if len(ways) == 2:
            mixed = optax.tree.where(jax.random.bernoulli(which), *ways)
        if share < 1:
            taken = jax.random.bernoulli(whether, share)
            mixed = optax.tree.where(taken, mixed, (x, jnp.ones(())))
        return mixed

    return mix


def losses(
    examples: Callable[[Array, Array], Array], logits: Array, labels: Array, weight: Array | None
) -> Array:
    """Returns weight·loss of the own labels [B] + (1 − weight)·loss of the partners', [B].

    Without a weight, where nothing is mixed, the loss of the labels.
    """
    if weight is None:
        return examples(logits, labels)
    return weight * examples(logits, labels) + (1 - weight) * examples(logits, partner(labels))


def main_labels(labels: Array, weight: Array | None) -> Array:
    """Returns the labels [B] of the larger part of each image."""
    return labels if weight is None else jnp.where(weight >= 0.5, labels, partner(labels))
