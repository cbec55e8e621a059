"""How held-out images are scored: after which epochs, and in how many views."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxcifar.config.fields import Constraint, Positive

Array = jax.Array
VIEWS = {1: "", 2: ", image and mirror image", 6: ", six views of each image"}  # in messages


class Evaluation(NamedTuple):
    """The keys of `config.evaluation`.

    With `views=1` an image is scored as it is; 2 adds its mirror image; 6 adds both shifted by one
    pixel down and right, and up and left (Jordan, arXiv 2404.00498). Scoring happens after every
    `every_epochs` epochs and after the last.
    """

    views: Annotated[
        int,
        Constraint(lambda n: n in VIEWS, "1, 2 or 6"),
        "views of each image whose logits are averaged: 2 adds the mirror image, 6 also shifts",
    ] = 1
    every_epochs: Annotated[Positive, "epochs between two evaluations"] = 1

    def due(self, epoch: int, num_epochs: int) -> bool:
        """Returns whether an epoch, counted from 1, is scored."""
        return epoch % self.every_epochs == 0 or epoch == num_epochs


def mean_over_views(score: Callable[[Array], Array], images: Array, views: int) -> Array:
    """Returns the mean of `score(images)` [B, …] over views of the images [B, H, W, C].

    The unshifted pair weighs as much as both shifted pairs together. Images are mirrored before
    they are shifted (the speed records shift first), so that a mirror image gets the same mean.
    """
    if views == 1:
        return score(images)
    both = (images, images[:, :, ::-1])
    if views == 2:
        return (score(both[0]) + score(both[1])) / 2
    h, w = images.shape[1:3]
    total: Array = jnp.zeros(())
    for view in both:
        padded = jnp.pad(view, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        shifted = (padded[:, i : i + h, i : i + w] for i in (0, 2))
        total += score(view) / 4 + sum(map(score, shifted)) / 8
    return total
