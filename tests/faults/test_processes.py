"""Several processes train as one; where one of them is killed the others end, and all go on."""

import os
import signal
import socket
import subprocess
import sys

import chex
import pytest
from conftest import ROOT, config_of, overrides

from jaxcifar import train
from jaxcifar.run import metrics
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.training import experiment, trainer

PAGE = "simple_cnn.py:batchnorm"
CHANGES = {
    "data.source": "synthetic",
    "data.train_examples": 64,
    "batch_size": 16,
    "num_epochs": 8,
    "optimizer.learning_rate": 0.02,
}


def start(folder):
    """Starts two processes of a run on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    words = [sys.executable, "-m", "jaxcifar.train", f"--config={ROOT / 'configs' / PAGE}"]
    words += [f"--workdir={folder}", *overrides(**CHANGES), "--distributed"]
    words += [f"--coordinator=127.0.0.1:{port}", "--processes=2"]
    return [
        subprocess.Popen(
            [*words, f"--process={i}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        for i in range(2)
    ]


def finish(processes):
    """Their exit statuses, and what they said, once they have ended."""
    said = [process.communicate(timeout=60) for process in processes]
    return [process.returncode for process in processes], said


def until(process, text):
    """Reads what a process says up to a line with the text."""
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(process.stderr.read())


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The result of one process."""
    return trainer.train(config_of(PAGE, **CHANGES), tmp_path_factory.mktemp("one") / "run")


def assert_ended_as(one, folder):
    """A checkpoint of two processes is restored on one."""
    parts = experiment.build_experiment(config_of(PAGE, **CHANGES))
    optimizer, _ = parts.optimizer(CHANGES["data.train_examples"] // CHANGES["batch_size"])
    like = parts.abstract_start(optimizer)
    with Checkpoints(folder) as checkpoints:
        two = checkpoints.restore_latest(like=like)
    chex.assert_trees_all_close(two.state, one.state, rtol=1e-3, atol=1e-4)
    epochs = [line["epoch"] for line in metrics.read(folder)]
    assert epochs == list(range(1, CHANGES["num_epochs"] + 1))


def test_two_processes_train_as_one_and_only_the_first_tells(one, tmp_path):
    statuses, said = finish(start(tmp_path / "run"))
    assert statuses == [0, 0], said
    assert "device: 2 × cpu, 2 processes" in said[0][0]
    assert "epoch" not in said[1][0]
    assert_ended_as(one, tmp_path / "run")


def test_where_one_ends_both_do_and_both_go_on(one, tmp_path):
    """One is killed, then the other, then one is asked to stop; it ends as if nothing had been."""
    for killed, epoch in ((0, 2), (1, 4)):
        processes = start(tmp_path / "run")
        until(processes[0], f"epoch {epoch}/")
        processes[killed].kill()
        statuses, said = finish(processes)
        assert statuses[killed] == -signal.SIGKILL
        assert statuses[1 - killed] == 2
        assert "start all processes again" in said[1 - killed][1]
    processes = start(tmp_path / "run")
    until(processes[0], "epoch 6/")
    processes[1].terminate()
    statuses, said = finish(processes)
    assert statuses == [130, 130], said
    statuses, said = finish(start(tmp_path / "run"))
    assert statuses == [0, 0], said
    assert "resumed at step" in said[0][0]
    assert_ended_as(one, tmp_path / "run")


def test_an_error_of_one_ends_both(tmp_path):
    """The folder is another run's, which process 0 alone looks at. The other waits for it to begin:
    either it says so itself, or JAX's own watch ends it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("")
    statuses, said = finish(start(tmp_path / "run"))
    assert statuses[0] == 2
    assert "is not empty and does not hold a run" in said[0][1]
    itself = {2: "start all processes again", -signal.SIGABRT: "another task died"}
    assert itself[statuses[1]] in said[1][1]


def test_without_a_cluster_the_flags_are_named(run, tmp_path):
    status, _, err = run(train.main, [f"--config={ROOT / 'configs' / PAGE}", "--distributed"])
    assert status == 2
    assert "--coordinator=HOST:PORT --processes=N --process=I" in err
