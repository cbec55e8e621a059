"""A second signal ends the process, whatever the process is doing."""

import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

COMMAND = """
import contextlib, ctypes, threading
from jaxcifar.run.signals import Interrupt
from jaxcifar.system import command, second_signal
second_signal.DUPLICATE_SECONDS = second_signal.GRACE_SECONDS = 0.3
def wait_in_c():
    "Never returns to Python, like a collective whose other processes are stuck."
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)
def wait_in_python():
    threading.Event().wait()
def main():
    threading.Thread(target=wait_in_python).start()
    print("ready", flush=True)
    {main}
command.run_command(main)
"""
RUN = "with Interrupt('step'): wait_in_c()"
CLEANUP = """
    try: wait_in_python()
    finally: wait_in_python()"""
END = """
    import atexit
    atexit.register(wait_in_python)"""


def send(main, *numbers):
    """Runs a command, sends it the signals half a second apart; returns its status and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(main=main)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        for number in numbers:
            time.sleep(0.5)
            process.send_signal(number)
        _, error = process.communicate(timeout=20)
    finally:
        process.kill()
    return process.returncode, error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_it_ends_a_run_that_is_stuck_outside_python(number):
    message = "stopped by the second signal; what was not saved is lost\n"
    assert send(RUN, number, number) == (130, message)


@pytest.mark.parametrize("main", ["wait_in_c()", CLEANUP])
def test_it_ends_a_command_wherever_the_command_hangs(main):
    status, error = send(main, signal.SIGINT, signal.SIGINT)
    assert status == 130
    assert error.startswith("stopped by ")
    assert error.count("\n") == 1


def test_one_ctrl_c_ends_a_command_whose_end_hangs():
    assert send(END, signal.SIGINT) == (130, "stopped by ctrl-C\n")
