"""How a command ends."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

ENDS = {
    "within": "print('x' * 10**6, flush=True)",
    "at the end": "print('x')",
    "with a status": "print('x'); sys.exit(1)",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_reader_that_left_gets_no_traceback(end):
    """As `head` does after its lines."""
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
