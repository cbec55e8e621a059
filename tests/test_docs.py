"""The documents in docs/: their changes and commands work in a copy of the checkout."""

import contextlib
import dataclasses
import importlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
from conftest import ROOT, config_of, overrides
from documents import COMMAND, SMALL, run_here
from nets import random_model

from jaxcifar import data
from jaxcifar.claims.reports import CLAIMS
from jaxcifar.config import schema
from jaxcifar.run import metrics
from jaxcifar.run.leaves import by_path
from jaxcifar.training import experiment
from jaxcifar.weights import export, release
from jaxcifar.weights.net import load_net

BLOCK = re.compile(r"(?:`(\S+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ACCURACY = re.compile(r"^epoch (\d+)/\d+ .* test loss \S+ acc (\S+)", re.MULTILINE)
OWN = "--workdir=checkpoints/own"


def apply_diff(diff, file):
    """Applies a diff block to a file that contains the old lines of each hunk exactly once."""
    text = file.read_text()
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        old, new = ("".join(x[1:] for x in lines if x[0] != sign) for sign in "+-")
        assert text.count(old) == 1, f"{file.name} does not contain this exactly once:\n{old}"
        text = text.replace(old, new)
    file.write_text(text)


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A copy of the checkout with every change of the document made, and its commands."""
    document = (ROOT / "docs" / "change_one_thing.md").read_text()
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("jaxcifar", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, language, text in BLOCK.findall(document):
        if language == "text":  # the output of a command
            continue
        if language == "diff":
            apply_diff(text, copy / name)
        elif name:
            (copy / name).write_text(text)
        else:
            subprocess.run([sys.executable, "-c", text], cwd=copy, check=True)
    return copy, [shlex.split(command.replace("\\\n", "")) for command in COMMAND.findall(document)]


def run(copy, *words, **variables):
    environment = os.environ | {"PYTHONPATH": str(copy)} | variables
    done = subprocess.run(
        [sys.executable, *words], cwd=copy, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_command_gives_a_valid_config_and_images_become_grey(changed):
    copy, commands = changed
    trains = [words[1:] for words in commands if words[0] == "jaxcifar.train"]
    assert len(trains) == 5
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
    parts = experiment.build_experiment(overrides.load_config(known.config, words))
    print(parts.model)
    if parts.config.augment.get("grey_share"):
        images = jax.random.bits(jax.random.key(0), (1000, 32, 32, 3), "uint8")
        batch = Batch(images, None, jnp.arange(1000), jnp.int32(0), jnp.int32(0))
        x = parts.augment.train(jax.random.key(1), batch, SIZE)
        print("grey images", int((x == x[..., :1]).all((1, 2, 3)).sum()))
"""
    output = run(copy, "-c", code)
    assert "PatchNet" in output
    # four standard deviations around a fifth of 1,000
    assert 150 < int(re.search(r"grey images (\d+)", output)[1]) < 250


def test_all_changes_train_together_and_are_evaluated(changed):
    copy, commands = changed
    words = [w for c in commands if c[0] == "jaxcifar.train" for w in c[1:]]
    few = ["--config.num_epochs=1", "--config.batch_size=16", "--config.data.train_examples=64"]
    few.append("--config.schedule.warmup_epochs=0.0")
    config = next(w for w in words if w.startswith("--config=configs"))
    changes = [w for w in words if w.startswith("--config.")]
    run(copy, "-m", "jaxcifar.train", config, "--workdir=checkpoints/all", *changes, *few)
    output = run(copy, "-m", "jaxcifar.evaluate", "--checkpoint=checkpoints/all")
    assert "npz data, test, 500 images" in output
    assert re.search(r"^bright +[\d.]+ +[\d.]+–[\d.]+ +\d+ +\d+$", output, re.MULTILINE)


def test_your_own_images_are_learned_as_shown(changed):
    """The recipe ends at the accuracy that the document shows, and short runs evaluate badly."""
    copy, commands = changed
    (train,) = (words for words in commands if OWN in words)
    (evaluate,) = (words for words in commands if words[0] == "jaxcifar.evaluate")
    shown = dict(ACCURACY.findall((ROOT / "docs" / "change_one_thing.md").read_text()))
    assert (shown["1"], shown["6"]) == ("0.5000", "1.0000")
    fast = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}  # this run trains longer than it compiles
    printed = dict(ACCURACY.findall(run(copy, "-m", *train, **fast)))
    assert list(printed) == [str(epoch) for epoch in range(1, 7)]
    assert float(printed["1"]) < 0.75
    assert float(printed["6"]) > 0.99
    assert f"\naccuracy {printed['6']}, 95 % interval" in run(copy, "-m", *evaluate)


def test_a_folder_of_images_is_read_as_shown(changed):
    copy, commands = changed
    (train,) = (words for words in commands if "--workdir=checkpoints/photos" in words)
    (inspect,) = (words for words in commands if words[0] == "jaxcifar.inspect_data")
    cache = {"XDG_CACHE_HOME": str(copy / "cache")}
    output = run(copy, "-m", *train, "--config.num_epochs=1", **cache)
    output += run(copy, "-m", *inspect, **cache)
    shown = (ROOT / "docs" / "change_one_thing.md").read_text()
    for line in (
        "data: folder, 320 training and 80 test images",
        "      from photos, 400 images of 64×48 pixels, cropped to a square and resized to 32×32",
        "folder: 320 train, 80 test images; 2 classes",
        "bright        160         40",
        "  0 test images that are also in train",
    ):
        assert f"\n{line}\n" in shown
        assert f"{line}\n" in output
    assert (copy / "photos.png").exists()


