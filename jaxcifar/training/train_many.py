"""Runs of one page that differ in their seed, trained together as one program.

A small net leaves a GPU waiting for launches, which several share. Nothing of a run is saved on
the way: what is stopped begins again. A run's seconds are its share of the time that all took; its
examples per second are its own, which are fewer than it has alone.
"""

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxcifar.run import metrics
from jaxcifar.run.progress import format_epoch
from jaxcifar.run.signals import Interrupt
from jaxcifar.system import devices, output
from jaxcifar.training import experiment
from jaxcifar.training.scoring import held_out, score
from jaxcifar.training.state import Carry
from jaxcifar.training.trainer import Result, describe


def train(configs: Sequence[ConfigDict]) -> list[Result] | None:
    """Trains the configs, equal but for their seeds; None where a signal stopped it.

    Returns what `train.train` does of each alone, to rounding.
    """
    every = [experiment.build(config) for config in configs]
    parts, dataset = every[0], experiment.load_data(configs[0])
    c = parts.config
    steps_per_epoch = len(dataset.train.labels) // c.batch_size
    optimizer, schedule = parts.optimizer(steps_per_epoch)
    loop = parts.train_loop(dataset.train, optimizer)
    splits = held_out(parts, dataset)
    seeds = devices.place(np.array([config.seed for config in configs], np.int32), parts.mesh)
    starts = [each.start(optimizer, dataset.train.images) for each in every]
    carry = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    carry = devices.place(carry, parts.mesh)
    for epoch in range(c.num_epochs):  # before the clock; each once
        count = loop.steps_per_call(steps_per_epoch)
        loop.program(carry, count, parts.augment.size_of(epoch), len(configs))
    apart = jax.jit(lambda carry: [one_of(carry, i) for i in range(len(configs))])
    lines: list[list[metrics.Line]] = [[] for _ in configs]
    ends = [start.state for start in starts]
    with Interrupt("epoch", "without saving") as interrupt:
        for epoch in range(c.num_epochs):
            if interrupt.wanted:
                return None
            going = [i for i, of_run in enumerate(lines) if not metrics.diverged(of_run)]
            if not going:
                break
            began = time.perf_counter()
            carry = jax.block_until_ready(loop.run_together(carry, seeds))
            train_seconds = time.perf_counter() - began
            runs = apart(carry)
            found = {i: score(parts, schedule, runs[i], splits, epoch) for i in going}
            seconds = (time.perf_counter() - began) / len(going)
            for i, line in found.items():
                line["examples_per_second"] = steps_per_epoch * c.batch_size / train_seconds
                lines[i].append(metrics.finite(line | {"seconds": seconds}))
                text = format_epoch(lines[i][-1], c.num_epochs)
                output.say(f"seed {configs[i].seed}: {text}")
                if not metrics.diverged(lines[i]):
                    ends[i] = runs[i].state
    return [
        Result(lines[i], ends[i], True, describe(each.config, dataset, each), each, dataset)
        for i, each in enumerate(every)
    ]


def one_of(carry: Carry, i: int) -> Any:
    """Returns a run of those in a carry."""
    return jax.tree.map(lambda leaf: leaf[i], carry)
