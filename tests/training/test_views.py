"""Scoring in several views, and only in some epochs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_images, tiny

from jaxcifar import train
from jaxcifar.training import trainer
from jaxcifar.training.views import Evaluation, mean_over_views


@pytest.mark.parametrize("views", [2, 6])
def test_the_mean_over_views_is_invariant_to_mirroring(views):
    weights = jax.random.normal(jax.random.key(0), (8, 8, 3, 5))
    score = lambda x: jnp.einsum("bhwc,hwco->bo", x, weights) ** 2  # noqa: E731
    images = jnp.asarray(random_images(4, 8, 8, 3), jnp.float32) / 255
    mirrored = images[:, :, ::-1]
    assert float(abs(score(images) - score(mirrored)).min()) > 1e-3
    got = mean_over_views(score, images, views)
    np.testing.assert_allclose(got, mean_over_views(score, mirrored, views), rtol=1e-4)


def test_six_views_are_two_mirror_images_at_three_shifts():
    images = random_images(3, 6, 6, 3)
    score = lambda x: jnp.asarray(x, jnp.float32).reshape(3, -1)  # noqa: E731
    want = 0
    for view in (images, images[:, :, ::-1]):
        padded = np.pad(view, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect").astype(float)
        for shift, weight in ((1, 0.25), (0, 0.125), (2, 0.125)):
            want += weight * padded[:, shift : shift + 6, shift : shift + 6]
    np.testing.assert_allclose(mean_over_views(score, images, 6), want.reshape(3, -1), rtol=1e-5)


def test_which_epochs_are_scored():
    due = [epoch for epoch in range(1, 9) if Evaluation(every_epochs=3).due(epoch, 8)]
    assert due == [3, 6, 8]


def test_a_run_that_is_scored_only_at_its_end(small_data, tmp_path, run):
    """Earlier epochs have no held-out metrics; everything else is as usual."""
    config = tiny(num_epochs=3, evaluation={"every_epochs": 3, "views": 6})
    result = trainer.train(config, tmp_path / "run")
    assert ["test_accuracy" in line for line in result.lines] == [False, False, True]
    assert (tmp_path / "run" / "curves.png").stat().st_size > 10_000
    once = trainer.train(config, tmp_path / "run")  # resumed, finished
    assert once.lines == result.lines
    assert "best (epoch 3" in train.summary(result, 3, "synthetic")
