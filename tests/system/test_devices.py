"""Training on several devices, here virtual CPU devices."""

import json
import os
import subprocess
import sys

import chex
import numpy as np
import pytest
from conftest import ROOT, config_of, overrides, random_images, tiny
from parts import parts_of

from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.system.devices import make_mesh
from jaxcifar.training import trainer
from jaxcifar.training.predictor import Predictor

IMAGES = random_images(100, 32, 32, 3)


def test_eight_devices_give_the_same_run_as_one(tmp_path):
    """Batch statistics and gradients are global, and checkpoints move between eight and one."""
    changes = {"data.source": "synthetic", "data.train_examples": 48, "batch_size": 16}
    changes |= {"num_epochs": 1, "optimizer.learning_rate": 0.05, "augment.erasing_share": 0.5}
    changes |= {"augment.mixup_alpha": 0.4, "augment.cutmix_alpha": 1.0}
    name = "simple_cnn.py:batchnorm"
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

    def on_eight(folder, **changes):
        words = [sys.executable, "-m", "jaxcifar.train", f"--config={ROOT / 'configs' / name}"]
        return subprocess.run(
            [*words, f"--workdir={folder}", *overrides(**changes)],
            env=os.environ | {"XLA_FLAGS": flags},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    done = on_eight(tmp_path / "eight", **changes)
    assert done.returncode == 0, done.stderr
    assert "device: 8 × cpu" in done.stdout

    config = config_of(name, **changes)
    one = trainer.train(config, tmp_path / "one")
    _, _, like = parts_of(config)
    with Checkpoints(tmp_path / "eight") as checkpoints:
        eight = checkpoints.restore_latest(like=like)
    assert int(eight.state.step) == 3
    chex.assert_trees_all_close(eight.state, one.state, rtol=1e-4, atol=1e-5)
    line = json.loads((tmp_path / "eight" / "metrics.jsonl").read_text())
    assert line["test_loss"] == pytest.approx(one.lines[0]["test_loss"], rel=1e-4)
    done = on_eight(tmp_path / "one", **changes)
    assert done.returncode == 0, done.stderr
    assert "resumed at step 3" in done.stdout
    done = on_eight(tmp_path / "twenty", **changes | {"batch_size": 20})
    assert done.returncode == 2
    assert "expected a multiple of 8, the number of devices, such as 24" in done.stderr


def test_a_net_is_evaluated_and_predicts_on_any_number_of_devices(tmp_path):
    """Three devices divide neither the batch size nor the number of images."""
    changes = {"data.train_examples": 32, "num_epochs": 1}
    line = trainer.train(tiny(**changes), tmp_path / "run").lines[-1]
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=3"
    folder = str(ROOT / "docs" / "demo")

    def run(command, *words):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                f"jaxcifar.{command}",
                f"--checkpoint={tmp_path / 'run'}",
                *words,
            ],
            env=os.environ | {"XLA_FLAGS": flags},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert f"accuracy {line['test_accuracy']:.4f}" in run("evaluate")
    assert len(json.loads(run("predict", "--json", folder))["images"]) == 10


def test_prediction_allocates_for_the_images_not_for_the_batch_size():
    """A batch of the largest size would take 3 TB."""
    batch = 10**9
    predictor = Predictor(lambda _, x: (x.sum((1, 2, 3)), {}), IMAGES[:1], batch, make_mesh())
    for count in (1, 3, 100):
        predictor.set_images(IMAGES[:count])
        sums, _ = predictor({})
        np.testing.assert_array_equal(sums, IMAGES[:count].sum((1, 2, 3), np.uint32))
