"""Fixtures: a net and data small enough for seconds, commands run in this process."""

import functools
import os
import pathlib
import signal
import socket
import sys
import tempfile

import numpy as np
import pytest

# Programs that several tests compile are compiled once, and nothing goes to the user's own cache.
_cache = tempfile.TemporaryDirectory(prefix="jaxcifar-tests-", ignore_cleanup_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
# The suite's time is XLA's: a net of 852 parameters takes 15 s to optimise and 2 s without. To
# test what a run compiles, set the variable to 0: that takes three times as long.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Keeping memory (backend.py) is for computing; compiling is a tenth slower with it.
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
LOAD_DATASET = data.load_dataset  # before any fixture puts a smaller one in its place
TRAIN, TEST = 72, 40  # images of `small_data`

# A gated net of every kind of part: K branches, dropout, pools, BatchNorm, an MLP.
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
    """Lets pass what Orbax leaves of a damaged checkpoint: coroutines, of which we have none."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell's background jobs have it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for warning in (
        "Exception ignored in. <coroutine object:pytest.PytestUnraisableExceptionWarning",
        "(?s).*Event loop is closed:pytest.PytestUnraisableExceptionWarning",
        "coroutine .* was never awaited:RuntimeWarning",
    ):
        config.addinivalue_line("filterwarnings", f"ignore:{warning}")


def config_of(name, **changes):
    """Returns the config of configs/NAME with all defaults and `changes`, {"model.depth": 8}."""
    config = files.run_config_file(str(ROOT / "configs" / name))
    config = schema.complete_config(config).copy_and_resolve_references()
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return schema.check_top_level(config)


def tiny(**changes):
    """The quickstart's config, made tiny."""
    return config_of("quickstart.py", **TINY | changes)


def overrides(**changes):
    """The command-line words that make the changes."""
    return [f"--config.{key}={value}" for key, value in changes.items()]


@pytest.fixture(scope="session")
def synthetic():
    """The synthetic data set, drawn once."""
    return data.load_dataset("synthetic", "", 0, 0)


def use_few_images(synthetic, monkeypatch):
    """Makes each source give the first few synthetic images."""
    whole = data.load_dataset

    @functools.wraps(whole)  # its signature is the schema of config.data
    def load(source, dir, validation, train_examples):
        if source not in ("cifar10", "synthetic"):
            return whole(source, dir, validation, train_examples)

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
    """Makes each source give the first few synthetic images, for one test."""
    use_few_images(synthetic, monkeypatch)


@pytest.fixture(scope="module")
def small_data_for_module(synthetic):
    """The same, for the runs that a module's tests share."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_few_images(synthetic, monkeypatch)
        yield


@pytest.fixture
def real_data(monkeypatch):
    """The folder of the real CIFAR-10, read as a run reads it, whatever its module's tests use."""
    folder = os.environ.get("JAXCIFAR_DATA")
    if not folder:
        pytest.skip("needs the real CIFAR-10: set JAXCIFAR_DATA to its folder")
    monkeypatch.setattr(data, "load_dataset", LOAD_DATASET)
    return folder


@pytest.fixture
def run(monkeypatch, capfd):
    """run(main, words) -> (exit status, stdout, stderr) of a command, in this process."""

    def run(main, words):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        capfd.readouterr()
        try:
            status = command.run_command(main) or 0
        except SystemExit as end:
            status = end.code or 0
        return status, *capfd.readouterr()

    return run


def random_images(*shape, seed=0):
    """Images whose every pixel is random, uint8."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def nothing_outside(tmp_path, monkeypatch):
    """No data of the user's, an empty cache, and a server that refuses."""
    monkeypatch.delenv("JAXCIFAR_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setattr(tfds, "URL", f"http://127.0.0.1:{port}/cifar-10-binary.tar.gz")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
