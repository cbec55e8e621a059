"""Errors of JAX that are the user's or the machine's: one line that says what to do."""

import os
import subprocess
import sys

import jax.numpy as jnp
import pytest
from conftest import ROOT

from jaxcifar import train
from jaxcifar.training import experiment


def fill_the_memory(*_):
    return jnp.zeros((10**7, 10**7)).block_until_ready()


def test_too_little_memory_is_one_line(run, monkeypatch, tmp_path):
    monkeypatch.setattr(experiment, "load_data", fill_the_memory)
    config = f"--config={ROOT / 'configs' / 'quickstart.py'}"
    status, _, err = run(train.main, [config, f"--workdir={tmp_path / 'run'}"])
    assert status == 2
    assert err.count("\n") == 1
    assert "the device has too little memory" in err
    assert "config.batch_size" in err
    assert "--config.accumulate_steps=2" in err


@pytest.mark.parametrize("command", ["train", "evaluate"])
@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_platform_without_a_device_is_one_line(command, platform, tmp_path):
    words = {
        "train": [
            f"--config={ROOT / 'configs' / 'quickstart.py'}",
            f"--workdir={tmp_path / 'run'}",
        ],
        "evaluate": [f"--checkpoint={ROOT / 'checkpoints' / 'released' / 'simple_cnn_batchnorm'}"],
    }
    done = subprocess.run(
        [sys.executable, "-m", f"jaxcifar.{command}", *words[command]],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": platform},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"no device for JAX_PLATFORMS={platform}" in done.stderr
    assert not (tmp_path / "run").exists()
