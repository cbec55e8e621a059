"""What the specification promises of training and no test of a single part would notice."""

import itertools
import math
import signal
import struct
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import config_of, random_images, tiny
from tensorboardX.proto.event_pb2 import Event
from test_augment import ALL, OFF, ramp
from test_speedrun_optim import MUON

from jaxcifar.run import metrics
from jaxcifar.run.progress import RunLog
from jaxcifar.training import augment as operations
from jaxcifar.training import boxes, experiment, find_rate, mixing, optim, step, trainer


def test_every_operation_is_drawn_apart_in_every_step_and_run_and_in_the_order_of_the_reports(
    monkeypatch,
):
    """With one key for two, the hole of cutout would follow the shift of the crop."""
    calls = []

    def spy(module, name):
        original = getattr(module, name)

        def call(key, *more):
            calls.append((name, more[1:], tuple(jax.random.key_data(key).tolist())))
            return original(key, *more)

        monkeypatch.setattr(module, name, call)

    for name in ("random_resized_crop", "rotate", "crop_and_flip"):
        spy(operations, name)
    for module, name in ((boxes, "cutout"), (boxes, "random_erasing"), (mixing, "cutmix")):
        spy(module, name)
    on = {"erasing_share": 0.5, "erasing_area": (0.1, 0.2), "cutmix_alpha": 1.0}
    pipeline = operations.Augmentation(**OFF | ALL | on)
    images = jnp.asarray(random_images(4, 32, 32, 3))
    for seed, number in ((0, 0), (0, 1), (1, 0)):
        calls.append(("step", (), ()))
        batch = operations.Batch(
            images, jnp.zeros(4, int), jnp.arange(4), jnp.int32(0), jnp.int32(seed)
        )
        inputs = step.prepare(batch, jnp.int32(number), size=32, augment=pipeline)
        calls.append(("dropout", (), tuple(jax.random.key_data(inputs.dropout_key).tolist())))
    once = [(name, settings) for name, settings, _ in calls[:8]]
    assert once[:6] == [
        ("step", ()),
        ("random_resized_crop", ((0.8, 1.0), 4)),
        ("rotate", (15.0,)),
        ("crop_and_flip", (4, True, False)),
        ("cutout", (16,)),
        ("random_erasing", (pipeline.normalise, 0.5, (0.1, 0.2))),
    ]
    assert [name for name, _ in once[6:]] == ["cutmix", "dropout"]
    keys = [key for name, _, key in calls if name != "step"]
    assert len(set(keys)) == len(keys) == 3 * 7


def test_a_share_reaches_the_mixing():
    mix = operations.Augmentation(**OFF | {"mixup_alpha": 1.0, "mixed_share": 0.5}).mix
    x = jnp.zeros((2, 4, 4, 1))
    keys = jax.random.split(jax.random.key(3), 2000)
    _, weight = jax.jit(jax.vmap(lambda key: mix(key, x)))(keys)
    assert abs(float((weight == 1).mean()) - 0.5) < 0.05


@pytest.mark.parametrize("steps", [1, 3])
def test_muon_iterates_newton_and_schulz_on_the_nesterov_momentum(steps):
    """After many updates this is g + β·v with v ← β·v + g, divided by its norm; an iteration maps
    its singular values s to 3.4445·s − 4.7750·s³ + 2.0315·s⁵ (Jordan 2024)."""
    optimizer = optim.muon(**MUON | {"momentum": 0.6, "newton_schulz_steps": steps})
    params = {"kernel": jnp.zeros((3, 3, 2, 5))}
    state, velocity = optimizer.init(params), 0.0
    rng = np.random.default_rng(0)
    for _ in range(30):
        gradient = rng.normal(size=(3, 3, 2, 5)).astype(np.float32)
        update, state = optimizer.update({"kernel": jnp.asarray(gradient)}, state, params)
        velocity = 0.6 * velocity + gradient
    u, s, vt = np.linalg.svd((gradient + 0.6 * velocity).reshape(18, 5), full_matrices=False)
    s /= np.linalg.norm(s)
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    np.testing.assert_allclose(np.asarray(update["kernel"]).reshape(18, 5), u * s @ vt, atol=1e-3)


def test_the_chain_rescales_kernels_by_themselves_and_not_by_the_rate():
    keys = {"name": "sgd", "learning_rate": 1.0, "normalize_kernels": True}
    optimizer = optim.build_optimizer(keys, lambda step: 0.1, 1)
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 4, 9))
    params, gradient = {"kernel": kernel}, {"kernel": jnp.sin(kernel)}
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    want = 3 * np.asarray(kernel) / np.linalg.norm(kernel) - 0.1 * np.sin(kernel)
    np.testing.assert_allclose(kernel + updates["kernel"], want, rtol=1e-5, atol=1e-6)


