"""A process for each side of a comparison, so that each has its own threads, flags and memory.

A worker waits on its pipe while another side computes. This module imports neither jax nor
torch: what a worker imports is part of what is measured.
"""

import importlib
import multiprocessing
import os
import pathlib
import resource
import signal
import tempfile
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxcifar import data
from jaxcifar.config import overrides
from jaxcifar.errors import UserError

# Where runs are saved, for what is written there is timed.
CHECKPOINTS = pathlib.Path(__file__).resolve().parent.parent / "checkpoints"
CLASSES = {
    "jaxcifar": ("jax_side", "JaxSide"),
    "torch": ("torch_side", "TorchSide"),
    "torch.compile": ("torch_side", "TorchSide"),
    "machine": ("jax_side", "Machine"),
}


class Job(NamedTuple):
    """What a worker is to prepare."""

    side: str  # one of CLASSES
    page: str = ""  # the config's path
    dtype: str = "float32"
    source: str = "cifar10"
    train_examples: int = 0
    test_examples: int = 0
    compile_mode: str = ""  # torch.compile's
    folder: str = ""  # for its checkpoints

    @property
    def name(self) -> str:
        """The side and its compute type, "torch.compile bfloat16"."""
        return f"{self.side} {self.dtype}"


def inputs(job: Job) -> tuple[ConfigDict, data.Split, data.Split]:
    """Returns the job's config, training and test images."""
    words = [f"--config.compute_dtype={job.dtype}", f"--config.data.source={job.source}"]
    config = overrides.load_config(job.page, words)
    dataset = data.load_dataset(**config.data)
    return config, take(dataset.train, job.train_examples), take(dataset.test, job.test_examples)


def take(split: data.Split, count: int) -> data.Split:
    """Returns the first images; where there are too few (the synthetic ones), they are repeated."""
    if count <= len(split.labels):
        return data.Split(split.images[:count], split.labels[:count])
    return data.Split(*(np.resize(array, (count, *array.shape[1:])) for array in split))


def peak_resident_mb() -> float:
    """Returns the most memory that this process has had, in 10⁶ bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


class Worker:
    """The parent's end of a worker; use with `with`, which ends the process whatever happens."""

    def __init__(self, job: Job):
        context = multiprocessing.get_context("spawn")
        self._name = job.name
        self._folder = tempfile.TemporaryDirectory(prefix="train_speed-", dir=CHECKPOINTS)
        job = job._replace(folder=self._folder.name)
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, job), daemon=True)
        self._process.start()
        theirs.close()  # or the end of the worker would not end what is read here

    def ask(self, method: str, *arguments: Any) -> Any:
        """Returns what the method of the worker's side returns."""
        try:
            self._pipe.send((method, arguments))
            answered, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            code = self._process.exitcode
            raise UserError(f"the process of {self._name} died, exit code {code}") from error
        if not answered:
            raise UserError(f"{self._name} failed:\n{answer}")
        return answer

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, failure: Any, *_: Any) -> None:
        self._pipe.close()  # the worker ends when it next waits
        if failure is None:
            self._process.join(10)
        self._process.kill()
        self._process.join()
        self._folder.cleanup()


def _serve(pipe: Connection, job: Job) -> None:
    """Runs in the worker: makes the job's side and calls its methods as asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is the parent's to handle
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # compile times are those of a first run
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # the twins use one
    threading.Thread(target=_end_with_parent, daemon=True).start()
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
        pass  # the parent is done, or gone


def _end_with_parent() -> None:
    """Ends the worker at once where the parent was killed, also while it computes."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
