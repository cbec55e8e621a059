"""Mixup and cutmix: mixing the images and labels of a batch.

Each image is mixed with its partner, the previous image in the batch, whose order is random. The
weight of the image against its partner is drawn once per batch, as in the papers' code, and also
weights the losses.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxcifar.training import boxes

Array = jax.Array
Mix = Callable[[Array, Array], tuple[Array, Array]]  # (key, x) -> (x, weight of each image itself)


def partner(batch: Array) -> Array:
    """Returns the partner of each example of a batch [B, …]."""
    return jnp.roll(batch, 1, axis=0)


def mixup(x: Array, weight: Array | float) -> tuple[Array, Array]:
    """Returns weight·x + (1 − weight)·partner for images [B, H, W, C], and the weight.

    Source: Zhang et al., arXiv 1710.09412.
    """
    weight = jnp.asarray(weight)
    return (weight * x + (1 - weight) * partner(x)).astype(x.dtype), weight


def cutmix(key: Array, x: Array, weight: Array | float) -> tuple[Array, Array]:
    """Pastes a box of each image's partner; returns the images and the fraction outside the box.

    The box has the aspect ratio of the images [B, H, W, C] and a fraction 1 − weight of their area.
    Its centre is uniform over the image; it is clipped at the edge (Yun et al., arXiv 1905.04899).
    """
    _, h, w, _ = x.shape
    key_y, key_x = jax.random.split(key)
    height, width = (jnp.int32(n * jnp.sqrt(1 - weight)) for n in (h, w))
    top = jax.random.randint(key_y, (1, 1), 0, h) - height // 2
    left = jax.random.randint(key_x, (1, 1), 0, w) - width // 2
    hole = boxes.box_mask(x.shape, top, left, height, width)
    return jnp.where(hole, partner(x), x), 1 - hole.mean()


def build_mix(mixup_alpha: float, cutmix_alpha: float, share: float) -> Mix | None:
    """Returns the function that mixes a fraction `share` of the batches; None if both alphas are 0.

    Weights are drawn from Beta(alpha, alpha). If both alphas are above 0, each batch gets mixup or
    cutmix with probability ½.
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


def mixed_losses(
    examples: Callable[[Array, Array], Array], logits: Array, labels: Array, weight: Array | None
) -> Array:
    """Returns weight·loss(labels) + (1 − weight)·loss(labels of the partners), [B].

    If `weight` is None, nothing is mixed and the loss of the labels is returned.
    """
    if weight is None:
        return examples(logits, labels)
    return weight * examples(logits, labels) + (1 - weight) * examples(logits, partner(labels))


def weighted_mean(
    weighted: Callable[[Array, Array], tuple[Array, Array]],
    logits: Array,
    labels: Array,
    weight: Array | None,
) -> Array:
    """Returns the class-weighted mean of the losses; mixed images mix their class weights too."""
    losses = mixed_losses(lambda *batch: weighted(*batch)[0], logits, labels, weight)
    weights = mixed_losses(lambda *batch: weighted(*batch)[1], logits, labels, weight)
    return losses.sum() / weights.sum()


def main_labels(labels: Array, weight: Array | None) -> Array:
    """Returns the label of the larger part of each image, [B]."""
    return labels if weight is None else jnp.where(weight >= 0.5, labels, partner(labels))
