"""How held-out images are scored: how often, and in how many views of each image."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxcifar.config.fields import Constraint, Positive

Array = jax.Array
VIEWS = {1: "", 2: ", image and mirror image", 6: ", six views of each image"}  # as they are told


class Evaluation(NamedTuple):
    """The keys of `config.evaluation`.

    `views`: 1 takes an image as it is, 2 also its mirror image, 6 also both shifted by a pixel
    down and right, and up and left (Jordan, arXiv 2404.00498). `every_epochs`: only every so many
    epochs, and the last, are scored.
    """

    views: Annotated[int, Constraint(lambda n: n in VIEWS, "1, 2 or 6")] = 1
    every_epochs: Positive = 1

    def due(self, epoch: int, num_epochs: int) -> bool:
        """Whether an epoch, counted from 1, is scored."""
        return epoch % self.every_epochs == 0 or epoch == num_epochs


def in_views(score: Callable[[Array], Array], images: Array, views: int) -> Array:
    """Returns the mean of `score(images)` [B, …] over the views of images [B, H, W, C].

    The unshifted pair has the weight of both shifted ones together. Images are mirrored first and
    then shifted (the records shift first), so that a mirror image gets the same mean.
    """
    if views == 1:
        return score(images)
    both = (images, images[:, :, ::-1])
    if views == 2:
        return (score(both[0]) + score(both[1])) / 2
    h, w = images.shape[1:3]
    total: Array = jnp.zeros(())
    for shown in both:
        padded = jnp.pad(shown, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        shifted = (padded[:, i : i + h, i : i + w] for i in (0, 2))
        total += score(shown) / 4 + sum(map(score, shifted)) / 8
    return total
