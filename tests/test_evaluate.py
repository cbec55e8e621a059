import json

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TEST, TRAIN, tiny

from jaxcifar import evaluate, train
from jaxcifar.errors import UserError
from jaxcifar.run.checkpoint import Checkpoints

VALIDATION = 24


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small_data_for_module):
    """A finished run of four epochs with averaged weights, and its metrics."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    changes = {"data.validation": VALIDATION, "optimizer.ema_decay": 0.8, "num_epochs": 4}
    return folder, train.train(tiny(**changes), folder).lines


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("step", ["latest", "best", "number"])
def test_evaluation_gives_what_training_logged(trained, step, split):
    folder, lines = trained
    with Checkpoints(folder) as checkpoints:
        want = checkpoints.best_step() if step == "best" else checkpoints.steps()[-1]
    result = evaluate.evaluate(folder, str(want) if step == "number" else step, split)
    line = next(line for line in lines if line["step"] == want)
    assert result["step"] == want
    assert result["accuracy"] == line[f"{split}_accuracy"]
    assert result["loss"] == pytest.approx(line[f"{split}_loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("split", "examples"), [("test", TEST), ("train", TRAIN), ("validation", VALIDATION)]
)
def test_every_image_is_counted_once_under_its_class(trained, synthetic, split, examples):
    result = evaluate.evaluate(trained[0], "latest", split)
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
        if row.argmax() < 10:  # a model may have classes that the data have not
            want[label, row.argmax()] += 1
    assert want.sum() < 50
    np.testing.assert_array_equal(evaluate.confusion_matrix(jnp.array(logits), labels, 10), want)


@pytest.mark.parametrize("step", ["3", "-1", "first", "1.5"])
def test_a_step_that_is_not_saved_is_refused(trained, step):
    with pytest.raises(UserError, match=r"expected best, latest or one of .*16"):
        evaluate.evaluate(trained[0], step, "test")


def test_the_command_writes_numbers_and_a_picture(trained, run):
    folder, lines = trained
    status, out, err = run(evaluate.main, [f"--checkpoint={folder}"])
    assert (status, err) == (0, "")
    assert f"accuracy {lines[-1]['test_accuracy']:.4f}" in out
    result = json.loads((folder / "evaluation_test_step16.json").read_text())
    assert result["accuracy"] == lines[-1]["test_accuracy"]
    assert (folder / "confusion_test_step16.png").read_bytes().startswith(b"\x89PNG")
    for name, accuracy in result["class_accuracy"].items():
        assert f"{accuracy:.4f}" in next(row for row in out.splitlines() if row.startswith(name))
    run(evaluate.main, [f"--checkpoint={folder}", "--split=train"])
    assert json.loads((folder / "evaluation_train_step16.json").read_text())["examples"] == TRAIN
    assert (folder / "confusion_train_step16.png").is_file()
    assert json.loads((folder / "evaluation_test_step16.json").read_text()) == result


def test_the_command_tells_mistakes_in_one_line(trained, run, small_data, tmp_path):
    train.train(tiny(num_epochs=1), tmp_path / "run")
    for words, message in (
        ([f"--checkpoint={tmp_path / 'none'}"], "not a run's folder"),
        ([f"--checkpoint={tmp_path / 'run'}", "--step=99"], "step 99 is not saved"),
        ([f"--checkpoint={tmp_path / 'run'}", "--split=validation"], "validation"),
    ):
        status, out, err = run(evaluate.main, words)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert message in err
    assert not (tmp_path / "none").exists()
