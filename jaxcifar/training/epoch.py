"""The compiled epoch: a scan over steps on accelerators, a Python loop of steps on CPU.

XLA's CPU backend runs convolutions inside `scan` as a naive loop, ten times slower
(jax-ml/jax#12868), so a Python loop calls the same step on CPU. The data stay on the device.
"""

import functools
import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.stages import Compiled

from jaxcifar.data import Split
from jaxcifar.data.split import SIZE
from jaxcifar.system import devices
from jaxcifar.training.augment import Batch
from jaxcifar.training.losses import Sums
from jaxcifar.training.state import Carry, Packing, State

Array = jax.Array
ORDER_STREAM = 0x0E70C4  # separates these random numbers from those of all steps but 946,372
Prepare = Callable[[Batch, Array, int], Any]  # (batch, step, size) -> inputs
Update = Callable[..., tuple[State, Sums]]  # (state, inputs)


def epoch_order(seed: Array | int, epoch: Array | int, num_examples: int) -> Array:
    """Returns the order of the examples in an epoch, a permutation, int32 [num_examples]."""
    stream = jax.random.fold_in(jax.random.key(seed), ORDER_STREAM)
    return jax.random.permutation(jax.random.fold_in(stream, epoch), num_examples)


class TrainLoop:
    """Runs the steps of an epoch on data that stay on the device.

    The examples of a step are a function of (seed, state.step), so the loop can start at any step.
    An epoch skips the examples that do not fill its last batch.

    `prepare` augments a batch and `update` trains on the result. A scan prepares the batches of all
    its steps first, so that random numbers and augmentation take one kernel per epoch, not per
    step. `size_of(epoch)` is the side length of the images. With `packed`, which needs an
    elementwise optimizer, a scan packs the small leaves of the state into one vector (`Packing`).

    Pass a split of ShapeDtypeStructs to compile for devices that are not attached.
    """

    def __init__(
        self,
        prepare: Prepare,
        update: Update,
        split: Split,
        batch_size: int,
        seed: int,
        mesh: Mesh,
        size_of: Callable[[int], int] = lambda epoch: SIZE,
        packed: bool = False,
    ):
        self.num_examples, self.batch_size, self.mesh = len(split.labels), batch_size, mesh
        self.steps_per_epoch = self.num_examples // batch_size
        self._prepare, self._update, self._packed = prepare, update, packed
        self._size_of, self._seed = size_of, seed
        self._data = devices.place(tuple(split), mesh)
        order = functools.partial(epoch_order, num_examples=self.num_examples)
        self._order = jax.jit(order, out_shardings=devices.replicated(mesh))
        self._programs: dict[tuple[int, int, int], Compiled] = {}

    def steps_per_call(self, remaining: int) -> int:
        """Returns how many of the epoch's remaining steps one program runs."""
        return remaining if devices.is_accelerated(self.mesh) else 1

    def compile(self, carry: Carry, num_epochs: int) -> None:
        """Compiles all programs that `run` needs from `carry` to the last epoch."""
        epoch, done = divmod(int(carry.state.step), self.steps_per_epoch)
        for each in range(epoch, num_epochs):
            remaining = self.steps_per_epoch - (done if each == epoch else 0)
            self.program(carry, self.steps_per_call(remaining), self._size_of(each))

    def run(
        self, carry: Carry, proceed: Callable[[Sums, int, float], bool], at_once: int | None = None
    ) -> Carry:
        """Runs to the end of the current epoch and returns the new carry; donates the old one.

        The sums start from zero at the first step of the epoch. After each program call, the loop
        stops if `proceed(sums, steps done in this epoch, seconds)` returns False. A call runs up to
        `at_once` steps; the default depends on the devices (`steps_per_call`).
        """
        epoch, done = divmod(int(carry.state.step), self.steps_per_epoch)
        began = time.perf_counter()
        if not done:
            carry = self._with_zero_sums(carry)
        seed = devices.place(np.int32(self._seed), self.mesh)
        order = self._order(seed, np.int32(epoch))
        while done < self.steps_per_epoch:
            remaining = self.steps_per_epoch - done
            count = min(at_once, remaining) if at_once else self.steps_per_call(remaining)
            program = self.program(carry, count, self._size_of(epoch))
            carry = program(carry, self._data, order, seed)
            done += count
            jax.block_until_ready(carry.sums)  # a long queue would delay signals
            if not proceed(carry.sums, done, time.perf_counter() - began):
                break
        return carry

    def program(self, carry: Carry, count: int, size: int, runs: int = 0) -> Compiled:
        """Returns the compiled program of `count` steps at an image size; compiles it once.

        With `runs`, the program trains that many runs at once; the first axis of every leaf is the
        run.
        """
        key = count, size, runs
        if key not in self._programs:
            axis = (runs,) if runs else ()
            shapes = [
                jax.ShapeDtypeStruct((*axis, *n), jnp.int32) for n in ((self.num_examples,), ())
            ]
            order, seed = devices.place(shapes, self.mesh)
            steps: Callable[..., Carry] = functools.partial(self._steps, count=count, size=size)
            if runs:
                steps = jax.vmap(steps, in_axes=(0, None, 0, 0))
            jitted = jax.jit(steps, donate_argnums=0, out_shardings=devices.replicated(self.mesh))
            self._programs[key] = jitted.lower(carry, self._data, order, seed).compile()
        return self._programs[key]

    def compile_run(self, carry: Carry, num_epochs: int) -> Callable[[Carry], Carry]:
        """Compiles all epochs and returns a function from the first carry to the last.

        On an accelerator the function is a single program. It donates its argument, and the sums in
        its result are those of the last epoch.
        """
        if not devices.is_accelerated(self.mesh):
            self.compile(carry, num_epochs)

            def run(carry: Carry) -> Carry:
                for _ in range(num_epochs):
                    carry = self.run(carry, lambda *_: True)
                return carry

            return run
        jitted = jax.jit(
            functools.partial(self._epochs, num_epochs=num_epochs),
            donate_argnums=0,
            out_shardings=devices.replicated(self.mesh),
        )
        shape = devices.place(jax.ShapeDtypeStruct((), jnp.int32), self.mesh)
        compiled = jitted.lower(carry, self._data, shape).compile()
        seed = np.int32(self._seed)
        return lambda carry: compiled(carry, self._data, devices.place(seed, self.mesh))

    def run_together(self, carry: Carry, seeds: Array) -> Carry:
        """Trains an epoch of several runs as one program; donates the carry.

        The first axis of `seeds` and of every leaf of the carry is the run. All runs are at the
        same step.
        """
        epoch = int(carry.state.step[0]) // self.steps_per_epoch
        carry = self._with_zero_sums(carry)
        orders = jax.vmap(self._order, (0, None))(seeds, np.int32(epoch))
        count = self.steps_per_call(self.steps_per_epoch)
        for _ in range(0, self.steps_per_epoch, count):
            program = self.program(carry, count, self._size_of(epoch), len(seeds))
            carry = jax.block_until_ready(program(carry, self._data, orders, seeds))
        return carry

    def _with_zero_sums(self, carry: Carry) -> Carry:
        """Returns the carry with its sums set to zero."""
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), carry.sums)
        return carry._replace(sums=devices.place(zeros, self.mesh))

    def _epochs(self, carry: Carry, split: Any, seed: Array, *, num_epochs: int) -> Carry:
        def body(carry: Carry, epoch: Array, size: int) -> tuple[Carry, None]:
            order = epoch_order(seed, epoch, self.num_examples)
            carry = carry._replace(sums=jax.tree.map(jnp.zeros_like, carry.sums))
            steps = self.steps_per_epoch
            return self._steps(carry, split, order, seed, count=steps, size=size), None

        for size, epochs in itertools.groupby(range(num_epochs), self._size_of):
            carry, _ = lax.scan(functools.partial(body, size=size), carry, jnp.array(list(epochs)))
        return carry

    def _steps(
        self, carry: Carry, split: Any, order: Array, seed: Array, *, count: int, size: int
    ) -> Carry:
        def prepare(step: Array, index: Array) -> Any:
            sharding = devices.batch_sharding(self.mesh)
            images, labels = (lax.with_sharding_constraint(a[index], sharding) for a in split)
            batch = Batch(images, labels, index, step // self.steps_per_epoch, seed)
            return self._prepare(batch, step, size)

        def body(carry: Carry, inputs: Any, update: Update) -> Carry:
            state, sums = update(carry.state, inputs)
            return Carry(state, jax.tree.map(jnp.add, carry.sums, sums))

        first = carry.state.step
        start = first % self.steps_per_epoch * self.batch_size
        index = lax.dynamic_slice(order, (start,), (count * self.batch_size,))
        if count == 1:
            return body(carry, prepare(first, index), self._update)
        ahead = jax.vmap(prepare)(first + jnp.arange(count), index.reshape(count, -1))
        update, packing = self._update, Packing(carry.state.params) if self._packed else None
        if packing:
            update = functools.partial(update, unpack=packing.unpack)
            carry = carry._replace(state=packing.pack_state(carry.state))
        carry, _ = lax.scan(lambda c, inputs: (body(c, inputs, update), None), carry, ahead)
        return carry._replace(state=packing.unpack_state(carry.state)) if packing else carry
