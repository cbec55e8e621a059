"""Runs each side of a comparison in its own process, with its own threads, flags and memory.

A worker waits on its pipe while another side computes. This module imports neither jax nor torch,
because the imports of a worker are part of what is measured.
"""

import importlib
import multiprocessing
import os
import resource
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import checkout
import numpy as np
from ml_collections import ConfigDict

from jaxcifar import data
from jaxcifar.config import overrides
from jaxcifar.errors import UserError

# Saving is timed, so the checkpoints go to the disk that runs are saved on.
CHECKPOINTS = checkout.ROOT / "checkpoints"
CLASSES = {
    "jaxcifar": ("jax_side", "JaxSide"),
    "torch": ("torch_side", "TorchSide"),
    "torch.compile": ("torch_side", "TorchSide"),
    "machine": ("jax_side", "Machine"),
}


class Job(NamedTuple):
    """The side that a worker measures, with its config and data."""

    side: str  # a key of CLASSES
    config_file: str = ""
    dtype: str = "float32"
    source: str = "cifar10"
    train_examples: int = 0
    test_examples: int = 0
    compile_mode: str = ""  # of torch.compile
    folder: str = ""  # for checkpoints

    @property
    def name(self) -> str:
        """The side and its compute type, such as "torch.compile bfloat16"."""
        return f"{self.side} {self.dtype}"


def load_inputs(job: Job) -> tuple[ConfigDict, data.Split, data.Split]:
    """Returns the job's config, training split and test split."""
    flags = [f"--config.compute_dtype={job.dtype}", f"--config.data.source={job.source}"]
    config = overrides.load_config(job.config_file, flags)
    dataset = data.load_dataset(job.source, dir="", validation=0, train_examples=0)
    return config, take(dataset.train, job.train_examples), take(dataset.test, job.test_examples)


def take(split: data.Split, count: int) -> data.Split:
    """Returns the first `count` images, repeating the split if it is too small (synthetic data)."""
    if count <= len(split.labels):
        return data.Split(split.images[:count], split.labels[:count])
    return data.Split(*(np.resize(array, (count, *array.shape[1:])) for array in split))


def time_call(function: Callable[[], Any]) -> float:
    """Returns the seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def peak_resident_mb() -> float:
    """Returns the peak resident memory of this process, in 10⁶ bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


class Worker:
    """The parent's handle on a worker; leaving its `with` block always ends the process."""

    def __init__(self, job: Job):
        context = multiprocessing.get_context("spawn")
        self._name = job.name
        self._folder = tempfile.TemporaryDirectory(prefix="train_speed-", dir=CHECKPOINTS)
        job = job._replace(folder=self._folder.name)
        self._pipe, worker_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(worker_end, job), daemon=True)
        self._process.start()
        worker_end.close()  # otherwise recv() would not notice that the worker has died

    def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the worker's side and returns its result.

        Raises:
          UserError: the method failed, or the process died.
        """
        try:
            self._pipe.send((method, arguments))
            succeeded, result = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            code = self._process.exitcode
            raise UserError(f"the process of {self._name} died with exit code {code}") from error
        if not succeeded:
            raise UserError(f"{self._name} failed:\n{result}")
        return result

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, failure: Any, *_: Any) -> None:
        self._pipe.close()  # the worker ends the next time it waits
        if failure is None:
            self._process.join(10)
        self._process.kill()
        self._process.join()
        self._folder.cleanup()


def _serve(pipe: Connection, job: Job) -> None:
    """Runs in the worker: makes the job's side and answers the parent's calls."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles ctrl-C
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # measure the compile time of a first run
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # the twins use one GPU
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    module, name = CLASSES[job.side]
    side = None
    try:
        while True:
            method, arguments = pipe.recv()
            try:
                side = side or getattr(importlib.import_module(module), name)(job)
                answer = True, getattr(side, method)(*arguments)
            except UserError as error:
                answer = False, str(error)
            except Exception:
                answer = False, traceback.format_exc()
            pipe.send(answer)
    except (EOFError, OSError):
        pass  # the parent has finished or died


def _exit_with_parent() -> None:
    """Exits as soon as the parent dies, even in the middle of a computation."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
