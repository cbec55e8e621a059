"""Training on several devices, here virtual CPU devices."""

import json
import os
import subprocess
import sys

import chex
import pytest
from conftest import ROOT, config_of, overrides
from parts import parts_of

from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.training import trainer


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
