"""The pages in docs/: what they say is done, in a copy of the checkout, and works."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

BLOCK = re.compile(r"(?:`(\S+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^    \.venv/bin/python -m (jaxcifar\.(?:.*\\\n)*.*)$", re.MULTILINE)


def apply(diff, file):
    """Makes the changes of a diff block: each hunk's old lines stand in the file once."""
    text = file.read_text()
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        old, new = ("".join(x[1:] for x in lines if x[0] != sign) for sign in "+-")
        assert text.count(old) == 1, f"{file.name}: not there once:\n{old}"
        text = text.replace(old, new)
    file.write_text(text)


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A copy of the checkout with all of the page done; and the page's commands."""
    page = (ROOT / "docs" / "change_one_thing.md").read_text()
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("jaxcifar", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, language, text in BLOCK.findall(page):
        if language == "diff":
            apply(text, copy / name)
        elif name:
            (copy / name).write_text(text)
        else:
            subprocess.run([sys.executable, "-c", text], cwd=copy, check=True)
    return copy, [shlex.split(command.replace("\\\n", "")) for command in COMMAND.findall(page)]


def run(copy, *words):
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run(
        [sys.executable, *words], cwd=copy, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_change_is_taken_alone(changed):
    """What each command asks for is a config that builds; and images become grey."""
    copy, commands = changed
    trains = [words[1:] for words in commands if words[0] == "jaxcifar.train"]
    assert len(trains) == 4
    code = f"""
import jax
import jax.numpy as jnp
from jaxcifar import train
from jaxcifar.config import overrides
from jaxcifar.data.split import SIZE
from jaxcifar.training import experiment
from jaxcifar.training.augment import Batch
for words in {trains}:
    known, words = train.parse(words)
    page, workdir = known.config, known.workdir
    parts = experiment.build_experiment(overrides.load_config(page, words))
    print(parts.model)
    if parts.config.augment.get("grey_share"):
        images = jax.random.bits(jax.random.key(0), (1000, 32, 32, 3), "uint8")
        batch = Batch(images, None, jnp.arange(1000), jnp.int32(0), jnp.int32(0))
        x = parts.augment.train(jax.random.key(1), batch, SIZE)
        print("grey images", int((x == x[..., :1]).all((1, 2, 3)).sum()))
"""
    told = run(copy, "-c", code)
    assert "PatchNet" in told
    assert 150 < int(re.search(r"grey images (\d+)", told)[1]) < 250  # four σ of a fifth of 1,000


def test_all_changes_at_once_train_and_are_evaluated(changed):
    copy, commands = changed
    words = [w for c in commands if c[0] == "jaxcifar.train" for w in c[1:]]
    few = ["--config.num_epochs=1", "--config.batch_size=16", "--config.data.train_examples=64"]
    few.append("--config.schedule.warmup_epochs=0.0")
    page = next(w for w in words if w.startswith("--config=configs"))
    changes = [w for w in words if w.startswith("--config.") and "num_epochs" not in w]
    run(copy, "-m", "jaxcifar.train", page, "--workdir=checkpoints/own", *changes, *few)
    (evaluate,) = (c for c in commands if c[0] == "jaxcifar.evaluate")
    told = run(copy, "-m", *evaluate)
    assert "npz data, test, 500 images" in told
    assert re.search(r"^bright +[\d.]+ +[\d.]+–[\d.]+ +\d+ +\d+$", told, re.MULTILINE)
