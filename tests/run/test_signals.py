"""Signals that ask a run to stop, and terminals that hang up."""

import os
import pty
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from jaxcifar.run.signals import Interrupt

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]


@pytest.fixture(autouse=True)
def heed_hangups():
    """Under nohup, tests inherit an ignored SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def quiet(monkeypatch):
    """Prevents redirecting pytest's own stdout."""
    monkeypatch.setattr("jaxcifar.run.signals._discard_terminal_output", lambda: None)


@pytest.fixture
def no_duplicates(monkeypatch):
    """Makes every repeated signal a second one, however soon it comes."""
    monkeypatch.setattr("jaxcifar.system.second_signal.DUPLICATE_SECONDS", 0.0)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_the_second_stops(number, quiet, no_duplicates, capsys):
    before = signal.getsignal(number)
    with Interrupt("epoch") as interrupt:
        assert not interrupt.wanted
        signal.raise_signal(number)
        assert interrupt.wanted
        assert "stopping after this epoch" in capsys.readouterr().out
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS[1:])
def test_a_duplicate_of_a_signal_does_not_interrupt_the_saving(number, quiet):
    """A shell whose terminal is closed passes SIGHUP on, and the kernel sends it too."""
    with Interrupt("epoch") as interrupt:
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert interrupt.wanted


def test_a_limit_of_cpu_time_lets_a_run_save(no_duplicates):
    """The kernel sends SIGXCPU every second above the soft limit, as of `ulimit -S -t`."""
    with Interrupt("epoch") as interrupt:
        for _ in range(3):
            signal.raise_signal(signal.SIGXCPU)
            assert interrupt.wanted


def test_another_signal_does_not_interrupt_the_saving(quiet):
    """SLURM sends SIGUSR1 a minute before the limit and SIGTERM at the limit."""
    with Interrupt("epoch") as interrupt:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.wanted


def test_a_signal_asks_to_stop_even_if_its_message_cannot_be_printed(monkeypatch):
    """ctrl-C in `train | tee log` ends tee too, so the handler prints to a broken pipe."""
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with Interrupt("step") as interrupt:
            signal.raise_signal(signal.SIGINT)
            assert interrupt.wanted


def test_an_ignored_signal_stays_ignored():
    """As SIGHUP is under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt("step") as interrupt:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupt.wanted
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_saves_when_its_terminal_hangs_up(tmp_path):
    code = """
import pathlib, time
from jaxcifar.run.signals import Interrupt
with Interrupt("step") as interrupt:
    print("ready", flush=True)
    while not interrupt.wanted:
        time.sleep(0.01)
    print("saving", flush=True)  # to nowhere
    pathlib.Path("saved").touch()
"""
    ours, theirs = pty.openpty()
    path = {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    assert b"ready" in os.read(ours, 100)
    os.close(ours)
    assert process.wait(20) == 0
    assert (tmp_path / "saved").exists()
