"""Every config builds, trains two steps, and is evaluated; every key of it is used."""

import ast
import inspect
import json
import textwrap

import jax
import numpy as np
import pytest
from conftest import ROOT, TEST, config_of
from ml_collections import ConfigDict

from jaxcifar import data, models
from jaxcifar.config import fields, schema
from jaxcifar.errors import UserError
from jaxcifar.models.adaptive import AdaptiveBlock
from jaxcifar.training import augment, experiment, losses, optim, schedules, trainer
from jaxcifar.training.views import Evaluation
from jaxcifar.weights import evaluation

CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.py"))
VARIANTS = {
    "simple_cnn.py": "base decay augment batchnorm bn_lr0.1 nobn_lr0.1 swish l1 lr1 lr0.1 lr0.05"
    " lr0.01 lr0.005 lr0.001 l2_1e-2 l2_1e-3 l2_1e-4 l2_1e-5 l2_0",
    "pooled_cnn.py": "lr0.005 lr0.01 lr0.001 lr0.0001",
    "speedrun.py": "90 93 94 96",
}
SMALLER = {  # of the large nets
    "adaptive.py": {"model.widths": (4, 8, 8, 8)},
    "adaptive_softmax.py": {"model.widths": (4, 8, 8)},
    "adaptive_prelu.py": {"model.widths": (4, 8, 8, 8)},
    "speedrun.py": {"model.widths": (8, 8, 8)},
    "resnet18.py": {"model.width": 8, "model.depth": 8, "model.blocks": (1, 1, 1)},
    "wrn28_10.py": {"model.widen": 1, "model.depth": 10},
}
NAMES = [f"{name}:{v}" for name, variants in VARIANTS.items() for v in variants.split()]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_trains_two_steps_and_is_evaluated(name, small_data, tmp_path):
    config = config_of(
        name,
        **{"data.source": "synthetic", "data.train_examples": 16, "batch_size": 8, "num_epochs": 1},
        **SMALLER.get(name, {}),
    )
    if config.schedule.name == "warmup_cosine":
        with config.unlocked():
            config.schedule.warmup_epochs = 0.5
    result = trainer.train(config, tmp_path / "run")
    assert result.finished
    assert int(result.state.step) == 2
    assert np.isfinite(result.lines[0]["train_loss"])
    scores = evaluation.evaluate_run(tmp_path / "run", "latest", "test")
    assert scores["examples"] == TEST
    assert scores["accuracy"] == result.lines[0]["test_accuracy"]
    assert scores["loss"] == pytest.approx(result.lines[0]["test_loss"], rel=1e-6)


@pytest.mark.parametrize("name", sorted({*CONFIGS, *NAMES}))
def test_a_config_trains_two_steps_in_bfloat16(name, small_data):
    config = config_of(
        name,
        **{
            "compute_dtype": "bfloat16",
            "data.source": "synthetic",
            "data.train_examples": 8,
            "batch_size": 4,
            "num_epochs": 1,
            **SMALLER.get(name.partition(":")[0], {}),
        },
    )
    if config.schedule.get("warmup_epochs"):
        with config.unlocked():
            config.schedule.warmup_epochs = 0.5
    parts, dataset = experiment.build_experiment(config), experiment.load_data(config)
    optimizer, _ = parts.optimizer(steps_per_epoch=2)
    start = parts.start(optimizer, dataset.train.images)
    end = parts.train_loop(dataset.train, optimizer).run(start, lambda *_: True)
    assert int(end.state.step) == 2
    assert np.isfinite(end.sums.means()["loss"])
    assert {leaf.dtype.name for leaf in jax.tree.leaves(end.state.params)} == {"float32"}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_can_be_shortened_to_one_epoch(name):
    """A warm-up may be as long as the run; the error for a longer one names both keys."""
    config = config_of(name, num_epochs=1)
    if config.schedule.get("warmup_epochs", 0) > 1:
        with pytest.raises(
            UserError, match=r"schedule\.warmup_epochs is 5, but config\.num_epochs"
        ):
            experiment.build_experiment(config)
        config = config_of(name, num_epochs=1, **{"schedule.warmup_epochs": 1.0})
    experiment.build_experiment(config)


