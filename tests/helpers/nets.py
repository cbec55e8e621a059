"""Nets of each kind with random weights, for tests that move weights in and out."""

import warnings

import jax
import numpy as np
import pytest
from conftest import config_of, random_images, tiny

from jaxcifar.training import experiment, state
from jaxcifar.weights.net import Net

SIMPLE = {"model.widths": (4, 6), "model.hidden": (8,), "batch_size": 50}
RESNET = {"model.depth": 14, "model.width": 4, "batch_size": 50}
MLP = {"name": "mlp", "num_classes": 10, "hidden": (8,), "dropout": 0.0}
CONFIGS = {
    "quickstart": tiny(batch_size=50),
    "simple_cnn": config_of("simple_cnn.py:batchnorm", **SIMPLE),
    "resnet": config_of("resnet20.py", **RESNET),
    "resnet_b": config_of("resnet20.py", **RESNET, **{"model.shortcut": "B"}),
    "resnet18": config_of("resnet18.py", **{"model.width": 4, "batch_size": 50}),
    "wide": config_of(
        "wrn28_10.py", **{"model.depth": 10, "model.width": 4, "model.widen": 1, "batch_size": 50}
    ),
    "prelu": config_of("adaptive_prelu.py", **{"model.widths": (4,) * 4, "model.branches": 2}),
    "mlp": tiny(model=MLP),
    "whitened_mlp": tiny(model={**MLP, "whitening_size": 2, "logit_scale": 0.5}),
    "speedrun": config_of(
        "speedrun.py",
        **{
            "model.widths": (4, 6, 8),
            "batch_size": 50,
            "model.logit_scale": 2.0,
            "evaluation.views": 2,
        },
    ),
}
NAMES = tuple("abcdefghij")
IMAGES = random_images(100, 32, 32, 3)


def random_model(parts):
    """Random {params, batch_stats, ema}; variances are positive because nets divide by them."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        values = rng.uniform(0.1, 0.9, leaf.shape).astype(np.float32)
        if len(leaf.shape) == 1:
            return values
        return values * rng.choice((-2, 2), leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))

    return jax.tree.map(lambda leaf: draw(leaf).astype(np.float32), parts.abstract_model())


def net_of(config):
    parts = experiment.build_experiment(config)
    return Net(parts, 7, state.eval_variables(**random_model(parts)), NAMES)


def torch_or_skip():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch")
