"""A run compiled as one program equals its epochs one after another."""

import chex
import jax
import jax.numpy as jnp
from conftest import config_of

from jaxcifar.system import devices
from jaxcifar.training import experiment

RUN = {
    "data.source": "synthetic",
    "batch_size": 10,
    "num_epochs": 3,
    "augment.curriculum": ((0, 24), (1, 32)),
    "model.widths": (8, 8, 8),
    "evaluation.every_epochs": 3,
    "log_norms": True,
}


def test_a_run_as_one_program_equals_its_epochs(small_data, monkeypatch):
    monkeypatch.setattr(devices, "is_accelerated", lambda mesh: True)
    config = config_of("speedrun.py", **RUN)
    parts, dataset = experiment.build_experiment(config), experiment.load_data(config)
    optimizer, _ = parts.optimizer(len(dataset.train.labels) // config.batch_size)
    loop = parts.train_loop(dataset.train, optimizer)
    start = parts.start(optimizer, dataset.train.images)
    carry = jax.tree.map(jnp.copy, start)
    for _ in range(config.num_epochs):
        carry = loop.run(carry, lambda *_: True)
    whole = loop.compile_run(start, config.num_epochs)(start)
    assert int(whole.state.step) == config.num_epochs * loop.steps_per_epoch > 6
    chex.assert_trees_all_close(whole, carry, rtol=1e-3, atol=1e-4)
