"""What a run prints."""

import io
import os
import pty
import sys

import pytest

from jaxcifar.run.progress import RunLog, format_epoch
from jaxcifar.system import output

LINE = {
    "epoch": 41,
    "step": 15990,
    "train_loss": 0.28021,
    "train_accuracy": 0.90241,
    "test_loss": 0.58401,
    "test_accuracy": 0.82431,
    "learning_rate": 0.1,
    "examples_per_second": 364.2,
    "seconds": 25.44,
}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "epoch  41/200  train loss 0.2802 acc 0.9024  test loss 0.5840 acc 0.8243  25.4 s"),
        (
            {"validation_loss": 0.5, "validation_accuracy": 0.8, "seconds": 1625.2},
            "epoch  41/200  train loss 0.2802 acc 0.9024  val loss 0.5000 acc 0.8000  1625 s",
        ),
    ],
)
def test_an_epoch_is_one_line_of_80_columns(changes, text):
    assert format_epoch(LINE | changes, 200) == text
    assert len(text) <= 80


def test_an_epoch_that_was_not_scored_has_the_training_metrics_alone():
    line = {key: value for key, value in LINE.items() if not key.startswith("test_")}
    assert format_epoch(line, 200) == "epoch  41/200  train loss 0.2802 acc 0.9024  25.4 s"


class Means:
    def means(self):
        return {"loss": 0.5, "accuracy": 0.75}


def test_a_terminal_shows_the_epoch_and_the_run_on_lines_of_their_own(tmp_path, monkeypatch):
    leader, follower = pty.openpty()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with open(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        with RunLog(tmp_path, 4, 10, last_step=10) as log:
            log.show_phase("compiling")
            log._bar.refresh()
            log.progress(2, 5, Means(), 1234.0)
            log._bar.refresh()
    text = os.read(leader, 2**16).decode()
    os.close(leader)
    assert "compiling" in text
    shown = text.rpartition("epoch 2/4")[2]
    epoch, run = shown.splitlines()[:2]
    assert "loss 0.500 acc 0.750" in epoch
    assert "the run" in run
    assert "1,234 images/s" in run


def test_a_phase_is_shown_on_a_terminal_only(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with output.busy("loading"):
        pass
    assert stream.getvalue() == ""
    stream.isatty = lambda: True
    with output.busy("loading"):
        pass
    assert "loading" in stream.getvalue()
