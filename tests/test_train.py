"""Training runs: bit-exact resume, metrics, divergence."""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys

import chex
import pytest
from conftest import ROOT, config_of, tiny

from jaxcifar.run import metrics
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.run.progress import RunLog
from jaxcifar.training import about, experiment, schedules, scoring, trainer
from jaxcifar.training.epoch import TrainLoop

# Everything with state or randomness: momenta, accumulated gradients, averaged weights, running
# statistics, dropout, augmentation. An epoch has 4 steps and 8 examples left over, and updates
# straddle the ends of epochs.
CHANGES = {
    "num_epochs": 3,
    "accumulate_steps": 3,
    "log_norms": True,
    "model.branch_dropout": 0.2,
    "model.head_dropout": 0.2,
    "augment.cutout_size": 8,
    "augment.rotation_degrees": 10.0,
    "augment.erasing_share": 0.5,
    "augment.mixup_alpha": 0.4,
    "augment.cutmix_alpha": 1.0,
    "augment.mixed_share": 0.75,
    "optimizer.ema_decay": 0.9,
    "schedule.warmup_epochs": 0.5,
}


@pytest.fixture
def stop_at(monkeypatch):
    """stop_at(n, …) makes later runs send SIGTERM to this process after these steps."""

    def stop_at(*steps):
        def progress(self, epoch, done, sums, rate):
            if (epoch - 1) * self.steps_per_epoch + done in steps:
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(RunLog, "progress", progress)

    return stop_at


def comparable(lines):
    """Returns the metrics without times."""
    return [
        {k: v for k, v in x.items() if k not in ("seconds", "examples_per_second")} for x in lines
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, small_data_for_module):
    return trainer.train(tiny(**CHANGES), tmp_path_factory.mktemp("runs") / "whole")


@pytest.mark.parametrize("stops", [(2, 7), (4,)], ids=str)
def test_a_stopped_run_resumes_bit_for_bit(stops, uninterrupted, small_data, stop_at, tmp_path):
    folder, config = tmp_path / "run", tiny(**CHANGES)
    for step in stops:
        stop_at(step)
        stopped = trainer.train(config, folder)
        assert not stopped.finished
        assert int(stopped.state.step) == step
        assert len(metrics.read(folder)) == step // 4
    stop_at()
    resumed = trainer.train(config, folder)
    assert resumed.finished
    chex.assert_trees_all_equal(resumed.state, uninterrupted.state)
    assert comparable(metrics.read(folder)) == comparable(uninterrupted.lines)


def test_log_norms_adds_norms_to_the_metrics(uninterrupted, small_data, tmp_path):
    whole = trainer.train(tiny(**CHANGES | {"log_norms": False}), tmp_path / "run")
    chex.assert_trees_all_close(whole.state, uninterrupted.state, rtol=1e-4, atol=1e-6)
    for off, on in zip(whole.lines, uninterrupted.lines, strict=True):
        assert on.keys() - off.keys() == {"gradient_norm", "weight_norm"}
        assert min(on["gradient_norm"], on["weight_norm"]) > 0


