"""`evaluate`: what it computes, saves and prints."""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, TEST, TRAIN, tiny

from jaxcifar import evaluate, train
from jaxcifar.errors import UserError
from jaxcifar.figures import png
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.stats import calibration
from jaxcifar.system import atomic
from jaxcifar.training import experiment, losses, trainer
from jaxcifar.weights import evaluation
from jaxcifar.weights.net import load_net

VALIDATION = 24


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small_data_for_module):
    """A finished run of four epochs with averaged weights, and its metrics."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    changes = {"data.validation": VALIDATION, "optimizer.ema_decay": 0.8, "num_epochs": 4}
    return folder, trainer.train(tiny(**changes), folder).lines


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("step", ["latest", "best", "number"])
def test_evaluation_repeats_what_training_logged(trained, step, split):
    folder, lines = trained
    with Checkpoints(folder) as checkpoints:
        want = checkpoints.find_step("best") if step == "best" else checkpoints.steps()[-1]
    result = evaluation.evaluate_run(folder, str(want) if step == "number" else step, split)
    line = next(line for line in lines if line["step"] == want)
    assert result["step"] == want
    assert result["accuracy"] == line[f"{split}_accuracy"]
    assert result["loss"] == pytest.approx(line[f"{split}_loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("split", "examples"), [("test", TEST), ("train", TRAIN), ("validation", VALIDATION)]
)
def test_every_image_is_counted_once_under_its_class(trained, synthetic, split, examples):
    result = evaluation.evaluate_run(trained[0], "latest", split)
    matrix = np.array(result["confusion_matrix"])
    labels = {
        "train": synthetic.train.labels[:TRAIN],
        "test": synthetic.test.labels[:TEST],
        "validation": synthetic.train.labels[TRAIN : TRAIN + VALIDATION],
    }[split]
    assert result["examples"] == matrix.sum() == examples
    np.testing.assert_array_equal(matrix.sum(1), np.bincount(labels, minlength=10))
    assert result["accuracy"] == matrix.trace() / examples
    for i, accuracy in enumerate(result["class_accuracy"].values()):
        assert accuracy == pytest.approx(matrix[i, i] / max(matrix[i].sum(), 1))


def test_confusion_matrix_is_the_slow_count():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 12)), rng.integers(0, 10, 50)
    want = np.zeros((10, 10), int)
    for row, label in zip(logits, labels, strict=True):
        if row.argmax() < 10:  # a model may have more classes than the data
            want[label, row.argmax()] += 1
    assert want.sum() < 50
    np.testing.assert_array_equal(evaluation.confusion_matrix(jnp.array(logits), labels, 10), want)


def test_accuracy_and_confusion_matrix_count_the_same(trained):
    """A net with more classes than the data predicts the largest of all its logits."""
    rng = np.random.default_rng(0)
    logits, labels = jnp.array(rng.normal(size=(200, 20))), rng.integers(0, 10, 200)
    matrix = evaluation.confusion_matrix(logits, labels, 10)
    counted = losses.count(jnp.zeros(200), logits, jnp.array(labels))
    assert matrix.trace() == int(counted.correct) > 0
    assert matrix.sum() == (np.asarray(logits).argmax(1) < 10).sum() < 200
    result = evaluation.evaluate_run(trained[0], "latest", "test")
    assert "do not have" not in evaluate.format_result(result)
    less = result | {"examples": result["examples"] + 7}
    assert "7 images are predicted as a class that the data do not" in evaluate.format_result(less)


def test_a_class_without_images_has_no_accuracy(trained):
    net = load_net(trained[0], "latest")
    logits, labels = np.eye(10, dtype=np.float32)[:9], np.arange(9)
    found = evaluation.score_logits(net, net.class_names, labels, logits)
    assert list(found["class_accuracy"].values()) == [1.0] * 9 + [None]
    result = evaluation.evaluate_run(trained[0], "latest", "test") | found
    row = next(x for x in evaluate.format_result(result).splitlines() if "no images" in x)
    assert row.startswith(net.class_names[9])


def test_long_class_names_leave_no_room_for_mistakes(trained):
    result = evaluation.evaluate_run(trained[0], "latest", "test")
    names = [f"{'a' * 70}{i}" for i in range(10)]
    result |= {"class_accuracy": dict.fromkeys(names, 0.5)}
    result |= {"class_interval": dict.fromkeys(names, (0.4, 0.6))}
    assert evaluate.format_result(result).count("0.4000–0.6000") == 10


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("largest", [9, 999, 5000])
def test_the_table_fits_in_80_columns(trained, classes, largest):
    """With all counts of a class if they fit, or else with its most frequent mistakes."""
    result = evaluation.evaluate_run(trained[0], "latest", "test")
    names = [f"automobil{i}" for i in range(classes)]
    matrix = np.random.default_rng(0).permutation(classes**2).reshape(classes, classes)
    matrix = (matrix * largest // matrix.max()).tolist()
    result |= {"confusion_matrix": matrix, "class_accuracy": dict.fromkeys(names, 0.5)}
    result |= {"class_interval": dict.fromkeys(names, (0.4, 0.6))}
    lines = evaluate.format_result(result).splitlines()
    assert max(map(len, lines)) <= 80
    for i, row in enumerate(matrix):
        cell = next(line for line in lines if line.startswith(names[i] + " ")).split("–0.6000")[1]
        if classes == 2 or (classes == 10 and largest < 1000):
            assert list(map(int, cell.split())) == row
        else:
            shown = [pair.split() for pair in cell.split(", ")]
            assert [int(count) for _, count in shown] == sorted(
                (count for j, count in enumerate(row) if j != i), reverse=True
            )[: len(shown)]
            assert all(row[names.index(name)] == int(count) for name, count in shown)


def test_the_picture_says_how_many_views_were_averaged(trained, run, monkeypatch):
    titles = []
    monkeypatch.setattr(png, "draw_heatmaps", lambda path, maps: titles.append(maps[0].title))
    for views, end in ((1, "step 16"), (6, "step 16, six views of each image")):
        run(evaluate.main, [f"--checkpoint={trained[0]}", f"--views={views}"])
        assert titles.pop().endswith(end)


def test_results_are_printed_if_the_folder_cannot_be_written(trained, run, monkeypatch):
    def fail(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(atomic, "replacing", fail)
    status, out, err = run(evaluate.main, [f"--checkpoint={trained[0]}"])
    assert status == 0
    assert f"accuracy {trained[1][-1]['test_accuracy']:.4f}" in out
    assert err == f"could not save the result in {trained[0]}: Read-only file system\n"


def test_files_are_saved_even_if_the_output_cannot_be_encoded(trained, run, monkeypatch):
    """As with PYTHONIOENCODING=latin-1, which has no en dash."""
    folder, _ = trained
    files = [
        folder / "evaluation_validation_step16.json",
        folder / "confusion_validation_step16.png",
    ]
    assert not any(file.exists() for file in files)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    with contextlib.suppress(UnicodeEncodeError):
        run(evaluate.main, [f"--checkpoint={folder}", "--split=validation"])
    assert all(file.stat().st_size for file in files)


@pytest.mark.parametrize("command", [train, evaluate], ids=lambda module: module.__name__)
def test_ctrl_c_ends_a_command_with_one_line(command, trained, run, monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "load_data", stop)
    config = f"--config={ROOT / 'configs' / 'quickstart.py'}"
    words = {
        train: [config, f"--workdir={tmp_path / 'run'}"],
        evaluate: [f"--checkpoint={trained[0]}"],
    }
    assert run(command.main, words[command]) == (130, "", "stopped by ctrl-C\n")


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "reproduce", "sweep"])
def test_ctrl_c_while_importing_ends_it_with_one_line(command, tmp_path):
    """A module that each command imports sends the interrupt."""
    (tmp_path / "ml_collections.py").write_text("import signal\nsignal.raise_signal(2)\n")
    done = subprocess.run(
        [sys.executable, "-m", f"jaxcifar.{command}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped by ctrl-C\n")


@pytest.fixture(scope="module")
def other(tmp_path_factory, small_data_for_module):
    """The folder of a run of one epoch, without validation images."""
    folder = tmp_path_factory.mktemp("runs") / "other"
    trainer.train(tiny(num_epochs=1, seed=1), folder)
    return folder


def test_the_option_views_equals_views_in_the_config(trained, tmp_path):
    folder, _ = trained
    shutil.copytree(folder / "steps", tmp_path / "steps")
    config = json.loads((folder / "config.json").read_text()) | {"evaluation": {"views": 6}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    want = evaluation.evaluate_run(tmp_path, "latest", "test")
    got = evaluation.evaluate_run(folder, "latest", "test", views=6)
    assert got | {"checkpoint": ""} == want | {"checkpoint": ""}
    assert got["loss"] != evaluation.evaluate_run(folder, "latest", "test")["loss"]


def test_calibration_is_fitted_on_held_out_images(trained, other):
    folder, lines = trained
    result = evaluation.evaluate_run(folder, "latest", "test", calibrate=True)
    found = result["calibration"]
    assert (found["fitted_on"], found["fitted_images"]) == ("validation", VALIDATION)
    assert found["images"] == TEST
    assert result["accuracy"] == lines[-1]["test_accuracy"]
    assert found["cross_entropy_before"] == pytest.approx(lines[-1]["test_loss"], rel=1e-5)
    net = load_net(folder)
    examples = experiment.load_data(net.parts.config)
    held_out = net.predict(examples.validation.images).logits, examples.validation.labels
    assert found["temperature"] == calibration.fit_temperature(*held_out)
    own = evaluation.evaluate_run(folder, "latest", "validation", calibrate=True)["calibration"]
    assert (own["fitted_on"], own["fitted_images"] + own["images"]) == ("half of validation", 24)
    halves = evaluation.evaluate_run(other, "latest", "test", calibrate=True)
    assert halves["calibration"]["fitted_on"] == "half of test"
    assert halves["calibration"]["fitted_images"] == halves["calibration"]["images"] == TEST // 2
    assert "fitted on half of test, 20 images; scored on the other half, 20" in (
        evaluate.format_result(halves)
    )
    assert evaluation.evaluate_run(other, "latest", "test", calibrate=True) == halves


def test_two_nets_are_compared_on_the_same_images(trained, other):
    folder, _ = trained
    itself = evaluation.evaluate_run(folder, "latest", "test", against=folder)
    assert itself["against"]["accuracy"] == itself["accuracy"]
    assert itself["against"]["interval"] == itself["interval"]
    assert (itself["against"]["right_alone"], itself["against"]["p"]) == (0, 1.0)
    here = evaluation.evaluate_run(folder, "latest", "test", against=other)
    there = evaluation.evaluate_run(other, "latest", "test", against=folder)
    its = here["against"]
    assert its["accuracy"] == there["accuracy"]
    assert its["right_alone"] == there["against"]["wrong_alone"]
    difference = (its["right_alone"] - its["wrong_alone"]) / TEST
    assert here["accuracy"] - its["accuracy"] == pytest.approx(difference)
    assert its["right_alone"] + its["wrong_alone"] > 0
    assert its["p"] == there["against"]["p"]


def test_a_net_with_other_classes_cannot_be_compared(trained, other, monkeypatch):
    load = load_net

    def renamed(folder, step):
        net = load(folder, step)
        return dataclasses.replace(net, class_names=("a", "b")) if folder == other else net

    monkeypatch.setattr(evaluation, "load_net", renamed)
    with pytest.raises(UserError, match=r"other has other classes \(a, b\); expected disc"):
        evaluation.evaluate_run(trained[0], "latest", "test", against=other)


def test_options_are_printed_and_saved_in_files_of_their_own(trained, other, run):
    folder, _ = trained
    run(evaluate.main, [f"--checkpoint={folder}"])
    plain = (folder / "evaluation_test_step16.json").read_bytes()
    words = [f"--checkpoint={folder}", "--step=latest", "--views=6", "--calibrate"]
    status, out, err = run(evaluate.main, [*words, f"--against={other}"])
    assert (status, err) == (0, "")
    (file,) = folder.glob("evaluation_test_step16_views6_calibrated_against_other_????????.json")
    result = json.loads(file.read_text())
    low, high = result["interval"]
    for text in (
        "step 16, six views of each image",
        f"accuracy {result['accuracy']:.4f}, 95 % interval {low:.4f}–{high:.4f}",
        f"temperature {result['calibration']['temperature']:.4f}, fitted on validation, 24 images",
        f"against {other}, step 4: accuracy {result['against']['accuracy']:.4f}",
    ):
        assert text in out
    for name, (low, high) in result["class_interval"].items():
        assert f"{low:.4f}–{high:.4f}" in next(x for x in out.splitlines() if x.startswith(name))
        assert low <= result["class_accuracy"][name] <= high
    assert (folder / "evaluation_test_step16.json").read_bytes() == plain


@pytest.mark.parametrize("step", ["3", "-1", "first", "1.5", "²", "9" * 5000])
def test_a_step_that_was_not_saved_is_refused(trained, step):
    with pytest.raises(UserError, match=r"expected best, latest or one of .*16"):
        evaluation.evaluate_run(trained[0], step, "test")


def test_the_command_saves_a_result_and_a_picture(trained, run):
    folder, lines = trained
    status, out, err = run(evaluate.main, [f"--checkpoint={folder}"])
    assert (status, err) == (0, "")
    assert f"accuracy {lines[-1]['test_accuracy']:.4f}" in out
    result = json.loads((folder / "evaluation_test_step16.json").read_text())
    assert result["accuracy"] == lines[-1]["test_accuracy"]
    assert (folder / "confusion_test_step16.png").read_bytes().startswith(b"\x89PNG")
    for name, accuracy in result["class_accuracy"].items():
        assert f"{accuracy:.4f}" in next(row for row in out.splitlines() if row.startswith(name))
    assert run(evaluate.main, [f"--checkpoint={folder}", "--step=12"])[0] == 0
    assert json.loads((folder / "evaluation_test_step12.json").read_text())["step"] == 12
    run(evaluate.main, [f"--checkpoint={folder}", "--split=train"])
    assert json.loads((folder / "evaluation_train_step16.json").read_text())["examples"] == TRAIN
    assert (folder / "confusion_train_step16.png").is_file()
    assert json.loads((folder / "evaluation_test_step16.json").read_text()) == result


def test_the_command_reports_mistakes_in_one_line(trained, run, small_data, tmp_path):
    trainer.train(tiny(num_epochs=1), tmp_path / "run")
    for words, message in (
        ([f"--checkpoint={tmp_path / 'none'}"], "none does not exist"),
        ([f"--checkpoint={tmp_path / 'run'}", "--step=99"], "step 99 is not saved"),
        ([f"--checkpoint={tmp_path / 'run'}", "--split=validation"], "validation"),
    ):
        status, out, err = run(evaluate.main, words)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert message in err
    assert not (tmp_path / "none").exists()
