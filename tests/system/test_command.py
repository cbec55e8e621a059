"""How commands end."""

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
