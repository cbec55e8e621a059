"""Runs that train longer than planned, or stop early."""

import csv
import json

import jax
import numpy as np
import pytest
from conftest import ROOT, overrides, tiny
from nets import MLP

from jaxcifar import train as train_command
from jaxcifar.errors import UserError
from jaxcifar.run import metrics
from jaxcifar.run.selection import EarlyStopping
from jaxcifar.training import experiment, trainer
from jaxcifar.weights import release

pytestmark = pytest.mark.usefixtures("small_data_for_module")
CONSTANT = {"model": MLP, "schedule": {"name": "constant"}}
NO_PROGRESS = {"model": MLP, "optimizer.learning_rate": 0.0, "num_epochs": 6}
STOPPING = {"data.validation": 8, "early_stopping": {"patience": 2}}


def without_times(lines):
    times = ("seconds", "examples_per_second")
    return [{k: v for k, v in line.items() if k not in times} for line in lines]


def content(folder):
    return {f.name: f.read_bytes() for f in folder.glob("*") if f.is_file() and f.name != ".lock"}


def test_two_epochs_and_two_more_equal_four_in_one_run(tmp_path):
    trainer.train(tiny(**CONSTANT, num_epochs=2), tmp_path / "twice")
    two = trainer.train(tiny(**CONSTANT, num_epochs=4), tmp_path / "twice")
    one = trainer.train(tiny(**CONSTANT, num_epochs=4), tmp_path / "once")
    jax.tree.map(np.testing.assert_array_equal, two.state, one.state)
    assert without_times(two.lines) == without_times(one.lines)
    configs = [(tmp_path / name / "config.json").read_text() for name in ("twice", "once")]
    assert configs[0] == configs[1]
    assert two.finished
    with pytest.raises(UserError, match=r"another config \(num_epochs: 4 -> 2\)"):
        trainer.train(tiny(**CONSTANT, num_epochs=2), tmp_path / "twice")


def test_released_weights_cannot_train_longer_and_stay_as_they_are(tmp_path):
    trainer.train(tiny(**CONSTANT, num_epochs=1), tmp_path / "run")
    release.release_weights(tmp_path / "run", "latest", tmp_path / "released")
    before = content(tmp_path / "released")
    with pytest.raises(UserError, match="was released without its training state"):
        trainer.train(tiny(**CONSTANT, num_epochs=2), tmp_path / "released")
    assert content(tmp_path / "released") == before


@pytest.mark.parametrize(
    ("schedule", "same"),
    [
        ({"name": "constant"}, True),
        ({"name": "step", "every_epochs": 1, "factor": 0.5}, True),
        ({"name": "multistep", "at_epochs": (1, 3), "factor": 0.5}, True),
        ({"name": "cosine", "period_epochs": 4}, True),
        ({"name": "warmup_cosine", "warmup_epochs": 0.5}, False),
        ({"name": "triangle", "start": 0.0, "peak": 0.5, "end": 0.0}, False),
    ],
    ids=lambda value: str(value["name"]) if isinstance(value, dict) else "",
)
def test_a_run_goes_on_if_its_learning_rates_do(schedule, same):
    parts = experiment.build_experiment(tiny(model=MLP, schedule=schedule, num_epochs=4))
    dataset = experiment.load_data(parts.config)
    assert trainer.has_same_rates(parts, dataset, 2) == same


