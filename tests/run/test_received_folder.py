"""A run's folder that came from elsewhere: no file outside it is written, moved or copied."""

import os
import re
import shutil

import jax
import numpy as np
import pytest
from conftest import ROOT, tiny

from jaxcifar import evaluate, export, predict, release, report
from jaxcifar.config import schema
from jaxcifar.errors import UserError
from jaxcifar.run import metrics, workdir
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.system import files
from jaxcifar.training import experiment, trainer
from jaxcifar.weights import release as weights

RELEASED = ROOT / "checkpoints" / "released" / "pooled_cnn_lr0.005"


def content(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.fixture
def private(tmp_path):
    """The user's own folder, whose content must stay as it is."""
    folder = tmp_path / "private"
    (folder / "photos" / "8").mkdir(parents=True)
    for name in (".bashrc", "notes", "key", "photos/8/photo.png"):
        (folder / name).write_text(f"my {name}")
    before = content(folder)
    yield folder
    assert content(folder) == before


LINKS = {
    "metrics_aside.jsonl": ".bashrc",
    "metrics.jsonl": "key",
    "config.json": "key",
    ".lock": "notes",
    "steps": "photos",
    "damaged": "photos",
    "tensorboard": "photos",
    "curves.png": "notes",
    "steps/8": "photos/8",
}


@pytest.mark.parametrize("name", LINKS)
def test_a_link_in_a_received_run_stops_training_before_anything_is_written(
    name, private, tmp_path, small_data
):
    with workdir.claim_workdir(tmp_path / "run", tiny()):
        (tmp_path / "run" / "steps").mkdir()
    (tmp_path / "run" / metrics.FILE).write_text("alias ls=echo\n")
    place = tmp_path / "run" / name
    if place.is_dir():
        place.rmdir()
    else:
        place.unlink(missing_ok=True)
    place.symlink_to(private / LINKS[name])
    with pytest.raises(UserError, match=rf"run/{name} is a link, but a run's folder may hold only"):
        trainer.train(tiny(), tmp_path / "run")


@pytest.mark.parametrize("name", ["metrics.jsonl", "metrics_aside.jsonl", ".lock"])
def test_a_hard_link_in_a_received_run_is_not_written(name, private, tmp_path, small_data):
    """An archive may hold one. It is refused at the start, not when an epoch is over."""
    with workdir.claim_workdir(tmp_path / "run", tiny()):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    (tmp_path / "run" / name).hardlink_to(private / ".bashrc")
    with pytest.raises(UserError, match=r"It is a hard link \(replace it by a copy\)"):
        trainer.train(tiny(), tmp_path / "run")
    (tmp_path / "run" / name).unlink()


@pytest.mark.parametrize("name", [".lock", "config.json.7.tmp"])
def test_a_link_in_an_empty_workdir_is_refused(name, private, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(private / "notes")
    with pytest.raises(UserError, match="is a link"), workdir.claim_workdir(tmp_path / "run", {}):
        pass


def commands(folder):
    at = f"--checkpoint={folder}"
    out = folder.parent / "out"
    return {
        "evaluate": (evaluate.main, [at]),
        "predict": (predict.main, [at, ROOT / "docs" / "demo"]),
        "export": (export.main, [at, "--to=safetensors", f"--out={out}"]),
        "release": (release.main, [at, f"--out={out}"]),
        "report": (report.main, [folder, f"--out={out}.html"]),
    }


@pytest.mark.parametrize("command", commands(ROOT))
@pytest.mark.parametrize("kind", ["a link", "a FIFO"])
@pytest.mark.parametrize("name", ["metrics.jsonl", "steps/11700/manifest.json"])
def test_every_command_refuses_a_link_or_fifo_in_a_run(
    command, kind, name, private, tmp_path, run, small_data
):
    folder = tmp_path / "run"
    shutil.copytree(RELEASED, folder)
    (folder / name).unlink(missing_ok=True)
    if kind == "a FIFO":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to(private / "key")
    main, words = commands(folder)[command]
    status, out, err = run(main, words)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {folder / name} is {kind}, but a run's folder may hold")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_may_be_reached_through_a_link(tmp_path, run, small_data):
    (tmp_path / "way").symlink_to(RELEASED)
    status, _, err = run(predict.main, [f"--checkpoint={tmp_path / 'way'}", ROOT / "docs" / "demo"])
    assert (status, err) == (0, "")


@pytest.mark.parametrize("name", ["/dev/zero", "../../../private/key", "a/../../../private/key"])
def test_a_manifest_describes_files_of_its_step_only(name, private, tmp_path):
    shutil.copytree(RELEASED, tmp_path / "run")
    (tmp_path / "run/steps/11700/manifest.json").write_text(f'{{"{name}": [1, 2]}}')
    with (
        Checkpoints(tmp_path / "run") as checkpoints,
        pytest.raises(
            UserError, match=r"step 11700 is damaged, .*: manifest.json is not a manifest"
        ),
    ):
        checkpoints.meta(11700)


def test_released_metrics_are_the_lines_of_epochs_only(tmp_path, run):
    shutil.copytree(RELEASED, tmp_path / "run")
    kept = metrics.read(RELEASED)
    with (tmp_path / "run" / metrics.FILE).open("a") as file:
        file.write("PRIVATE KEY\n")
    status, _, err = run(release.main, [f"--checkpoint={tmp_path}/run", f"--out={tmp_path}/out"])
    assert (status, err) == (0, "")
    assert metrics.read(tmp_path / "out") == kept
    assert "PRIVATE" not in (tmp_path / "out" / metrics.FILE).read_text()


def test_a_small_step_that_claims_many_values_is_not_loaded(tmp_path, run, monkeypatch):
    """Zeros compress well: these 12 MB take less than 0.1 MB."""
    monkeypatch.setattr(files, "SMALL", 2**20)
    config = tiny(model={"name": "mlp", "num_classes": 10, "hidden": (1000,), "dropout": 0.0})
    like = experiment.build_experiment(config).abstract_model()
    model = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    meta = {"config": schema.to_json(config), "class_names": ["a"] * 10}
    weights.write_weights(tmp_path / "run", 0, model, meta, None)
    monkeypatch.setattr("orbax.checkpoint.v1.training.Checkpointer.load_checkpointables", None)
    status, out, err = run(predict.main, [f"--checkpoint={tmp_path}/run", ROOT / "docs" / "demo"])
    assert (status, out) == (2, "")
    assert re.fullmatch(r"error: .*/0 would unpack from [\d,]+ to 12,[\d,]+ bytes and .*\n", err)
