"""The compiled epoch: a scan over its steps on accelerators, a loop of compiled steps on CPU.

XLA's CPU backend runs convolutions inside `scan` by a naive loop, ten times slower
(jax-ml/jax#12868), so there a Python loop calls the same step. Data are resident on the device.
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
ORDER_STREAM = 0x0E70C4  # keeps the order's random numbers apart from other uses of the seed
Prepare = Callable[[Batch, Array, int], Any]  # (batch, step, size) -> shown
Update = Callable[..., tuple[State, Sums]]  # (state, shown)


def epoch_order(seed: Array | int, epoch: Array | int, num_examples: int) -> Array:
    """Returns the order of an epoch: a permutation, int32 [num_examples], of (seed, epoch)."""
    stream = jax.random.fold_in(jax.random.key(seed), ORDER_STREAM)
    return jax.random.permutation(jax.random.fold_in(stream, epoch), num_examples)


class TrainLoop:
    """Runs the steps of an epoch on resident data; compiled for each number of steps and size.

    Which examples a step takes is a function of (seed, state.step): the loop can be entered at
    any step. Examples that do not fill the last batch of an epoch are left out of that epoch.
    `update` is given what `prepare` makes of a batch, which a scan has for all its steps ahead: so
    random numbers and augmentation are kernels of an epoch and not of each step.
    `size_of(epoch)` is the number of pixels a side that the step resizes its images to. Of a split
    of shapes the loop can be compiled, for devices that need not be there, and not run. With
    `packed`, which needs an elementwise optimizer, a scan carries a packed state.
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
        """How many of the epoch's remaining steps go into one program."""
        return remaining if devices.is_accelerated(self.mesh) else 1

    def compile(self, carry: Carry, num_epochs: int) -> None:
        """Compiles what `run` needs from `carry` to the last epoch, before the clock is started."""
        epoch, done = divmod(int(carry.state.step), self.steps_per_epoch)
        for each in range(epoch, num_epochs):
            remaining = self.steps_per_epoch - (done if each == epoch else 0)
            self.program(carry, self.steps_per_call(remaining), self._size_of(each))

    def run(
        self, carry: Carry, proceed: Callable[[Sums, int, float], bool], at_once: int | None = None
    ) -> Carry:
        """Runs to the end of the epoch that `carry` is in; the carry given is consumed.

        The sums are those of the epoch: at its first step they start from zero.
        After each program call asks `proceed(sums, steps done in this epoch, seconds)` and stops
        where it says no. A call runs up to `at_once` steps, or as many as suit the devices.
        """
        epoch, done = divmod(int(carry.state.step), self.steps_per_epoch)
        began = time.perf_counter()
        if not done:
            carry = self._emptied(carry)
        seed = devices.place(np.int32(self._seed), self.mesh)
        order = self._order(seed, np.int32(epoch))
        while done < self.steps_per_epoch:
            remaining = self.steps_per_epoch - done
            count = min(at_once, remaining) if at_once else self.steps_per_call(remaining)
            program = self.program(carry, count, self._size_of(epoch))
            carry = program(carry, self._data, order, seed)
            done += count
            jax.block_until_ready(carry.sums)  # or a signal would wait for a long queue
            if not proceed(carry.sums, done, time.perf_counter() - began):
                break
        return carry

    def program(self, carry: Carry, count: int, size: int, together: int = 0) -> Compiled:
        """Returns `count` steps at a size, of one run or of several, compiled once."""
        key = count, size, together
        if key not in self._programs:
            runs = (together,) if together else ()
            shapes = [
                jax.ShapeDtypeStruct((*runs, *n), jnp.int32) for n in ((self.num_examples,), ())
            ]
            order, seed = devices.place(shapes, self.mesh)
            steps: Callable[..., Carry] = functools.partial(self._steps, count=count, size=size)
            if together:
                steps = jax.vmap(steps, in_axes=(0, None, 0, 0))
            jitted = jax.jit(steps, donate_argnums=0, out_shardings=devices.replicated(self.mesh))
            self._programs[key] = jitted.lower(carry, self._data, order, seed).compile()
        return self._programs[key]

    def whole(self, carry: Carry, num_epochs: int) -> Callable[[Carry], Carry]:
        """Returns what runs all epochs from a start, compiled: one program on an accelerator.

        It consumes the start that it is given; its sums are the last epoch's.
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
        """Runs an epoch of several runs as one; the carry given is consumed.

        Each leaf of the carry, and `seeds`, have a first axis of the runs, all at the same step.
        """
        together, step = len(seeds), int(carry.state.step[0])
        epoch = step // self.steps_per_epoch
        carry = self._emptied(carry)
        orders = jax.vmap(self._order, (0, None))(seeds, np.int32(epoch))
        count = self.steps_per_call(self.steps_per_epoch)
        for _ in range(0, self.steps_per_epoch, count):
            program = self.program(carry, count, self._size_of(epoch), together)
            carry = jax.block_until_ready(program(carry, self._data, orders, seeds))
        return carry

    def _emptied(self, carry: Carry) -> Carry:
        """Returns the carry with sums over no examples."""
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
            sharding = devices.split_batch(self.mesh)
            images, labels = (lax.with_sharding_constraint(a[index], sharding) for a in split)
            batch = Batch(images, labels, index, step // self.steps_per_epoch, seed)
            return self._prepare(batch, step, size)

        def body(carry: Carry, shown: Any, update: Update) -> Carry:
            state, sums = update(carry.state, shown)
            return Carry(state, jax.tree.map(jnp.add, carry.sums, sums))

        first = carry.state.step
        start = first % self.steps_per_epoch * self.batch_size
        index = lax.dynamic_slice(order, (start,), (count * self.batch_size,))
        if count == 1:
            return body(carry, prepare(first, index), self._update)
        ahead = jax.vmap(prepare)(first + jnp.arange(count), index.reshape(count, -1))
        if not self._packed:
            carry, _ = lax.scan(
                lambda c, inputs: (body(c, inputs, self._update), None), carry, ahead
            )
            return carry
        packing = Packing(carry.state.params)
        update = functools.partial(self._update, unpack=packing.unpack)
        carry = carry._replace(state=packing.pack_state(carry.state))
        carry, _ = lax.scan(lambda c, inputs: (body(c, inputs, update), None), carry, ahead)
        return carry._replace(state=packing.unpack_state(carry.state))