def test_a_run_starts_with_the_whitening_of_its_first_images_as_the_net_sees_them():
    """The filters W of the patch covariance with eigenvalues λ have WᵀCW = λ/(λ + ε)."""
    few = {"model.widths": (4, 6, 8), "model.whitening_examples": 8}
    few |= {"model.whitening_epsilon": 0.05, "data.source": "synthetic"}
    parts = experiment.build_experiment(config_of("speedrun.py:94", **few))
    images = random_images(40, 32, 32, 3) // np.arange(1, 41, dtype=np.uint8)[:, None, None, None]
    stats = parts.start(optax.identity(), images).state.batch_stats
    (kernel,) = (
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(stats)
        if "whitening" in str(path)
    )
    x = (images[:8] / 255 - parts.config.augment.mean) / parts.config.augment.std
    patches = np.stack([x[:, i : i + 31, j : j + 31] for i in (0, 1) for j in (0, 1)], 3)
    patches = patches.reshape(-1, 12)
    covariance = patches.T @ patches / len(patches)
    w = np.asarray(kernel, np.float64)[..., :12].reshape(12, 12)
    values = np.linalg.eigvalsh(covariance)
    np.testing.assert_allclose(w.T @ covariance @ w, np.diag(values / (values + 0.05)), atol=1e-3)


def test_a_resumed_epoch_has_the_speed_of_the_steps_since_and_the_seconds_of_all(
    small_data, tmp_path, monkeypatch
):
    """The clock advances by one second per reading, so training takes one and an epoch two."""
    ticks, stop = itertools.count(), [1, 2]
    clock = types.SimpleNamespace(perf_counter=lambda: float(next(ticks)))
    monkeypatch.setattr(trainer, "time", clock)

    def progress(self, epoch, done, sums, rate):
        if done in stop:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(RunLog, "progress", progress)
    while stop:  # the sum of seconds is passed on from one stop to the next
        assert not trainer.train(tiny(), tmp_path / "run").finished
        stop.pop(0)
    lines = trainer.train(tiny(), tmp_path / "run").lines
    assert [line["examples_per_second"] for line in lines] == [2 * 16, 4 * 16]
    assert [line["seconds"] for line in lines] == [1.0 + 1.0 + 2.0, 2.0]


def test_tensorboard_shows_the_metrics_at_their_steps(small_data, tmp_path):
    trainer.train(tiny(), tmp_path / "run")
    found = {}
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    content, at = file.read_bytes(), 0
    while at < len(content):  # each record is a length, its checksum, an event, and its checksum
        (size,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + size])
        found |= {(event.step, value.tag): value.simple_value for value in event.summary.value}
        at += size + 16
    want = {
        (line["step"], key): value
        for line in metrics.read(tmp_path / "run")
        for key, value in line.items()
        if key not in ("epoch", "step")
    }
    assert found == {place: pytest.approx(value, rel=1e-6) for place, value in want.items()}


def test_accumulated_batches_share_the_rate_that_is_plotted(small_data):
    config = tiny(accumulate_steps=2)
    found = find_rate.run_range_test(
        experiment.build_experiment(config), experiment.load_data(config), 1e-4, 1e-2, 6
    )
    np.testing.assert_allclose(found.rates, np.geomspace(1e-4, 1e-2, 6)[[0, 0, 2, 2, 4, 4]])


def test_another_seed_gives_other_initial_weights():
    one, other = (
        experiment.build_experiment(tiny(seed=seed)).start(
            optax.identity(), np.zeros((1, 32, 32, 3), np.uint8)
        )
        for seed in (0, 1)
    )
    kernels = [x.state.params["block0"]["conv"]["kernel"] for x in (one, other)]
    assert float(abs(kernels[0] - kernels[1]).min()) > 0


@pytest.mark.parametrize(("scale", "pad"), [((0.25, 0.5), 0), ((0.5, 0.8), 4)])
def test_a_resized_box_is_anywhere_in_the_padded_image_with_equal_probability(scale, pad):
    """A pixel of the ramp is its place, so the middle rows and columns show each image's box."""
    crop = operations.random_resized_crop
    got = np.asarray(crop(jax.random.key(0), ramp(1000), scale, pad), "float64")
    for line in (got[:, :, 16, 0], got[:, 16, :, 1]):
        step = (line[:, 24] - line[:, 8]) / 16
        low, side = line[:, 16] - 16.5 * step + 0.5, 32 * step
        place = (low + pad) / (32 + 2 * pad - side)  # uniform in [0, 1]
        assert place.min() > -1e-3
        assert place.max() < 1 + 1e-3
        assert abs(place.mean() - 0.5) < 0.05
        assert abs(place.std() - 1 / math.sqrt(12)) < 0.02
