"""The jaxcifar side of the comparison: the training loop, evaluation and saving of `train`."""

import itertools
import pathlib
import time
from collections.abc import Callable
from typing import Any

import counting
import jax
import jax.numpy as jnp
import numpy as np
import workers
from workers import Job, time_call

from jaxcifar.config import schema
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.system import backend, devices
from jaxcifar.training import experiment, losses
from jaxcifar.training.state import Carry


class Machine:
    """The device that jax uses, and its measured peak rates."""

    def __init__(self, job: Job):
        backend.configure()
        self._device = jax.local_devices()[0]
        self._accelerated = self._device.platform != "cpu"

    def describe(self) -> dict[str, Any]:
        """Returns the platform and device kind: "cpu" and "cpu", or "gpu" and "NVIDIA H200"."""
        return {"platform": self._device.platform, "device": self._device.device_kind}

    def peaks(self) -> dict[str, float]:
        """Returns the highest measured operations per second of each type, and bytes per second."""
        n = 16384 if self._accelerated else 2048
        key, rates = jax.random.key(0), {}
        for dtype in ("float32", "bfloat16")[: 1 + self._accelerated]:
            a = jax.random.normal(key, (n, n), dtype)  # a GPU multiplies zeros faster
            seconds = best_seconds(jax.jit(lambda a: a @ a), lambda _, a=a: a)
            rates[dtype] = 2 * n**3 / seconds
        x = jax.random.normal(key, (2**29 if self._accelerated else 2**26,))
        # in place, because fresh memory costs page faults on CPU
        seconds = best_seconds(jax.jit(jnp.negative, donate_argnums=0), lambda last: last, x)
        return rates | {"bytes": 2 * x.nbytes / seconds}


def best_seconds(function: Callable, argument: Callable, last: Any = None, n: int = 10) -> float:
    """Returns the shortest of n timed calls of `function(argument(its previous result))`."""
    times = []
    for _ in range(n + 1):
        began = time.perf_counter()
        last = jax.block_until_ready(function(argument(last)))
        times.append(time.perf_counter() - began)
    return min(times[1:])


class JaxSide:
    """A config's training, driven through the public interface of `TrainLoop`."""

    def __init__(self, job: Job):
        backend.configure()
        config, train, self._test = workers.load_inputs(job)
        self._parts = experiment.build_experiment(config)
        optimizer, _ = self._parts.optimizer(len(train.labels) // config.batch_size)
        self._loop = self._parts.train_loop(train, optimizer)
        self._predict = self._parts.predictor(self._test.images)
        self._carry = self._parts.start(optimizer, train.images)
        self._checkpoints = Checkpoints(pathlib.Path(job.folder), writing=True)
        self._epochs = 0
        self._compile_seconds = time_call(lambda: self._loop.compile(self._carry, num_epochs=1))

    def facts(self) -> dict[str, Any]:
        """Returns the constants: batch size, compile time, operations and bytes of a step."""
        batch_size = self._parts.config.batch_size
        return {
            "batch_size": batch_size,
            "compile_seconds": self._compile_seconds,
            "count": counting.count_gradient(self._parts, batch_size)._asdict(),
        }

    def steps(self, count: int) -> list[float]:
        """Returns the seconds of `count` steps; on an accelerator, only the mean of an epoch."""
        if devices.is_accelerated(self._loop.mesh):
            return [self._train() / self._loop.steps_per_epoch]
        times: list[float] = []
        while len(times) < count:
            # the first step is not timed, because it waits for the epoch's order
            clock: list[float] = []

            def proceed(*_: Any) -> bool:
                clock.append(time.perf_counter())  # noqa: B023
                return len(clock) <= count  # noqa: B023

            self._carry = self._loop.run(self._at_step(0), proceed)
            times += [after - before for before, after in itertools.pairwise(clock)]
        return times[:count]

    def epoch(self) -> dict[str, float]:
        """Returns the seconds of an epoch's training, evaluation and checkpoint.

        The checkpoint's seconds include writing it to disk, so that the end of the write does not
        slow another side.
        """
        return {
            "train": self._train(self._epochs),
            "evaluation": time_call(self._evaluate),
            "checkpoint": time_call(lambda: (self._save(), self._checkpoints.wait())),
        }

    def epochs(self, count: int) -> float:
        """Returns the seconds of `count` epochs, each evaluated and saved as `train` does."""
        began = time.perf_counter()
        for _ in range(count):
            self._train(self._epochs)
            self._evaluate()
            self._save()
        self._checkpoints.wait()
        return time.perf_counter() - began

    def peak_memory_mb(self) -> float:
        """Returns the peak memory so far: of the process on CPU, of the allocations on a GPU."""
        device = self._loop.mesh.devices.flat[0]
        if device.platform == "cpu":
            return workers.peak_resident_mb()
        return device.memory_stats()["peak_bytes_in_use"] / 1e6

    def _train(self, epoch: int = 0) -> float:
        """Trains for an epoch and returns its seconds."""
        carry = self._at_step(epoch * self._loop.steps_per_epoch)
        began = time.perf_counter()
        self._carry = self._loop.run(carry, lambda *_: True)
        return time.perf_counter() - began

    def _evaluate(self) -> None:
        logits, _ = self._predict(self._carry.state.eval_variables())
        losses.evaluate(self._parts.loss, logits, self._test.labels).means()  # waits for the result

    def _save(self) -> None:
        """Starts saving a new step, after waiting for the previous save.

        Counting the epoch makes it a new step: a step that is already saved would be skipped.
        """
        self._epochs += 1
        meta = {"config": schema.to_json(self._parts.config)}
        self._checkpoints.save(self._carry, meta, 0.0)

    def _at_step(self, step: int) -> Carry:
        """Returns the current weights at the given step of the run, with empty sums."""
        mesh = self._loop.mesh
        state = self._carry.state.replace(step=devices.place(np.int32(step), mesh))
        return Carry(state, devices.place(losses.zero_sums(), mesh))