FLAT = {"name": "mlp", "num_classes": 10, "hidden": (8,), "dropout": 0.0}


@pytest.mark.parametrize(
    ("name", "changes", "keys"),
    [
        ("adaptive_prelu.py", {"schedule.floor": 0.1}, ["schedule.floor", "learning_rate"]),
        ("simple_cnn.py:base", {"augment.curriculum": ((0, 24), (2, 32))}, ["24×24", "simple_cnn"]),
        ("quickstart.py", {"augment.curriculum": ((0, 16),), "model": FLAT}, ["16×16", "mlp"]),
        ("resnet20.py", {"augment.curriculum": ((0, 10**9),)}, ["curriculum[0]", "1 to 256"]),
        ("quickstart.py", {"data.validation": 10_000}, ["data.validation", "train_examples"]),
        ("quickstart.py", {"data.train_examples": 9}, ["batch_size is 128", "train_examples=9"]),
        ("quickstart.py", {"data.validation": 9_990}, ["batch_size is 128", "validation=9990"]),
    ],
)
def test_values_that_are_meaningless_together_are_refused_with_both_keys(name, changes, keys):
    with pytest.raises(UserError) as error:
        experiment.load_data(experiment.build_experiment(config_of(name, **changes)).config)
    message = str(error.value)
    assert "\n" not in message
    for key in keys:
        assert key in message
    experiment.build_experiment(config_of("speedrun.py:94"))  # a curriculum that fits


@pytest.mark.parametrize("name", NAMES)
def test_a_variant_builds(name):
    experiment.build_experiment(config_of(name)).abstract_model()


@pytest.mark.parametrize("name", VARIANTS)
def test_an_unknown_variant_lists_those_that_exist(name):
    with pytest.raises(UserError) as error:
        config_of(f"{name}:nonsense")
    for variant in VARIANTS[name].split():
        assert variant in str(error.value)


