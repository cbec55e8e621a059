"""`python -m jaxcifar.train`: its output, and stopping it by a signal."""

import shlex
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, TINY, overrides

from jaxcifar import evaluate, train
from jaxcifar.run import metrics
from jaxcifar.run.checkpoint import Checkpoints


def test_a_run_that_diverges_in_its_first_epoch_keeps_its_initial_state(small_data, run, tmp_path):
    folder = tmp_path / "run"
    for _ in range(2):
        status, out, err = run(train.main, words(folder, **{"optimizer.learning_rate": 1e30}))
        assert (status, err) == (1, "")
        assert "DIVERGED: the training loss is not finite in epoch 1 (steps 1 to 4" in out
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.steps() == [0]


def test_a_finished_run_without_metrics_gets_no_summary(small_data, run, tmp_path):
    folder = tmp_path / "run"
    run(train.main, words(folder))
    (folder / "metrics.jsonl").unlink()
    status, out, err = run(train.main, words(folder))
    assert (status, err) == (0, "")
    missing = "metrics.jsonl has no line for 2 of 2 epochs (1, 2)"
    assert f"warning: {missing}" in out
    assert f"finished, without a summary: {missing}" in out


def words(folder, **changes):
    config = f"--config={ROOT / 'configs' / 'quickstart.py'}"
    return [config, f"--workdir={folder}", *overrides(**TINY | changes)]


def test_the_command_trains_and_prints_the_next_command(small_data, run, tmp_path):
    folder = tmp_path / "run"
    status, out, err = run(train.main, words(folder))
    assert (status, err) == (0, "")
    lines = metrics.read(folder)
    assert len(lines) == 2
    for line in lines:
        assert f"epoch {line['epoch']}/2" in out
    assert "72 training and 40 test images" in out
    assert f"test acc {lines[-1]['test_accuracy']:.4f} last" in out
    best = max(line["test_accuracy"] for line in lines)
    assert f"{best:.4f} best" in out
    assert "synthetic data: loss" in out
    then = [sys.executable, "-m", "jaxcifar.evaluate", f"--checkpoint={folder}"]
    assert out.endswith(f"next: {shlex.join(then)}\n")


OUTPUTS = {
    "closed": "exec >&-",
    "closed with stderr": "exec >&- 2>&-",
    "ASCII": "export PYTHONIOENCODING=ascii",
    "without a reader": "exec > >(exit)",
    "a full disk": "exec >/dev/full",
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_run_needs_no_output(output, tmp_path):
    folder = tmp_path / "run"
    small = words(folder, **{"data.train_examples": 32, "num_epochs": 2})
    command = shlex.join([sys.executable, "-m", "jaxcifar.train", *small])
    script = f"{OUTPUTS[output]}; {command}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(metrics.read(folder)) == 2
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.steps()[-1] == 4


def test_sigterm_saves_and_the_same_command_finishes(tmp_path):
    folder = tmp_path / "run"
    small = {"data.train_examples": 64, "num_epochs": 20}
    command = [sys.executable, "-m", "jaxcifar.train", *words(folder, **small)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("epoch "):
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "saved at step" in rest
    assert f"to resume: {shlex.join(command)}" in rest
    stopped_after = len(metrics.read(folder))
    assert 1 <= stopped_after < 20
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stdout
    assert [line["epoch"] for line in metrics.read(folder)] == list(range(1, 21))


def test_home_is_expanded_in_every_path(monkeypatch, tmp_path):
    """Bash expands ~ only at the start of a word, not after --workdir=."""
    monkeypatch.setenv("HOME", str(tmp_path))
    known, _ = train.parse(["--config=quickstart", "--workdir=~/runs/a"])
    assert known.workdir == tmp_path / "runs" / "a"
    given = evaluate.make_parser().parse_args(["--checkpoint=~/a", "--against=~/b"])
    assert (given.checkpoint, given.against) == (tmp_path / "a", tmp_path / "b")
