"""How commands end, and the commands to paste that they print."""

import errno
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from jaxcifar import errors
from jaxcifar.system import command

ENDS = {
    "within": "print('x' * 10**6, flush=True)",
    "at the end": "print('x')",
    "with a status": "print('x'); sys.exit(1)",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_command_whose_reader_is_gone_exits_silently(end):
    """As with `| head`."""
    ours, theirs = os.pipe()
    os.close(ours)
    code = f"""
import sys
from jaxcifar.system import command
def main():
    {ENDS[end]}
command.run_command(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("end", ["within", "at the end"])
def test_a_command_whose_output_fills_the_disk_says_so_in_one_line(end):
    code = f"""
from jaxcifar.system import command
def main():
    {ENDS[end]}
command.run_command(main)
"""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True
        )
    line = "error: cannot write the output: No space left on device; free some space and try again"
    assert (done.returncode, done.stderr) == (2, f"{line}\n")


BLOCKED = """
import atexit, sys, threading
from concurrent.futures import ThreadPoolExecutor
from jaxcifar import errors
from jaxcifar.system import command
def main():
    print("printed before", end="")
    atexit.register(print, "at the exit", file=sys.stderr)
    ThreadPoolExecutor(1).submit(threading.Event().wait)  # which Python joins at a normal exit
    threading.Thread(target=threading.Event().wait).start()
    raise {error}
command.run_command(main)
"""


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        ("KeyboardInterrupt", 130, "stopped by ctrl-C\n"),
        ("errors.UserError('wrong')", 2, "error: wrong\n"),
        ("ZeroDivisionError('a bug')", 1, "ZeroDivisionError: a bug\n"),
        ("SystemExit", 0, "at the exit\n"),
        ("SystemExit(3)", 3, "at the exit\n"),
        ("SystemExit('why')", 1, "why\nat the exit\n"),
    ],
)
def test_a_command_does_not_wait_for_its_threads(error, status, line):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(error=error)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status
    assert done.stderr.endswith(line)
    assert done.stdout == "printed before"


def test_a_command_to_paste_begins_as_the_user_began(monkeypatch, tmp_path):
    script = tmp_path / "bin" / "jaxcifar"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    python = str(script.with_name("python"))
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setenv("PATH", "/nowhere")
    by_module, by_console = ["/package/train.py", "--x"], ["jaxcifar train", "--x"]
    for argv, path, start in (
        (by_module, "/nowhere", f"{python} -m jaxcifar.evaluate"),
        (by_console, "/nowhere", f"{script} evaluate"),
        (by_console, script.parent, "jaxcifar evaluate"),
    ):
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setenv("PATH", str(path))
        assert command.command_line("evaluate", "--a=b c") == f"{start} '--a=b c'"
    script.unlink()  # as with `python -m jaxcifar` in a checkout that is not installed
    assert command.command_line("evaluate") == f"{python} -m jaxcifar.evaluate"


def test_a_closed_event_loop_of_a_thread_prints_nothing():
    code = """
import gc
from jaxcifar import errors
from jaxcifar.system import command
class Thread:
    def __init__(self, error): self.error = error
    def __del__(self): raise self.error  # an error that nobody can catch
def main():
    for error in (RuntimeError("Event loop is closed"), ValueError("another error")):
        Thread(error)
        gc.collect()
    raise errors.UserError("the step is damaged")
command.run_command(main)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "Event loop" not in done.stderr
    assert "another error" in done.stderr
    assert done.stderr.endswith("error: the step is damaged\n")


@pytest.mark.parametrize("number", errors.PATH, ids=errno.errorcode.get)
def test_a_path_that_the_system_refuses_is_an_error_of_the_user(number):
    text = os.strerror(number)
    known = errors.as_user_error(OSError(number, text, "some/file"))
    assert str(known) == f"cannot use some/file: {text}; check the path and its permissions"
    for name in (None, 3, b"bytes"):  # no path that the user could check
        assert errors.as_user_error(OSError(number, text, name)) is None
