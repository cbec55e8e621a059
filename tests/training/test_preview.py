"""The table of layers, and the picture of the first batch."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, overrides, tiny
from nets import MLP
from PIL import Image

from jaxcifar import train
from jaxcifar.training import experiment, preview
from jaxcifar.training.state import Carry, State

pytestmark = pytest.mark.usefixtures("small_data_for_module")


def test_the_summary_has_every_layer_with_its_parameters_and_operations(run, tmp_path):
    words = [f"--config={ROOT / 'configs' / 'simple_cnn.py:base'}", f"--workdir={tmp_path / 'x'}"]
    status, out, err = run(train.main, [*words, "--summary", "--config.data.source=cifar10"])
    assert (status, err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:]}
    numbers = {
        name: [int(n.replace(",", "")) for n in row[-2:]] for name, row in list(rows.items())[:6]
    }
    # a dense layer has a product and an addition per weight, and an addition per bias
    for i, (before, after) in enumerate([(576, 120), (120, 84), (84, 10)]):
        parameters = before * after + after
        assert numbers[f"head/dense{i}"] == [parameters, 2 * before * after + after]
    for name, kernel, positions in (("conv0", 5 * 5 * 3 * 8, 28**2), ("conv1", 9 * 8 * 16, 12**2)):
        assert numbers[name][1] == pytest.approx(2 * kernel * positions, rel=0.05)
    total = sum(parameters for name, (parameters, _) in numbers.items() if name != "all")
    assert numbers["all"][0] == total == 82_030
    assert rows["conv1"][:2] == ["Conv", "6×6×16"]
    assert max(map(len, out.splitlines())) <= 80
    assert not list(tmp_path.iterdir())


def test_the_summary_shows_what_is_frozen_and_the_arrays_outside_the_layers(run):
    words = [f"--config={ROOT / 'configs' / 'speedrun.py'}", "--summary"]
    freeze = "--config.optimizer.freeze=net/net/group0*,net/net/group1_norm?/bias,*/head"
    status, out, _ = run(train.main, [*words, freeze])
    assert status == 0
    rows = {line.split()[0]: line.replace(",", "").split() for line in out.splitlines()[1:-1]}
    kernels = {"conv0": 9 * 24 * 64, "norm0": 64, "conv1": 9 * 64 * 64, "norm1": 64}
    frozen = {f"net/net/group0_{layer}": count for layer, count in kernels.items()}
    frozen |= {f"net/net/group1_norm{i}": 256 for i in (0, 1)} | {"net/net/head": 2560}
    for name, row in rows.items():
        assert int(row[-1]) == frozen.get(name, sum(frozen.values()) if name == "all" else 0)
    assert rows["net/net/head"][1:] == ["parameter", "256×10", "2560", "2560"]
    assert rows["net/whitening"][1:4] == ["fixed", "2×2×3×24", "0"]
    assert int(rows["all"][1]) == 1_971_328
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("mixed", [False, True])
def test_the_picture_shows_what_the_first_step_trains_on(mixed):
    """The images and labels are those that the training loop hands to the update."""
    augment = {"flip": True, "crop_pad": 4, "mixup_alpha": 0.4 if mixed else 0.0}
    config = tiny(model=MLP, seed=3, **{f"augment.{k}": v for k, v in augment.items()})
    parts = experiment.build_experiment(config)
    dataset = experiment.load_data(parts.config)
    pixels, names = preview.first_batch(parts, dataset)

    def record(state, inputs):
        seen = {"x": inputs.x, "labels": inputs.labels}
        return State(state.step + 1, seen, {}, (), None), jnp.zeros(())

    parts_loop = parts.train_loop(dataset.train, parts.optimizer(4)[0])
    parts_loop._update = record
    nothing = {"x": jnp.zeros((16, 32, 32, 3)), "labels": jnp.zeros(16, jnp.int32)}
    start = Carry(State(jnp.int32(0), nothing, {}, (), None), jnp.zeros(()))
    seen = parts_loop.run(start, lambda *_: False, 1).state.params
    want = np.asarray(seen["x"]) * 0.5 + 0.5
    np.testing.assert_allclose(pixels, want.clip(0, 1), atol=1e-6)
    own = [dataset.class_names[label] for label in np.asarray(seen["labels"])]
    if mixed:
        share = float(re.match(r"[\d.]+", names[0])[0])
        partners = own[-1:] + own[:-1]
        own = [f"{share:.2f} {a}\n{1 - share:.2f} {b}" for a, b in zip(own, partners, strict=True)]
    assert names == own


def test_the_command_writes_a_picture_and_leaves_the_run_alone(run, tmp_path):
    words = [f"--config={ROOT / 'configs' / 'quickstart.py'}", f"--workdir={tmp_path / 'net'}"]
    words += overrides(batch_size=20)
    for name in ("net-show_batch", "net-show_batch-2"):
        status, out, err = run(train.main, [*words, "--show_batch"])
        assert (status, err) == (0, "")
        assert out == f"wrote {tmp_path / name}/batch.png, 20 of 20 images of the first step\n"
        with Image.open(tmp_path / name / "batch.png") as picture:
            assert len(picture.convert("RGB").getcolors(2**24)) > 1000  # not an empty page
    assert sorted(f.name for f in tmp_path.iterdir()) == ["net-show_batch", "net-show_batch-2"]
