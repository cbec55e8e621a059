"""Trains several runs of one config, which differ only in their seed, as one program.

A small net leaves a GPU waiting for launches; several runs share them. Nothing is saved on the way,
so a run that is stopped starts again. The seconds of a run are its share of the total time; its
examples per second are its own and lower than if it ran alone.
"""

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxcifar.run import metrics, selection
from jaxcifar.run.progress import format_epoch
from jaxcifar.run.signals import Interrupt
from jaxcifar.system import devices, output
from jaxcifar.training import experiment
from jaxcifar.training.about import make_metadata
from jaxcifar.training.scoring import held_out_splits, score
from jaxcifar.training.state import Carry
from jaxcifar.training.trainer import Result


def train(configs: Sequence[ConfigDict]) -> list[Result] | None:
    """Trains configs that differ only in their seed; returns None if a signal stopped it.

    Each result equals that of `trainer.train`, up to rounding.
    """
    every = [experiment.build_experiment(config) for config in configs]
    parts = every[0]
    c = parts.config
    dataset = experiment.load_data(c)
    steps_per_epoch = len(dataset.train.labels) // c.batch_size
    optimizer, schedule = parts.optimizer(steps_per_epoch)
    loop = parts.train_loop(dataset.train, optimizer)
    splits = held_out_splits(parts, dataset)
    stopping = selection.EarlyStopping(**c.early_stopping)
    seeds = devices.place(np.array([config.seed for config in configs], np.int32), parts.mesh)
    starts = [each.start(optimizer, dataset.train.images) for each in every]
    carry = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    carry = devices.place(carry, parts.mesh)
    for epoch in range(c.num_epochs):  # compiles every program before the clock starts
        count = loop.steps_per_call(steps_per_epoch)
        loop.program(carry, count, parts.augment.size_of(epoch), len(configs))
    split_runs = jax.jit(lambda carry: [select_run(carry, i) for i in range(len(configs))])
    lines: list[list[metrics.Line]] = [[] for _ in configs]
    ends = [start.state for start in starts]
    with Interrupt("epoch", "without saving") as interrupt:
        for epoch in range(c.num_epochs):
            if interrupt.wanted:
                return None
            active = [
                i for i, so_far in enumerate(lines) if not selection.has_ended(so_far, stopping)
            ]
            if not active:
                break
            began = time.perf_counter()
            carry = jax.block_until_ready(loop.run_together(carry, seeds))
            train_seconds = time.perf_counter() - began
            runs = split_runs(carry)
            found = {i: score(parts, schedule, runs[i], splits, epoch) for i in active}
            seconds = (time.perf_counter() - began) / len(active)
            for i, line in found.items():
                line["examples_per_second"] = steps_per_epoch * c.batch_size / train_seconds
                lines[i].append(metrics.without_nonfinite(line | {"seconds": seconds}))
                text = format_epoch(lines[i][-1], c.num_epochs)
                output.say(f"seed {configs[i].seed}: {text}")
                if not metrics.diverged(lines[i]):
                    ends[i] = runs[i].state
    return [
        Result(lines[i], ends[i], True, make_metadata(each.config, dataset, each), each, dataset)
        for i, each in enumerate(every)
    ]


def select_run(carry: Carry, i: int) -> Any:
    """Returns the carry of one run from that of several."""
    return jax.tree.map(lambda leaf: leaf[i], carry)
