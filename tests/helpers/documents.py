"""Runs the commands of documents in this process, with small nets."""

import importlib
import re
import shlex

from conftest import TINY

COMMAND = re.compile(r"^ {4,}\.venv/bin/python -m (jaxcifar\.(?:.*\\\n)*.*)$", re.MULTILINE)
SMALL = {  # keys that make the nets of commands small
    "quickstart.py": TINY | {"batch_size": 8},
    "resnet20.py": {"model.depth": 8, "model.width": 4},
    "simple_cnn.py": {"num_epochs": 1, "batch_size": 8},
}


def run_here(run, command, *more):
    """Runs a command of a document in this process and returns what it prints."""
    name, *words = shlex.split(command.replace("\\\n", ""), comments=True)
    status, out, err = run(importlib.import_module(name).main, [*words, *more])
    assert (status, re.sub(r"reading 400 images .*\n|wrote .* pictures? .*\n", "", err)) == (0, "")
    return out
