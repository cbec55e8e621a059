"""Multi-process training: if a process is killed, the others end, and the run resumes."""

import os
import signal
import socket
import subprocess
import sys

import chex
import numpy as np
import pytest
from conftest import ROOT, config_of, overrides, random_images

from jaxcifar import train
from jaxcifar.run import metrics
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.training import experiment, trainer

CONFIG = "simple_cnn.py:batchnorm"
CHANGES = {
    "data.source": "synthetic",
    "data.train_examples": 64,
    "batch_size": 16,
    "num_epochs": 8,
    "optimizer.learning_rate": 0.02,
}


def start(folder, *words_of_second, words=()):
    """Starts two processes on this machine; `words` go to both."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "jaxcifar.train", f"--config={ROOT / 'configs' / CONFIG}"]
    command += [f"--workdir={folder}", *overrides(**CHANGES), "--distributed", *words]
    command += [f"--coordinator=127.0.0.1:{port}", "--processes=2"]
    return [
        subprocess.Popen(
            [*command, f"--process={i}", *(words_of_second if i else ())],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        for i in range(2)
    ]


def finish(processes):
    """Waits for the processes; returns their exit statuses and outputs."""
    outputs = [process.communicate(timeout=60) for process in processes]
    return [process.returncode for process in processes], outputs


def until(process, text):
    """Reads the output of a process up to a line that contains the text."""
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(process.stderr.read())


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The result of the same run in one process."""
    return trainer.train(config_of(CONFIG, **CHANGES), tmp_path_factory.mktemp("one") / "run")


def assert_ended_as(one, folder):
    """Restores the checkpoint of two processes in one and compares it."""
    parts = experiment.build_experiment(config_of(CONFIG, **CHANGES))
    optimizer, _ = parts.optimizer(CHANGES["data.train_examples"] // CHANGES["batch_size"])
    like = parts.abstract_start(optimizer)
    with Checkpoints(folder) as checkpoints:
        two = checkpoints.restore_latest(like=like)
    chex.assert_trees_all_close(two.state, one.state, rtol=1e-3, atol=1e-4)
    epochs = [line["epoch"] for line in metrics.read(folder)]
    assert epochs == list(range(1, CHANGES["num_epochs"] + 1))


def test_two_processes_give_the_run_of_one_and_only_the_first_prints(one, tmp_path):
    statuses, outputs = finish(start(tmp_path / "run"))
    assert statuses == [0, 0], outputs
    assert "device: 2 × cpu, 2 processes" in outputs[0][0]
    assert "epoch" not in outputs[1][0]
    assert_ended_as(one, tmp_path / "run")


def test_when_one_process_dies_both_end_and_both_resume(one, tmp_path):
    """Kills one, then the other, then asks one to stop; the run must end as if uninterrupted."""
    for killed, epoch in ((0, 2), (1, 4)):
        processes = start(tmp_path / "run")
        until(processes[0], f"epoch {epoch}/")
        processes[killed].kill()
        statuses, outputs = finish(processes)
        assert statuses[killed] == -signal.SIGKILL
        assert statuses[1 - killed] == 2
        assert "start all processes again" in outputs[1 - killed][1]
    processes = start(tmp_path / "run")
    until(processes[0], "epoch 6/")
    processes[1].terminate()
    statuses, outputs = finish(processes)
    assert statuses == [130, 130], outputs
    statuses, outputs = finish(start(tmp_path / "run"))
    assert statuses == [0, 0], outputs
    assert "resumed at step" in outputs[0][0]
    assert_ended_as(one, tmp_path / "run")


def test_an_error_in_one_process_ends_both(tmp_path):
    """Only process 0 sees that the folder belongs to another run. The other waits for it, until it
    reports the error itself or JAX's heartbeat ends it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("")
    statuses, outputs = finish(start(tmp_path / "run"))
    assert statuses[0] == 2
    assert "is not empty and does not hold a run" in outputs[0][1]
    itself = {2: "start all processes again", -signal.SIGABRT: "another task died"}
    assert itself[statuses[1]] in outputs[1][1]


def save_images(file, seed):
    images, labels = random_images(64, 32, 32, 3, seed=seed), np.arange(64) % 10
    arrays = {"train_images": images, "train_labels": labels}
    np.savez(file, **arrays, test_images=images, test_labels=labels)
    return [f"--config.data.dir={file}", "--config.data.source=npz"]


def test_processes_that_differ_refuse_to_train(tmp_path):
    """Otherwise they would train, and the checkpoint would have the config of process 0."""
    statuses, outputs = finish(start(tmp_path / "run", "--config.optimizer.learning_rate=0.03"))
    assert statuses == [2, 2], outputs
    for process, (_, error) in enumerate(outputs):
        assert error.startswith(f"error: process {process}: processes 0 and 1 differ: ")
        assert "optimizer.learning_rate 0.02 and 0.03" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_processes_with_other_data_refuse_to_train(tmp_path):
    first = save_images(tmp_path / "first.npz", 0)
    second = save_images(tmp_path / "second.npz", 1)
    statuses, outputs = finish(start(tmp_path / "run", *second, words=first))
    assert statuses == [2, 2], outputs
    for _, error in outputs:
        assert "processes 0 and 1 differ: data checksum" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--coordinator=localhost:1234"],
        ["--processes=2"],
        ["--process=0"],
        ["--distributed", "--coordinator=localhost:99999", "--processes=2", "--process=0"],
        ["--distributed", "--coordinator=localhost", "--processes=2", "--process=0"],
    ],
)
def test_options_that_cannot_work_are_refused(words, run):
    status, _, err = run(train.main, [f"--config={ROOT / 'configs' / CONFIG}", *words])
    assert status == 2
    assert err.count("\n") == 1
    assert "need --distributed" in err or "expected HOST:PORT" in err


def test_without_a_cluster_the_error_names_the_options(run, tmp_path):
    status, _, err = run(train.main, [f"--config={ROOT / 'configs' / CONFIG}", "--distributed"])
    assert status == 2
    assert "--coordinator=HOST:PORT --processes=N --process=I" in err
