"""Mixup and cutmix: images and labels are mixed in the same proportion."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_images
from scipy import stats
from test_augment import OFF

from jaxcifar.training import augment, losses, mixing, state, step


def images(b, size=32):
    return jnp.array(random_images(b, size, size, 3) / 100, jnp.float32)


def test_mixup_is_the_weighted_sum_with_the_partner():
    x = images(6)
    got, weight = mixing.mixup(x, 0.3)
    for i in range(6):
        np.testing.assert_allclose(got[i], 0.3 * x[i] + 0.7 * x[i - 1], rtol=1e-5)
    assert weight == np.float32(0.3)
    np.testing.assert_allclose(got.mean(0), x.mean(0), rtol=1e-5)  # nothing is lost or added
    assert mixing.mixup(x.astype(jnp.bfloat16), 0.3)[0].dtype == jnp.bfloat16


def test_a_weight_of_one_is_the_identity():
    x = images(6)
    for got, weight in (mixing.mixup(x, 1.0), mixing.cutmix(jax.random.key(0), x, 1.0)):
        np.testing.assert_array_equal(got, x)
        assert weight == 1


@pytest.mark.parametrize("size", [32, 24])
def test_the_weight_of_cutmix_is_the_share_of_pixels_outside_the_box(size):
    b, count = 5, 400
    x = jnp.broadcast_to(jnp.arange(b, dtype=jnp.float32)[:, None, None, None], (b, size, size, 3))
    drawn = np.linspace(0, 1, count, dtype=np.float32)
    keys = jax.random.split(jax.random.key(0), count)
    mixed, weight = map(
        np.asarray, jax.jit(jax.vmap(lambda k, w: mixing.cutmix(k, x, w)))(keys, drawn)
    )
    own = mixed == np.asarray(x)
    other = mixed == np.roll(x, 1, axis=0)
    assert (own ^ other).all()
    assert (own == own[:, :1, :, :, :1]).all()  # one box for the batch, all channels
    pixels = own[:, 0, :, :, 0].sum((1, 2))
    np.testing.assert_array_equal(np.rint(weight * size**2), pixels)
    np.testing.assert_allclose(weight, pixels / size**2, rtol=2e-7)
    # the box before it is clipped: sides of √(1 − weight), and no larger
    rows, cols = (~own[:, 0, :, :, 0]).any(2), (~own[:, 0, :, :, 0]).any(1)
    side = np.floor(size * np.sqrt(1 - drawn))
    for lines in (rows, cols):
        assert (lines.sum(1) <= side).all()
    whole = (rows.sum(1) == side) & (cols.sum(1) == side)
    assert 0.1 < whole.mean() < 0.9
    np.testing.assert_array_equal(~own[:, 0, :, :, 0], rows[:, :, None] & cols[:, None, :])


def draws(count=4000, **keys):
    """Returns mixtures of two images, all 0 and all 1, [count, 2, 4, 4, 1], and their weights."""
    mix = mixing.build_mix(**{"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "share": 1.0} | keys)
    x = jnp.stack([jnp.zeros((4, 4, 1)), jnp.ones((4, 4, 1))])
    keys = jax.random.split(jax.random.key(3), count)
    return map(np.asarray, jax.jit(jax.vmap(lambda key: mix(key, x)))(keys))


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_weights_are_drawn_from_beta(alpha):
    x, weight = draws(mixup_alpha=alpha)
    assert stats.kstest(weight, stats.beta(alpha, alpha).cdf).statistic < 0.03  # 1.9/√4000
    np.testing.assert_allclose(x[:, 1, 0, 0, 0], weight, rtol=1e-6)
    np.testing.assert_allclose(x[:, 0, 0, 0, 0], 1 - weight, atol=1e-6)


def test_with_a_tiny_alpha_the_weight_is_0_or_1():
    _, weight = draws(500, mixup_alpha=1e-3)
    assert np.isfinite(weight).all()
    assert ((weight < 1e-3) | (weight > 1 - 1e-3)).mean() > 0.95
    assert 0.4 < (weight > 0.5).mean() < 0.6


def test_a_share_of_the_batches_is_mixed_half_of_it_by_each_method():
    x, weight = draws(mixup_alpha=1.0, cutmix_alpha=1.0, share=0.5)
    same = (x[:, 0] == 0).all((1, 2, 3)) & (weight == 1)
    blended = ((x[:, 0] > 0) & (x[:, 0] < 1)).all((1, 2, 3))
    cut = ~same & ~blended
    assert np.isin(x[cut], (0, 1)).all()
    assert abs(blended.mean() - 0.25) < 0.03  # four σ
    # of the cut ones a box can be empty, (1/4)² of the area at least for one pixel
    assert abs(cut.mean() + same.mean() - 0.75) < 0.03
    assert 0.18 < cut.mean() < 0.28
    assert mixing.build_mix(0.0, 0.0, 1.0) is None


def test_the_loss_is_cross_entropy_with_the_mixed_labels():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(8, 10)), rng.integers(0, 10, 8)
    q = 0.3 * np.eye(10)[labels] + 0.7 * np.eye(10)[np.roll(labels, 1)]
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    for smoothing in (0.0, 0.1):
        loss = losses.cross_entropy(label_smoothing=smoothing, l1=0.0).per_example
        got = mixing.mixed_losses(loss, jnp.float32(logits), jnp.array(labels), jnp.float32(0.3))
        want = -(((1 - smoothing) * q + smoothing / 10) * log_p).sum(1)
        np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_array_equal(mixing.main_labels(labels, jnp.float32(0.3)), np.roll(labels, 1))
    np.testing.assert_array_equal(mixing.main_labels(labels, jnp.float32(0.5)), labels)


class Reader(nn.Module):
    """A model that reads a mixture exactly: the share of class k is the mean of channel k."""

    @nn.compact
    def __call__(self, x, *, train):
        scale = self.param("scale", nn.initializers.ones, ())
        return scale * jnp.log(x.mean((1, 2)).clip(1e-12)), {}


@pytest.mark.parametrize("on", [{"mixup_alpha": 0.5}, {"cutmix_alpha": 1.0}], ids=str)
def test_a_step_weighs_labels_like_images(on):
    """A model that reads mixtures exactly has their entropy as loss, the minimum, and predicts the
    class of the larger part."""
    pipeline = augment.Augmentation(**OFF | {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)} | on)
    b, loss = 64, losses.cross_entropy(label_smoothing=0.0, l1=0.0)
    update = functools.partial(
        step.update,
        model=Reader(),
        optimizer=optax.identity(),
        loss=loss,
        ema_decay=0.0,
    )
    labels = jnp.arange(b) % 3  # no two neighbours are of a class, but the last and the first
    picture = jnp.uint8(255 * jnp.eye(3))[labels][:, None, None]
    shown = jnp.broadcast_to(picture, (b, 32, 32, 3))
    start = state.create_state(0, Reader(), optax.identity(), False)
    seen = set()
    for seed in range(8):
        batch = augment.Batch(shown, labels, jnp.arange(b), jnp.int32(0), jnp.int32(seed))
        prepared = step.prepare(batch, start.step, size=32, augment=pipeline)
        _, sums = jax.jit(update)(start, prepared)
        entropy = float(sums.loss) / (b - 1)  # the neighbours of a class have none
        assert 0 <= entropy < np.log(2) + 1e-5
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0))
        _, weight = pipeline.mix(jax.random.fold_in(keys[0], augment.MIXING), jnp.float32(shown))
        assert entropy == pytest.approx(stats.entropy([weight, 1 - weight]), abs=1e-4)
        assert int(sums.correct) == b
        seen.add(round(entropy, 4))
    assert len(seen) > 4