HALF = (0.5, 0.5, 0.5)
# Values of the reports (systems.md) that no other test checks
EXPECTED = {
    "simple_cnn.py:base": {"augment.flip": False, "augment.crop_pad": 0, "model.norm": False},
    "simple_cnn.py:decay": {"schedule.name": "step", "schedule.factor": 0.9, "augment.flip": False},
    "simple_cnn.py:augment": {"augment.crop_pad": 4, "augment.crop_fill": "mean"},
    "simple_cnn.py:batchnorm": {"model.norm": True, "optimizer.learning_rate": 0.01},
    "simple_cnn.py:nobn_lr0.1": {"model.norm": False, "optimizer.learning_rate": 0.1},
    "simple_cnn.py:swish": {"model.activation": "swish", "optimizer.learning_rate": 0.1},
    "simple_cnn.py:lr1": {"optimizer.learning_rate": 1.0, "model.norm": True},
    "simple_cnn.py:l2_1e-5": {"optimizer.weight_decay": 1e-5, "optimizer.learning_rate": 0.01},
    "simple_cnn.py:l2_0": {"optimizer.weight_decay": 0.0},
    "simple_cnn.py:l1": {"loss.l1": 1e-4, "optimizer.weight_decay": 0.0},
    "pooled_cnn.py": {"optimizer.learning_rate": 0.005, "augment.std": (1.0, 1.0, 1.0)},
    "pooled_cnn.py:lr0.0001": {"optimizer.learning_rate": 1e-4, "optimizer.weight_decay": 5e-4},
    "adaptive.py": {
        "num_epochs": 50,
        "batch_size": 128,
        "augment.flip": True,
        "augment.crop_pad": 4,
        "augment.mean": HALF,
        "augment.std": HALF,
        "model.gate": "linear",
        "model.branch_activation": "relu",
        "model.branch_dropout": 0.1,
        "optimizer.name": "adam",
        "optimizer.learning_rate": 1e-3,
        "optimizer.weight_decay": 1e-4,
        "optimizer.b1": 0.9,
        "optimizer.b2": 0.999,
        "schedule.name": "warmup_cosine",
        "schedule.warmup_epochs": 5.0,
    },
    "adaptive_softmax.py": {
        "num_epochs": 50,
        "batch_size": 64,
        "augment.flip": True,
        "augment.crop_pad": 4,
        "augment.cutout_size": 16,
        "augment.mean": HALF,
        "augment.std": HALF,
        "model.gate": "softmax",
        "model.branch_activation": "relu",
        "model.head_dropout": 0.5,
        "optimizer.name": "adam",
        "optimizer.learning_rate": 1e-3,
        "optimizer.weight_decay": 1e-4,
        "schedule.every_epochs": 30,
        "schedule.factor": 0.1,
    },
    "adaptive_prelu.py": {
        "num_epochs": 40,
        "batch_size": 64,
        "accumulate_steps": 2,
        "augment.flip": True,
        "augment.resized_crop_scale": (0.8, 1.0),
        "augment.rotation_degrees": 15.0,
        "augment.mean": HALF,
        "augment.std": HALF,
        "model.gate": "softmax",
        "model.residual": True,
        "optimizer.name": "rmsprop",
        "optimizer.learning_rate": 1e-3,
        "optimizer.decay": 0.99,
        "optimizer.eps": 1e-8,
        "optimizer.momentum": 0.9,
        "schedule.floor": 1e-6,
        "schedule.period_epochs": 100,
    },
    "resnet20.py": {
        "num_epochs": 200,
        "batch_size": 128,
        "augment.flip": True,
        "augment.crop_pad": 4,
        "augment.crop_fill": "mean",
        "augment.mean": (0.4914, 0.4822, 0.4465),
        "augment.std": (0.2023, 0.1994, 0.2010),
        "model.shortcut": "A",
        "optimizer.learning_rate": 0.1,
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 1e-4,
        "schedule.every_epochs": 50,
        "schedule.factor": 0.1,
    },
    "resnet18.py": {"optimizer.weight_decay": 5e-4, "schedule.period_epochs": 200},
    "wrn28_10.py": {"schedule.at_epochs": (60, 120, 160), "schedule.factor": 0.2},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_config_has_the_values_of_its_report(name):
    flat = dict(flatten(config_of(name).to_dict()))
    for key, value in EXPECTED[name].items():
        assert flat[key] == value, key


def flatten(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def start(config):
    """Runs everything that reads a config before training."""
    experiment.build_experiment(schema.check_top_level(config))


@pytest.fixture
def fast_build(monkeypatch):
    """Skips computing the shapes of the parameters, which is slow and reads no key."""
    monkeypatch.setattr(experiment.Experiment, "abstract_model", lambda self: {})
    monkeypatch.setattr(experiment, "check_curriculum", lambda parts: None)


# Keys whose default contradicts another key of the config.
INCONSISTENT = {
    ("speedrun.py", "augment.flip"): "alternating_flip is True, but flip is False",
    ("resnet18.py", "model.blocks"): r"depth is 18; expected 6n\+2",
    ("wrn28_10.py", "model.preactivation"): r"depth is 28; expected 6n\+2",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_without_a_default_is_required(name, fast_build):
    whole = config_of(name).to_dict()
    start(ConfigDict(whole))
    for key, _ in flatten(whole):
        config = json.loads(json.dumps(whole))
        *section, leaf = key.split(".")
        del (config[section[0]] if section else config)[leaf]
        if (name, key) in INCONSISTENT:
            with pytest.raises(UserError, match=INCONSISTENT[name, key]):
                start(ConfigDict(config))
            continue
        if has_default(whole, section, leaf):
            start(ConfigDict(config))
            continue
        with pytest.raises(UserError, match=f"lacks the key {leaf}"):
            start(ConfigDict(config))


def has_default(config, section, leaf):
    """Returns whether a key has a default and may be left out."""
    keys = schema.section_parameters(section[0], config[section[0]]) if section else None
    keys = keys or fields.parameters(schema.Config)
    return keys[leaf].default is not inspect.Parameter.empty


@pytest.mark.parametrize("name", CONFIGS)
def test_an_extra_key_is_refused(name, fast_build):
    whole = config_of(name).to_dict()
    for section in [None, *(k for k, v in whole.items() if isinstance(v, dict))]:
        config = json.loads(json.dumps(whole))
        (config[section] if section else config)["surplus"] = 1
        with pytest.raises(UserError, match="surplus"):
            start(ConfigDict(config))


def names_read(function):
    """Returns the names that a function or class reads in its body, including attributes."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    loads = (n for n in ast.walk(tree) if isinstance(getattr(n, "ctx", None), ast.Load))
    return {n.id if isinstance(n, ast.Name) else getattr(n, "attr", "") for n in loads}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_is_used_by_the_function_that_takes_it(name):
    """Finds keys that a signature accepts and the body ignores."""
    config = config_of(name)
    takers = {
        "augment": [augment.Augmentation],
        "loss": [losses.LOSSES[config.loss.name]],
        "model": [
            models.MODELS[config.model.name],
            AdaptiveBlock,
            models.build_model,
            models.measure_whitening,
            models.count_whitening_images,
        ],
        "optimizer": [optim.OPTIMIZERS[config.optimizer.name]],
        "schedule": [schedules.SCHEDULES[config.schedule.name], schedules.build_schedule],
        "data": [data.load_dataset],
        "evaluation": [Evaluation.due, experiment.Experiment.predictor],
    }
    shared = {"name", *optim.Shared._fields}
    for section, functions in takers.items():
        read = set().union(*map(names_read, functions))
        assert set(config.get(section, {})) - shared <= read, section
    sources = "".join(inspect.getsource(m) for m in (experiment, trainer, optim))
    for key in set(schema.Config._fields) - set(takers):
        assert f"config.{key}" in sources or f"c.{key}" in sources, key
    for key in optim.Shared._fields:
        assert f"shared.{key}" in sources or f"optimizer.{key}" in sources, key


HUGE = 2_000_000_000


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        ("resnet20.py", {"model.depth": 6 * HUGE // 7 + 2}, "config.model.depth"),
        ("resnet20.py", {"model.width": HUGE}, "GiB"),
        ("adaptive.py", {"model.num_blocks": (10**9, 1, 1, 1)}, "with a sum from 1 to 1202"),
        ("adaptive.py", {"model.branches": HUGE}, "GiB"),
        ("adaptive.py", {"model.padding": HUGE}, "at most 32"),
        ("adaptive.py", {"model.kernel_size": 60_000, "model.padding": 32}, "kernel size 60000"),
        ("adaptive.py", {"model.head_hidden": (8,) * 3000}, "at most 100 values"),
        ("simple_cnn.py:base", {"model.hidden": (8,) * 3000}, "at most 100 values"),
        ("simple_cnn.py:base", {"model.hidden": (HUGE, HUGE)}, "GiB"),
        ("simple_cnn.py:base", {"model.num_classes": HUGE}, "GiB"),
        ("speedrun.py:94", {"model.depth": 10**9}, "from 1 to 1202"),
        ("speedrun.py:94", {"model.widths": (4,) * 3000}, "at most 100 values"),
        ("quickstart.py", {"num_epochs": 10**9}, "at most 1000000"),
        ("quickstart.py", {"num_epochs": 10**30}, "at most 1000000"),
        ("resnet20.py", {"schedule.every_epochs": 10**10}, "of at most 2147483647"),
    ],
)
def test_what_cannot_fit_is_refused_before_anything_is_allocated(name, changes, text):
    with pytest.raises(UserError) as error:
        experiment.build_experiment(config_of(name, **changes))
    assert text in str(error.value)
    assert len(str(error.value)) < 400


def test_more_steps_than_an_int32_counts_are_refused():
    parts = experiment.build_experiment(config_of("quickstart.py", num_epochs=10**6))
    with pytest.raises(UserError, match=r"num_epochs=1000000 and config\.batch_size=128 make"):
        parts.optimizer(steps_per_epoch=50_000)