class FakeRun(list):
    """A run of the module wandb that remembers what it is given."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def log(self, line, step):
        self.append((step, line))


def write_random_weights(folder, config, names):
    """Writes a released net with random weights."""
    meta = {"config": schema.to_json(config), "class_names": list(names)}
    meta |= {"mean": list(config.augment.mean), "std": list(config.augment.std)}
    weights = random_model(experiment.build_experiment(config))
    release.write_weights(folder, 7, weights, meta, None)


def leaves(folder):
    return by_path(load_net(folder).variables)


def test_the_common_tasks_of_training_work(run, monkeypatch, tmp_path, synthetic):
    document = (ROOT / "docs" / "training.md").read_text()
    few = [part[:1256] for part in synthetic.train], [part[:100] for part in synthetic.test]
    train, test = (data.Split(*parts) for parts in few)
    small = dataclasses.replace(synthetic, train=train, test=test)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(data.SOURCES, "synthetic", lambda dir: small)
    quickstart = tmp_path / "checkpoints" / "quickstart"
    write_random_weights(quickstart, config_of("quickstart.py"), synthetic.class_names)
    (tmp_path / "checkpoints" / "released").symlink_to(ROOT / "checkpoints" / "released")
    guide = (ROOT / "docs" / "change_one_thing.md").read_text()
    (photos,) = (text for _, _, text in BLOCK.findall(guide) if 'Path("photos"' in text)
    exec(photos, {})
    printed = [run_here(run, command) for command in COMMAND.findall(document)]
    assert len(printed) == 11
    (shown,) = re.findall(r"```text\n(.*?)```", document, re.DOTALL)
    for line in shown.splitlines()[1:-2]:  # XLA may count operations in another way
        assert " ".join(line.split()[:-1]) in " ".join(printed[0].split())
    assert "21,282,122" in printed[2]  # ResNet-34
    tuned, before = (leaves(f"checkpoints/{name}") for name in ("tuned", "quickstart"))
    for path in before:
        frozen = "/block0/" in path or "/block1/" in path
        assert np.array_equal(tuned[path], before[path]) == frozen, path
    assert len(metrics.read(tmp_path / "checkpoints" / "longer")) == 3
    assert len(metrics.read(tmp_path / "checkpoints" / "early")) < 30
    assert "stopped early after epoch" in printed[8]
    released = ROOT / "checkpoints" / "released" / "simple_cnn_batchnorm"
    own, before = (leaves(folder) for folder in ("checkpoints/own_tuned", released))
    frozen = {path for path in before if np.array_equal(own[path], before[path])}
    assert frozen == {path for path in before if "/conv" in path}

    sent = FakeRun()
    wandb = types.SimpleNamespace(init=lambda project, id, resume, config: sent)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (script,) = (text for _, language, text in BLOCK.findall(document) if language == "python")
    for _ in range(2):  # the second time there is nothing left to send
        exec(script, {})
        lines = metrics.read(tmp_path / "checkpoints" / "sent")
        assert list(sent) == [(line["epoch"], line) for line in lines]
        assert len(sent) == 2


def test_weights_are_exchanged_as_shown(run, monkeypatch, tmp_path, synthetic, small_data):
    """The commands and examples run in order, except those whose packages are not installed."""
    monkeypatch.chdir(tmp_path)
    for folder, name in (("checkpoints/quickstart", "quickstart.py"), ("resnet", "resnet20.py")):
        config = config_of(name, **SMALL[name])
        write_random_weights(tmp_path / folder, config, synthetic.class_names)
    packages = {"torch": ("torch",), "onnx": ("jax2onnx", "onnx", "onnxruntime")}
    lacks = {
        name for name, parts in packages.items() if not all(map(importlib.util.find_spec, parts))
    }
    document = (ROOT / "docs" / "exchange.md").read_text()
    if "torch" not in lacks:
        export.export_weights(
            tmp_path / "resnet", "latest", "torch", tmp_path / "resnet20-12fca82f.th"
        )
    found = {match.start(): ("command", match[1]) for match in COMMAND.finditer(document)}
    found |= {match.start(): match.groups()[1:] for match in BLOCK.finditer(document)}
    assert [kind for kind, _ in found.values()].count("command") == 7
    shown = {}
    for _, (kind, text) in sorted(found.items()):
        if ("torch" in lacks and "12fca82f" in text) or any(f"={p}" in text for p in lacks):
            continue
        if kind == "command":
            more = ["--other_classes"] * ("evaluate" in text)  # the small data are not CIFAR-10
            for name in SMALL:
                more += overrides(**SMALL[name]) if name in text else []
            shown[text] = run_here(run, text, *more)
        elif "onnx" not in lacks or "onnx" not in text:
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(text, {})
            shown[text] = printed.getvalue()
    names = str(list(synthetic.class_names))
    jax_, *onnx_, (listed, shapes) = (
        x.splitlines() for text, x in shown.items() if text.startswith("import")
    )
    assert jax_ == ["(5, 10)"]
    assert onnx_ == [[f"(5, 10) {names}"]] * ("onnx" not in lacks)
    assert listed == names
    assert "'params/block0/conv/kernel': (3, 3, 3, 8)" in shapes
    for path, leaf in leaves("checkpoints/quickstart").items():
        assert np.array_equal(leaf, leaves("checkpoints/net")[path]), path
    for path, leaf in {} if "torch" in lacks else leaves("resnet").items():
        assert np.array_equal(leaf, leaves("checkpoints/resnet20-12fca82f")[path]), path


def test_every_claim_is_listed_in_the_document_of_the_reports():
    text = (ROOT / "docs" / "reports.md").read_text()
    assert set(re.findall(r"`(00\d-[\w.-]+)`", text)) == {claim.id for claim in CLAIMS}
