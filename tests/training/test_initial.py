"""Runs that start from the weights of another run or of a file."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, TINY, config_of, overrides, tiny

from jaxcifar import train as train_command
from jaxcifar.config import schema
from jaxcifar.errors import UserError
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.run.leaves import by_path
from jaxcifar.training import experiment, initial, trainer
from jaxcifar.weights import export, release
from jaxcifar.weights.net import load_net

pytestmark = pytest.mark.usefixtures("small_data_for_module")
HEAD = ["params/head/dense1/bias", "params/head/dense1/kernel"]


@pytest.fixture(scope="module")
def sources(small_data_for_module, tmp_path_factory):
    """The same weights as a run, as a released net and as a file."""
    folder = tmp_path_factory.mktemp("sources")
    trainer.train(tiny(num_epochs=1), folder / "run")
    release.release_weights(folder / "run", "latest", folder / "released")
    export.export_weights(folder / "run", "latest", "safetensors", folder / "net.safetensors")
    return folder


def start(config):
    parts = experiment.build_experiment(config)
    optimizer, _ = parts.optimizer(steps_per_epoch=4)
    return parts.start(optimizer, np.zeros((1, 32, 32, 3), np.uint8)).state


@pytest.mark.parametrize("name", ["run", "released", "net.safetensors"])
def test_a_run_starts_from_the_weights_of_every_kind_of_source(name, sources):
    want = load_net(sources / "run").variables
    got = start(tiny(init_from=str(sources / name), **{"optimizer.ema_decay": 0.9}))
    jax.tree.map(np.testing.assert_array_equal, got.eval_variables(), want)
    jax.tree.map(np.testing.assert_array_equal, got.params, want["params"])
    assert int(got.step) == 0


def test_only_the_last_layer_may_differ_and_starts_as_usual(sources, tmp_path, capfd):
    changes = {"model.num_classes": 12, "num_epochs": 1, "augment.std": (0.5, 0.5, 0.4)}
    config = tiny(init_from=str(sources / "run"), **changes)
    got = by_path(start(config).eval_variables())
    usual = by_path(start(tiny(**changes)).eval_variables())
    old = by_path(load_net(sources / "run").variables)
    for path, leaf in got.items():
        np.testing.assert_array_equal(leaf, (usual if path in HEAD else old)[path], path)
    trainer.train(config, tmp_path / "run")
    out, _ = capfd.readouterr()
    assert "initial weights: run, step 4\n" in out
    assert f"but random ones for the last layer: {', '.join(HEAD)}" in out
    assert "WARNING: they were trained with mean [0.5, 0.5, 0.5] and std [0.5, 0.5, 0.5]" in out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.widths": (4, 8)},
            r"in 7 arrays, such as \S+ \(the source has \(6,\), the model \(8,\)\); only the",
        ),
        ({"init_from": "nowhere"}, "nowhere is neither a run's folder nor a file"),
        ({"init_from": "none.safetensors"}, "none.safetensors"),
        ({"init_from": "."}, "no checkpoint in"),
        ({"init_from": "bad.safetensors"}, "damaged or was not written by export"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_leave_no_folder(
    changes, message, sources, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("bad.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match=message):
        trainer.train(tiny(**{"init_from": str(sources / "run")} | changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_keeps_its_weights_and_needs_no_source(sources, run, tmp_path):
    shutil.copytree(sources / "run", tmp_path / "source")
    config = f"--config={ROOT / 'configs' / 'quickstart.py'}"
    words = [config, f"--workdir={tmp_path / 'run'}", *overrides(**TINY | {"num_epochs": 1})]
    words.append(f"--init_from={tmp_path / 'source'}")
    assert run(train_command.main, words)[0] == 0
    before = load_net(tmp_path / "run")
    assert before.parts.config.init_from == str(tmp_path / "source")
    shutil.rmtree(tmp_path / "source")
    status, out, _ = run(train_command.main, words)
    assert (status, "initial weights" in out, "resumed at step 4" in out) == (0, False, True)
    jax.tree.map(
        np.testing.assert_array_equal, load_net(tmp_path / "run").variables, before.variables
    )
    with Checkpoints(tmp_path / "run") as checkpoints:
        about = checkpoints.meta(4)[initial.KEY]
    assert (about["name"], about["step"], about["left_out"]) == ("source", 4, [])
    card = release.release_weights(tmp_path / "run", "latest", tmp_path / "released")
    assert "| initial weights | source |" in card
    assert str(tmp_path) not in (tmp_path / "released" / "config.json").read_text()


def test_a_whitening_layer_keeps_the_statistics_of_its_weights():
    config = config_of("speedrun.py", **{"model.widths": (4, 6, 8), "batch_size": 8})
    parts = experiment.build_experiment(config)
    like = parts.abstract_model()
    tree = {k: jax.tree.map(lambda x: jnp.full(x.shape, 0.5), like[k]) for k in like if like[k]}
    leaves = by_path(tree)
    optimizer, _ = parts.optimizer(steps_per_epoch=4)
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    got = parts.start(optimizer, images, initial.Weights(leaves, {})).state
    jax.tree.map(np.testing.assert_array_equal, got.eval_variables(), tree)


def test_a_config_without_paths_keeps_the_name_of_the_source():
    config = schema.without_paths(tiny(init_from="/home/me/nets/run", **{"data.dir": "/home/me"}))
    assert (config.init_from, config.data.dir) == ("run", "")
