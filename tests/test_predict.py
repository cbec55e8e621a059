"""A run's weights from a script: what they say is what training logged."""

import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT, random_images, tiny

import jaxcifar
from jaxcifar import experiment, train
from jaxcifar.errors import UserError


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small_data_for_module):
    folder = tmp_path_factory.mktemp("runs") / "checkpoints" / "quickstart"
    return folder, train.train(tiny(num_epochs=3, **{"optimizer.ema_decay": 0.5}), folder)


def test_a_net_says_what_training_logged(trained, synthetic):
    folder, result = trained
    net = jaxcifar.load(folder)
    assert (net.step, net.class_names) == (12, synthetic.class_names)
    split = result.dataset.test
    said = net.predict(split.images)
    assert (said.logits.argmax(1) == split.labels).mean() == result.lines[-1]["test_accuracy"]
    np.testing.assert_allclose(said.probabilities, jax.nn.softmax(said.logits), rtol=1e-6)
    assert {name: gate.shape for name, gate in said.gates.items()} == {
        "block0": (40, 2),
        "block1": (40, 2),
    }
    for array in (said.logits, said.probabilities, *said.gates.values()):
        assert type(array) is np.ndarray
    best = max(result.lines, key=lambda line: line["test_accuracy"])  # the first of equals
    assert jaxcifar.load(str(folder), step="best").step == best["step"]
    assert jaxcifar.load(folder, step=8).step == 8


def test_other_images_take_the_place_of_those_before(trained):
    net, images = jaxcifar.load(trained[0]), random_images(21, 32, 32, 3)
    whole = net.predict(images).logits
    for start, stop in ((0, 21), (3, 4), (0, 16), (5, 21)):  # one batch of 16, and two
        part = net.predict(images[start:stop]).logits
        np.testing.assert_allclose(part, whole[start:stop], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.zeros((2, 32, 32, 3)), r"float64 \[2, 32, 32, 3\]"),
        (np.zeros((2, 3, 32, 32), np.uint8), r"uint8 \[2, 3, 32, 32\]"),
        (np.zeros((32, 32, 3), np.uint8), r"uint8 \[32, 32, 3\]"),
        (np.zeros((0, 32, 32, 3), np.uint8), r"uint8 \[0, 32, 32, 3\]"),
    ],
)
def test_images_of_another_kind_are_refused(trained, images, told):
    with pytest.raises(UserError, match=rf"images are {told}; expected uint8 \[N, 32, 32, 3\]"):
        jaxcifar.load(trained[0]).predict(images)


def test_the_example_of_the_readme_runs(trained):
    section = (ROOT / "README.md").read_text().split("## From a script")[1]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    folder = trained[0].parent.parent
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *lines, gates = done.stdout.splitlines()
    assert len(lines) == 5
    assert gates == "{'block0': (5, 2), 'block1': (5, 2)}"


def test_importing_the_package_imports_nothing_heavy():
    code = "import jaxcifar, sys; assert not {'jax', 'numpy', 'orbax'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_run_is_used_without_its_optimizer(trained, monkeypatch, tmp_path):
    """What made the weights may be unknown here: another version's optimizer, or schedule."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "steps").symlink_to(trained[0] / "steps")
    text = (trained[0] / "config.json").read_text()
    text = text.replace('"name": "adam"', '"name": "sophia"').replace('"b1"', '"rho"')
    (folder / "config.json").write_text(text.replace('"warmup_cosine"', '"of_tomorrow"'))
    images = random_images(3, 32, 32, 3)
    got, want = (jaxcifar.load(place).predict(images).logits for place in (folder, trained[0]))
    np.testing.assert_array_equal(got, want)
    monkeypatch.delattr(experiment.Experiment, "optimizer")
    jaxcifar.load(folder)
