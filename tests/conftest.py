"""Fixtures: a tiny net, small data, and commands that run in this process."""

import functools
import os
import pathlib
import signal
import socket
import sys
import tempfile

import numpy as np
import pytest

# Compile each program once for all tests and all their processes, and leave the user's own cache
# alone. The workers of pytest-xdist inherit the folder.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="jaxcifar-tests-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
# Most of the suite's time is XLA's: a net of 852 parameters takes 15 s to compile with all
# optimisations and 2 s without. Set the variable to 0 to test with them, which takes three times
# as long.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Keeping memory (backend.py) speeds up computing but slows down compiling by a tenth.
os.environ.setdefault("MALLOC_ARENA_MAX", "8")

from jaxcifar.system import backend

backend.configure()  # before the first computation of the session

from jaxcifar import data
from jaxcifar.config import (
    files,
    schema,
)
from jaxcifar.data import tfds
from jaxcifar.system import command

ROOT = pathlib.Path(__file__).parent.parent
LOAD_DATASET = data.load_dataset  # the original, which fixtures replace
TRAIN, TEST = 72, 40  # numbers of images in `small_data`

# A gated net with every kind of part: branches, dropout, pooling, BatchNorm, an MLP.
TINY = {
    "num_epochs": 2,
    "batch_size": 16,
    "model.widths": (4, 6),
    "model.num_blocks": (1, 1),
    "model.branches": 2,
    "model.head_hidden": (8,),
    "schedule.warmup_epochs": 0.0,
}


def pytest_configure(config):
    """Ignores warnings about coroutines, which Orbax leaves behind after a damaged checkpoint.

    Also ignores those about a compiled program that another process is still writing.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in background jobs of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for warning in (
        "Exception ignored in. <coroutine object:pytest.PytestUnraisableExceptionWarning",
        "(?s).*Event loop is closed:pytest.PytestUnraisableExceptionWarning",
        "coroutine .* was never awaited:RuntimeWarning",
        "Error reading persistent compilation cache entry:UserWarning",
    ):
        config.addinivalue_line("filterwarnings", f"ignore:{warning}")


def config_of(name, **changes):
    """Returns the config of configs/NAME with all defaults and `changes`, {"model.depth": 8}."""
    config = files.load_config_file(str(ROOT / "configs" / name))
    config = schema.complete_config(config).copy_and_resolve_references()
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return schema.check_top_level(config)


def tiny(**changes):
    """Returns the quickstart's config, made tiny."""
    return config_of("quickstart.py", **TINY | changes)


def overrides(**changes):
    """Returns the command-line words for changes of a config."""
    return [f"--config.{key}={value}" for key, value in changes.items()]


@pytest.fixture(scope="session")
def synthetic():
    """The synthetic data set, drawn once."""
    return data.load_dataset("synthetic", "", 0, 0)


def use_few_images(synthetic, monkeypatch):
    """Makes every data source return the first few synthetic images."""
    whole = data.load_dataset

    @functools.wraps(whole)  # its signature is the schema of config.data
    def load(source, dir="", validation=0, train_examples=0, **more):
        if source not in ("cifar10", "synthetic"):
            return whole(source, dir, validation, train_examples, **more)

        def cut(split, start, stop):
            return data.Split(*(a[start:stop] for a in split))

        return data.Dataset(
            source=source,
            origin="a test",
            class_names=synthetic.class_names,
            train=cut(synthetic.train, 0, train_examples or TRAIN),
            validation=cut(synthetic.train, TRAIN, TRAIN + validation),
            test=cut(synthetic.test, 0, TEST),
            checksum=synthetic.checksum,
        )

    monkeypatch.setattr(data, "load_dataset", load)


@pytest.fixture
def small_data(synthetic, monkeypatch):
    """Makes every data source return the first few synthetic images, for one test."""
    use_few_images(synthetic, monkeypatch)


@pytest.fixture(scope="module")
def small_data_for_module(synthetic):
    """The same, for runs that the tests of a module share."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_few_images(synthetic, monkeypatch)
        yield


@pytest.fixture
def real_data(monkeypatch):
    """The folder of the real CIFAR-10, even in a module that uses small data."""
    folder = os.environ.get("JAXCIFAR_DATA")
    if not folder:
        pytest.skip("needs the real CIFAR-10: set JAXCIFAR_DATA to its folder")
    monkeypatch.setattr(data, "load_dataset", LOAD_DATASET)
    return folder


@pytest.fixture
def run(monkeypatch, capfd):
    """Runs a command in this process: run(main, words) -> (exit status, stdout, stderr)."""

    def run(main, words):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        monkeypatch.setattr(
            sys, "unraisablehook", sys.unraisablehook
        )  # which `run_command` replaces
        monkeypatch.setattr(command, "leave", lambda status, in_order=False: sys.exit(status))
        capfd.readouterr()
        try:
            status = command.run_command(main) or 0
        except SystemExit as end:
            status = end.code or 0
        return status, *capfd.readouterr()

    return run


def random_images(*shape, seed=0):
    """Returns uint8 images of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def nothing_outside(tmp_path, monkeypatch):
    """Hides the user's data, empties the cache, and replaces the server by one that refuses."""
    monkeypatch.delenv("JAXCIFAR_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setattr(tfds, "URL", f"http://127.0.0.1:{port}/cifar-10-binary.tar.gz")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
