"""Runs trained as one program give the same results as runs trained alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import config_of, tiny
from small_jobs import folders_in, job, without_clock

from jaxcifar.claims import records
from jaxcifar.errors import UserError
from jaxcifar.launch import jobs, options
from jaxcifar.launch.job import train_bundle
from jaxcifar.ops import conv2d
from jaxcifar.system import devices
from jaxcifar.training import train_many
from jaxcifar.training.trainer import train

TIMES = ("seconds", "examples_per_second")
NET = {
    "model.branch_dropout": 0.2,
    "optimizer.ema_decay": 0.9,
    "optimizer.skip_nonfinite": True,
    "accumulate_steps": 2,
    "augment.cutout_size": 8,
    "log_norms": True,
    "num_epochs": 2,
}
CNN = {"data.source": "synthetic", "batch_size": 20, "num_epochs": 2, "data.validation": 20}


def adaptive(seed):
    return tiny(seed=seed, **NET)


def cnn(seed):
    return config_of("simple_cnn.py:batchnorm", seed=seed, **CNN)


# the layers and the loop of a platform
@pytest.mark.parametrize(("make", "platform"), [(adaptive, "cpu"), (cnn, "gpu")])
def test_a_run_trained_with_others_equals_the_run_trained_alone(
    make, platform, small_data, monkeypatch, tmp_path
):
    configs = [make(seed) for seed in (3, 0, 7)]
    monkeypatch.setattr(devices, "platform", lambda mesh: platform)
    results = train_many.train(configs)
    for config, result in zip(configs, results, strict=True):
        alone = train(config, tmp_path / str(config.seed))
        assert result.parts.config.seed == config.seed
        chex.assert_trees_all_close(result.state, alone.state, rtol=1e-3, atol=1e-4)
        for line, expected in zip(result.lines, alone.lines, strict=True):
            assert line.keys() == expected.keys()
            for key in line.keys() - set(TIMES):
                two_images = 0.051 if key.endswith("accuracy") else 0.0
                assert line[key] == pytest.approx(expected[key], rel=1e-3, abs=two_images), key
    losses = [result.lines[0]["train_loss"] for result in results]
    assert len(set(losses)) == 3


def test_runs_that_diverge_end_with_their_last_finite_state(small_data):
    configs = [
        config_of("simple_cnn.py", seed=seed, **CNN | {"optimizer.learning_rate": 1e30})
        for seed in (0, 1)
    ]
    for config, result in zip(configs, train_many.train(configs), strict=True):
        assert [line["train_loss"] for line in result.lines] == [None]
        optimizer, _ = result.parts.optimizer(1)
        start = result.parts.start(optimizer, result.dataset.train.images).state
        chex.assert_trees_all_equal(result.state.params, start.params)
        assert result.parts.config.seed == config.seed


def test_each_run_stops_early_by_its_own_validation_accuracy(small_data, tmp_path):
    """At rate 0 nothing improves, so a run ends `patience` epochs after its first epoch."""
    changes = {"optimizer.learning_rate": 0.0, "num_epochs": 6, "early_stopping.patience": 2}
    configs = [config_of("simple_cnn.py", seed=seed, **CNN | changes) for seed in (0, 1)]
    alone = train(configs[1], tmp_path)
    for result in train_many.train(configs):
        assert [line["epoch"] for line in result.lines] == [1, 2, 3]
        assert (result.num_epochs, alone.num_epochs) == (3, 3)


@pytest.mark.parametrize(("stride", "padding", "size"), [(1, 1, 3), (2, 1, 3), (1, 0, 5)])
def test_vmap_makes_one_convolution_after_another(stride, padding, size):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 2, 9, 9, 4), np.float32)
    kernel = rng.standard_normal((3, size, size, 4, 6), np.float32)

    def loss(convolve, x, kernel):
        return (convolve(x, kernel, stride, padding) ** 3).sum()

    def gradients(convolve):
        return jax.grad(lambda x, kernel: loss(convolve, x, kernel), (0, 1))

    together_of = jax.vmap(gradients(conv2d.conv_ungrouped))
    expected = [gradients(conv2d.lax_conv)(*each) for each in zip(x, kernel, strict=True)]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *expected)
    chex.assert_trees_all_close(together_of(x, kernel), stacked, rtol=1e-4, atol=1e-3)
    program = jax.jit(together_of).lower(x, kernel).as_text()
    found = program.count("stablehlo.convolution")
    assert found >= 9  # forward and two gradients of each run
    assert program.count("feature_group_count = 1 :") == found
    # one kernel for all images of all runs
    same = jax.vmap(conv2d.conv_ungrouped, (0, None, None, None))(x, kernel[0], stride, padding)
    one = [conv2d.lax_conv(each, kernel[0], stride, padding) for each in x]
    chex.assert_trees_all_close(same, jnp.stack(one), rtol=1e-5, atol=1e-5)


def test_records_of_runs_trained_together_equal_those_of_runs_alone(tmp_path, capsys):
    place, single = folders_in(tmp_path / "together"), folders_in(tmp_path / "single")
    some = [job(seed) for seed in (0, 1, 2)]
    assert jobs.run_all(some, place, at_once=2) == jobs.Outcome(False, [])
    out = capsys.readouterr().out
    assert "run 1/3: small seed 0, small seed 1, about" in out
    assert "run 3/3: small seed 2, about" in out
    assert train_bundle([some[1]], single)
    one, two = (without_clock(records.path_of(p.out, "small", 1)) for p in (single, place))
    assert two.pop("runs_at_once") == 2
    assert one.keys() == two.keys()
    for key in ("config", "data", "device", "seed", "run"):
        assert one[key] == two[key]
    accuracies = [of["epochs"][-1]["test_accuracy"] for of in (one, two)]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.01)
    assert one["initial_loss"] == pytest.approx(two["initial_loss"], rel=1e-5)


def test_a_run_that_was_started_alone_continues_alone(tmp_path):
    place = folders_in(tmp_path)
    some = [job(seed) for seed in range(4)] + [job(0, "other")]
    place.workdir(some[1]).mkdir(parents=True)
    assert jobs.make_bundles(some, place, 8)[0] == [some[0], some[2], some[3]]
    assert jobs.make_bundles(some, place, 2)[0] == [some[0], some[2]]
    assert jobs.make_bundles(some[1:], place, 8)[0] == [some[1]]
    assert jobs.make_bundles(some, place, 1)[0] == [some[0]]


@pytest.mark.parametrize(("wanted", "at_once"), [(0, 0), (2, 2)])
def test_impossible_numbers_of_runs_are_refused(wanted, at_once):
    with pytest.raises(UserError, match="expected --runs_at_once of at least 1"):
        options.check_options(1, wanted, 0, at_once=at_once)
