"""The learning-rate range test: its rates, its suggestions, its files."""

import json

import jax
import numpy as np
import pytest
from conftest import ROOT, config_of, overrides
from PIL import Image

from jaxcifar import train
from jaxcifar.system import devices
from jaxcifar.training import experiment, find_rate, optim
from jaxcifar.training.losses import zero_sums
from jaxcifar.training.state import Carry

PLAIN = {
    "optimizer.momentum": 0.0,
    "optimizer.weight_decay": 0.0,
    "batch_size": 16,
    "data.source": "synthetic",
}


def curve(noise=0.0):
    """Returns losses that fall fastest at a rate of 1e-3, are lowest at 0.1, and diverge."""
    rates = np.geomspace(1e-7, 10, 160)
    x = np.log10(rates)
    loss = 2.3 - 1.5 / (1 + np.exp(-4 * (x + 3))) + 0.05 * (x + 1) ** 2 * (x > -1)
    loss[x > 0.3] = 1e9
    loss = loss[: np.flatnonzero(loss > 1e8)[0] + 3]
    return rates[: len(loss)], loss + noise * np.random.default_rng(0).normal(size=len(loss))


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_suggested_rates_match_the_curve(noise):
    found = find_rate.suggest(*curve(noise))
    assert found.steepest == pytest.approx(1e-3, rel=0.8 if noise else 0.15)
    assert np.log10(found.tenth) == pytest.approx(-2, abs=0.7 if noise else 0.3)
    assert found.smoothed.max() < 10  # divergence does not affect earlier losses
    np.testing.assert_allclose(found.smoothed[:40], 2.3, atol=0.1)  # up to 1e-5


def test_the_sweep_ends_when_the_loss_diverges_and_not_before():
    _, loss = curve(0.05)
    ends = [find_rate.diverged(loss[: n + 1]) for n in range(len(loss))]
    assert not any(ends[:-3])
    assert find_rate.diverged(np.append(loss, [1e9] * find_rate.SIGMA))
    for bad in (np.nan, np.inf):
        assert find_rate.diverged(np.array([2.3, bad]))
    falling = np.geomspace(2.3, 1e-6, 100)
    falling[::7] *= 100  # far above the minimum, but not above the first
    assert not find_rate.diverged(falling.clip(max=2.2))


def test_a_loss_that_never_falls_gets_no_suggestion():
    for loss in ([np.nan], [2.3, np.inf], np.linspace(2, 3, 50)):
        found = find_rate.suggest(np.geomspace(1e-7, 1, len(loss)), np.array(loss))
        assert (found.steepest, found.tenth) == (None, None)
        assert "never falls" in find_rate.describe(found)


def test_noise_gets_no_suggestion_but_a_small_fall_in_noise_does():
    rates, fall = np.geomspace(1e-7, 10, 160), np.linspace(-4, 4, 160)
    flat, falling = [], []
    for seed in range(100):
        noise = 0.05 * np.random.default_rng(seed).normal(size=160)
        flat.append(find_rate.suggest(rates, 2.3 + noise).steepest)
        lower = 2.3 - 0.3 / (1 + np.exp(-4 * fall))
        falling.append(find_rate.suggest(rates, lower + noise).steepest)
    assert flat.count(None) > 90
    assert falling.count(None) == 0


def test_each_step_is_plain_sgd_at_its_rate(small_data):
    """Compares it with steps at a learning rate of 1 that are scaled by hand."""
    config = config_of("simple_cnn.py:base", **PLAIN | {"optimizer.learning_rate": 1.0})
    parts = experiment.build_experiment(config)
    dataset = experiment.load_data(config)
    found = find_rate.run_range_test(parts, dataset, 1e-3, 0.1, 8)  # four steps make an epoch
    optimizer = optim.build_optimizer(config.optimizer, lambda step: 1.0, 1)
    loop, carry = (
        parts.train_loop(dataset.train, optimizer),
        parts.start(optimizer, dataset.train.images),
    )
    for rate, loss in zip(np.geomspace(1e-3, 0.1, 8), found.losses, strict=True):
        before = jax.tree.map(np.asarray, carry.state.params)
        zeros = devices.place(zero_sums(), parts.mesh)
        carry = loop.run(Carry(carry.state, zeros), lambda *_: False)
        assert carry.sums.means()["loss"] == pytest.approx(loss, rel=1e-4)
        moved = jax.tree.map(lambda a, b, r=rate: a + r * (b - a), before, carry.state.params)
        state = carry.state.replace(params=devices.place(moved, parts.mesh))
        carry = Carry(state, carry.sums)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-3, 0.1, 8))


def test_the_command_writes_two_files_to_a_new_folder(small_data, run, tmp_path):
    words = [f"--config={ROOT / 'configs' / 'simple_cnn.py'}:base", "--find_rate"]
    words += [f"--workdir={tmp_path / 'runs' / 'cnn'}", *overrides(**PLAIN | {"batch_size": 8})]
    (tmp_path / "runs" / "cnn-find_rate").mkdir(parents=True)  # of an earlier sweep
    (tmp_path / "runs" / "cnn-find_rate" / "find_rate.png").touch()
    before = set(tmp_path.rglob("*"))
    status, out, err = run(train.main, words)
    assert (status, err) == (0, "")
    made = tmp_path / "runs" / "cnn-find_rate-2"
    new = {made, made / "find_rate.png", made / "find_rate.json"}
    assert set(tmp_path.rglob("*")) - before == new
    saved = json.loads((made / "find_rate.json").read_text())
    assert saved["config"]["batch_size"] == 8
    assert saved["rates"][0] == 1e-7
    assert 20 < len(saved["rates"]) == len(saved["losses"]) <= find_rate.STEPS
    suggestion = "no suggestion: the loss never falls"  # of batches of 8, with much noise
    if saved["steepest"] is not None:
        suggestion = f"learning_rate={saved['steepest']:.2g}, where the loss falls fastest"
    assert suggestion in out
    assert f"wrote {made}" in out
    with Image.open(made / "find_rate.png") as picture:
        assert min(picture.size) > 300