def test_a_resume_is_bit_exact_with_all_of_xlas_optimisations(tmp_path):
    """As in a real run; the other tests turn most optimisations off."""
    code = f"""
import pathlib, signal, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import chex
from conftest import config_of
from jaxcifar.run.progress import RunLog
from jaxcifar.training import trainer
stop = 0
def progress(self, epoch, done, sums, rate):
    if (epoch - 1) * self.steps_per_epoch + done == stop:
        signal.raise_signal(signal.SIGTERM)
RunLog.progress = progress
few = {{"data.source": "synthetic", "data.train_examples": 128, "batch_size": 32, "num_epochs": 2}}
config, folder = config_of("simple_cnn.py:batchnorm", **few), pathlib.Path({str(tmp_path)!r})
whole = trainer.train(config, folder / "whole")
for stop in (3, 6, 0):
    result = trainer.train(config, folder / "stopped")
assert result.finished
chex.assert_trees_all_equal(result.state, whole.state)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("resumed at step") == 2


def test_lines_that_a_killed_run_wrote_ahead_of_its_checkpoint_are_written_again(
    uninterrupted, small_data, stop_at, tmp_path
):
    folder, config = tmp_path / "run", tiny(**CHANGES)
    stop_at(6)
    trainer.train(config, folder)
    ahead = uninterrupted.lines[1] | {"test_accuracy": 0.123}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(ahead) + "\n" + '{"epoch": 3, "st')
    stop_at()
    resumed = trainer.train(config, folder)
    chex.assert_trees_all_equal(resumed.state, uninterrupted.state)
    assert comparable(metrics.read(folder)) == comparable(uninterrupted.lines)


def test_a_run_resumes_from_the_step_before_a_damaged_one(
    uninterrupted, small_data, stop_at, tmp_path
):
    folder, config = tmp_path / "run", tiny(**CHANGES)
    stop_at(7)
    trainer.train(config, folder)
    for file in (folder / "steps" / "7").glob("model/**/d/*"):
        file.unlink()
    stop_at()
    with pytest.warns(UserWarning, match="step 7 is damaged"):
        resumed = trainer.train(config, folder)
    chex.assert_trees_all_equal(resumed.state, uninterrupted.state)
    assert comparable(metrics.read(folder)) == comparable(uninterrupted.lines)


def test_an_epoch_is_saved_before_it_is_printed(small_data, monkeypatch, tmp_path):
    calls = []

    def record(owner, name):
        original = getattr(owner, name)

        def call(*arguments):
            calls.append(name)
            return original(*arguments)

        monkeypatch.setattr(owner, name, call)

    record(metrics, "append")
    record(Checkpoints, "save")
    record(RunLog, "print_epoch")
    trainer.train(tiny(num_epochs=1), tmp_path / "run")
    assert calls[:3] == ["append", "save", "print_epoch"]


def test_the_metrics_of_a_run(uninterrupted):
    lines = uninterrupted.lines
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert [line["step"] for line in lines] == [4, 8, 12]
    for line in lines:
        assert line["train_accuracy"] * 64 % 1 == 0  # 4 batches of 16
        assert line["test_accuracy"] * 40 % 1 == pytest.approx(0, abs=1e-9)
        assert 0 < line["test_loss"] < 10
        assert line["examples_per_second"] > 0
    # with three batches an update, the last updates up to steps 4, 8 and 12 are those of the steps
    # from 0, 3 and 9 on
    _, schedule = uninterrupted.parts.optimizer(steps_per_epoch=4)
    assert [line["learning_rate"] for line in lines] == [float(schedule(n)) for n in (0, 3, 9)]


def test_a_finished_run_is_left_unchanged(small_data, tmp_path, capsys):
    config = tiny(num_epochs=1)
    first = trainer.train(config, tmp_path / "run")
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "the run is finished" not in capsys.readouterr().out
    again = trainer.train(config, tmp_path / "run")
    assert again.finished
    assert "the run is finished; to train it longer, raise" in capsys.readouterr().out
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == metrics
    chex.assert_trees_all_equal(again.state, first.state)
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1000


def test_a_seed_determines_the_run(small_data, tmp_path):
    one, again, other = (
        trainer.train(tiny(num_epochs=1, seed=seed), tmp_path / name).state.params
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    chex.assert_trees_all_equal(one, again)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(one, other, atol=1e-3)


def test_the_best_step_is_selected_on_the_validation_split(small_data, tmp_path):
    config = tiny(num_epochs=3, **{"data.validation": 24})
    lines = trainer.train(config, tmp_path / "run").lines
    best = max(lines, key=lambda line: (line["validation_accuracy"], -line["step"]))
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert checkpoints.find_step("best") == best["step"]
        assert checkpoints.steps() == sorted({best["step"], 8, 12})
        meta = checkpoints.meta(12)
    assert meta["mean"] == [0.5, 0.5, 0.5]
    assert meta["data"]["source"] == "synthetic"
    assert json.loads(meta["config"])["data"]["validation"] == 24
    assert len(meta["class_names"]) == 10
    assert "jax" in meta["versions"]


def diverging():
    """Returns the config of a run of four epochs that overflows float32 in the second."""
    config = tiny(num_epochs=4).copy_and_resolve_references()
    with config.unlocked():
        config.schedule = {"name": "step", "every_epochs": 1, "factor": 1e30}
        config.evaluation = {"every_epochs": 4}
    return config.lock()


def test_a_run_that_diverges_ends_and_keeps_the_last_finite_step(
    small_data, tmp_path, capsys, monkeypatch
):
    config = diverging()
    result = trainer.train(config, tmp_path / "run")
    assert result.finished
    assert [line["train_loss"] is None for line in result.lines] == [False, True]
    assert math.isfinite(result.lines[-1]["test_accuracy"])  # the last epoch is always scored
    metrics.check_complete(tmp_path / "run", result.lines, config.num_epochs)
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert checkpoints.steps() == [4]
    chex.assert_tree_all_finite(result.state)
    out = capsys.readouterr().out
    message = "DIVERGED: the training loss is not finite in epoch 2 (steps 5 to 8, rate 3e+27)"
    assert out.count(message) == 1
    assert "optimizer.skip_nonfinite=True" in out
    assert "WARNING" not in out
    written = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "NaN" not in written
    # The run is over: the same command trains nothing and prints the same.
    monkeypatch.delattr(TrainLoop, "run")
    again = trainer.train(config, tmp_path / "run")
    assert again.finished
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == written
    chex.assert_trees_all_equal(again.state, result.state)
    out = capsys.readouterr().out
    assert out.count(message) == 1
    assert "WARNING" not in out
    assert "warning" not in out


def test_a_stop_within_a_diverging_epoch_saves_nothing_of_it(small_data, stop_at, tmp_path):
    stop_at(6)
    stopped = trainer.train(diverging(), tmp_path / "run")
    assert not stopped.finished
    assert int(stopped.state.step) == 4
    chex.assert_tree_all_finite(stopped.state)
    stop_at()
    assert metrics.diverged(trainer.train(diverging(), tmp_path / "run").lines)


def test_skipped_updates_are_counted_and_an_epoch_of_them_diverges(small_data, tmp_path):
    """At a learning rate beyond float32, no update after the first is finite."""
    off = {"optimizer.learning_rate": 1e30, "optimizer.skip_nonfinite": True}
    result = trainer.train(tiny(**off), tmp_path / "run")
    assert [line["skipped_updates"] for line in result.lines] == [3, 7]
    assert [line["train_loss"] is None for line in result.lines] == [False, True]


def test_a_resume_holds_one_copy_of_the_state(small_data, stop_at, monkeypatch, tmp_path):
    """What is restored is not created first, above all the initial state."""
    config = tiny(num_epochs=1)
    stop_at(2)
    trainer.train(config, tmp_path / "run")
    stop_at()
    monkeypatch.delattr(experiment.Experiment, "start")
    assert trainer.train(config, tmp_path / "run").finished


def test_metrics_of_missing_steps_are_set_aside(small_data, tmp_path, capsys):
    folder = tmp_path / "run"
    first = trainer.train(tiny(), folder)
    written = (folder / "metrics.jsonl").read_text()
    shutil.rmtree(folder / "steps")
    capsys.readouterr()
    again = trainer.train(tiny(), folder)
    assert "from the start (no saved step was found); 2 later lines" in capsys.readouterr().out
    assert (folder / "metrics_aside.jsonl").read_text() == written
    assert comparable(metrics.read(folder)) == comparable(first.lines)
    chex.assert_trees_all_equal(again.state, first.state)


def test_real_images_are_learned(real_data, tmp_path, capsys):
    """A hundred steps of simple_cnn reach far more than chance."""
    config = config_of(
        "simple_cnn.py:base",
        **{"data.train_examples": 6400, "batch_size": 64, "num_epochs": 1},
        **{"optimizer.learning_rate": 0.03},
    )
    lines = trainer.train(config, tmp_path / "run").lines
    assert "data: cifar10, 6,400 training and 10,000 test images" in capsys.readouterr().out
    assert lines[0]["test_accuracy"] > 0.2


def test_a_rate_beyond_float32_is_reported_as_divergence_every_time(small_data, tmp_path, capsys):
    config = tiny(**{"optimizer.learning_rate": 1.2, "num_epochs": 2})
    with config.unlocked():
        config.schedule = {"name": "step", "every_epochs": 1, "factor": 3e38}
    for _ in range(2):
        assert metrics.diverged(trainer.train(config, tmp_path / "run").lines)
        out = capsys.readouterr().out
        assert "DIVERGED: " in out
        assert "in epoch 2 (steps 5 to 8, rate 3.6e+38)" in out


def test_the_logged_rate_of_a_growing_schedule_may_be_infinite():
    keys = {"name": "step", "every_epochs": 1, "factor": 1e300}
    schedule = schedules.build_schedule(keys, 0.1, 1, 10)
    assert scoring.rate_of_last_update(schedule, 5, 1) == math.inf


def test_the_momentum_of_the_config_tells_which_averages_are_young():
    parts = experiment.build_experiment(config_of("speedrun.py:94"))  # its BatchNorm keeps 0.6
    start = parts.abstract_start(parts.optimizer(1)[0]).state
    for steps, warned in ((5, True), (6, False)):  # 7.8 % and 4.7 %
        end = dataclasses.replace(start, step=steps)
        assert bool(list(about.young_averages(parts.config, end))) == warned


@pytest.mark.parametrize(
    ("decay", "steps", "warnings"),
    [(0.0, 28, ["BatchNorm"]), (0.0, 29, []), (0.9, 57, ["averaged weights"]), (0.9, 60, [])],
)
def test_averages_that_hold_much_of_their_initial_value_are_reported(decay, steps, warnings):
    """0.9 to the power of 28 is 5.2 %, of 29 it is 4.7 %; the weights have half as many updates."""
    config = tiny(**{"optimizer.ema_decay": decay, "accumulate_steps": 2})
    parts = experiment.build_experiment(config)
    start = parts.abstract_start(parts.optimizer(1)[0]).state
    found = list(about.young_averages(parts.config, dataclasses.replace(start, step=steps)))
    assert len(found) == len(warnings)
    for note, words in zip(found, warnings, strict=True):
        assert words in note
        assert f"after {steps} steps" in note
    with parts.config.unlocked():
        parts.config.init_from = "checkpoints/other"  # whose averages are good from the start
    assert not list(about.young_averages(parts.config, dataclasses.replace(start, step=steps)))


def test_a_short_run_ends_with_a_warning_about_its_averages(small_data, tmp_path, capsys):
    trainer.train(tiny(), tmp_path / "run")
    assert "WARNING: after 8 steps, BatchNorm's running averages still hold 43%" in (
        capsys.readouterr().out
    )