def test_a_longer_run_of_a_cosine_is_refused_and_told_what_to_do(tmp_path):
    trainer.train(tiny(model=MLP, num_epochs=1), tmp_path / "run")
    before = content(tmp_path / "run")
    with pytest.raises(UserError) as error:
        trainer.train(tiny(model=MLP, num_epochs=3), tmp_path / "run")
    folder = tmp_path / "run"
    assert str(error.value) == (
        f"{folder} holds a run with num_epochs=1; with num_epochs=3, schedule.name=warmup_cosine"
        " would have given it other learning rates: to train longer, start a run from its weights,"
        f" --workdir=NEW --init_from={folder}"
    )
    with pytest.raises(UserError, match=r"num_epochs: 1 -> 3; seed: 0 -> 1"):
        trainer.train(tiny(model=MLP, num_epochs=3, seed=1), tmp_path / "run")
    assert content(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("accuracies", "patience", "ends_after"),
    [
        ([0.1, 0.2, 0.2, 0.1, 0.3], 2, 4),  # an equal accuracy is not better
        ([0.1, 0.2, 0.2, 0.1, 0.3], 3, None),
        ([0.5, None, None, 0.6, None], 2, None),  # a run ends only after an epoch with a score
        ([0.5, None, None, 0.4, None], 2, 4),
        ([0.5, 0.4, 0.3], 0, None),
        ([0.5, 0.4, 0.3], 1, 2),
    ],
)
def test_a_run_ends_once_its_patience_is_over(accuracies, patience, ends_after):
    lines = [
        {"epoch": i} | ({} if a is None else {"validation_accuracy": a})
        for i, a in enumerate(accuracies, 1)
    ]
    stopping = EarlyStopping(patience)
    ends = [i for i in range(len(lines) + 1) if stopping.due(lines[:i])]
    assert (ends[0] if ends else None) == ends_after


def test_a_run_that_stops_early_has_finished_and_is_not_resumed(run, tmp_path):
    folder = tmp_path / "run"
    trainer.train(tiny(**NO_PROGRESS | STOPPING), folder)
    before, lines = content(folder), metrics.read(folder)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    again = trainer.train(tiny(**NO_PROGRESS | STOPPING), folder)
    assert (again.finished, again.num_epochs, again.lines) == (True, 3, lines)
    assert content(folder).keys() == before.keys()
    assert content(folder)["metrics.jsonl"] == before["metrics.jsonl"]


def test_the_command_summarises_a_run_that_stops_early(run, tmp_path):
    config = f"--config={ROOT / 'configs' / 'simple_cnn.py:base'}"
    keys = {"num_epochs": 5, "batch_size": 16, "optimizer.learning_rate": 0.0}
    keys |= {"data.source": "synthetic", "data.validation": 8, "early_stopping.patience": 1}
    status, out, err = run(
        train_command.main, [config, f"--workdir={tmp_path / 'run'}", *overrides(**keys)]
    )
    assert (status, err) == (0, "")
    assert "stopped early after epoch 2: no validation accuracy above that of epoch 1, 0." in out
    assert ", for 1 epoch (early_stopping.patience)" in out
    assert "test acc" in out


def test_early_stopping_needs_validation_images():
    with pytest.raises(UserError, match=r"early_stopping.patience is 3, .*data.validation is 0"):
        experiment.build_experiment(tiny(early_stopping={"patience": 3}))


def test_on_epoch_gets_the_metrics_of_each_new_epoch(tmp_path):
    seen = []
    trainer.train(tiny(**CONSTANT, num_epochs=2), tmp_path, seen.append)
    assert seen == metrics.read(tmp_path)
    trainer.train(tiny(**CONSTANT, num_epochs=3), tmp_path, seen.append)
    assert seen == metrics.read(tmp_path)
    trainer.train(tiny(**CONSTANT, num_epochs=3), tmp_path, seen.append)
    assert len(seen) == 3


def test_the_table_of_metrics_has_the_lines_of_the_json(tmp_path):
    evaluation = {"every_epochs": 2, "views": 1}
    trainer.train(tiny(**CONSTANT, num_epochs=1, evaluation=evaluation), tmp_path)
    (tmp_path / metrics.TABLE).write_text("someone's notes")
    trainer.train(tiny(**CONSTANT, num_epochs=3, evaluation=evaluation), tmp_path)
    lines = metrics.read(tmp_path)
    with (tmp_path / metrics.TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for row, line in zip(rows, lines, strict=True):
        assert {k: json.loads(v) for k, v in row.items() if v} == line
    assert list(rows[0]) == list(lines[0])
