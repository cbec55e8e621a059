"""Keys that are added later have neutral defaults, so old configs keep their meaning."""

import inspect
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pytest
from conftest import ROOT, config_of, tiny

from jaxcifar.claims import records
from jaxcifar.config import compare, fields, schema
from jaxcifar.errors import UserError
from jaxcifar.models import MODELS
from jaxcifar.run import workdir
from jaxcifar.training import augment, experiment, losses, optim, schedules, trainer


def with_key(function, **added):
    """Returns `function` with more keys in its signature, which have defaults and are ignored."""

    def grown(**keys):
        return function(**{key: value for key, value in keys.items() if key not in added})

    signature = inspect.signature(function)
    more = [
        inspect.Parameter(
            key, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=type(value)
        )
        for key, value in added.items()
    ]
    grown.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *more])
    return grown


class Evaluation(NamedTuple):
    """A section that is added later."""

    views: int = 1


@pytest.fixture
def grown(monkeypatch):
    """Adds a key at the top level and in every kind of section, and a new section."""

    class Config(schema.Config):
        pass

    top = inspect.signature(schema.Config)
    more = [
        inspect.Parameter("warm", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool),
        inspect.Parameter(
            "afterwards", inspect.Parameter.KEYWORD_ONLY, default={}, annotation=Mapping
        ),
    ]
    Config.__signature__ = top.replace(parameters=[*top.parameters.values(), *more])
    monkeypatch.setattr(schema, "Config", Config)
    monkeypatch.setattr(augment, "Augmentation", with_key(augment.Augmentation, turn=0.0))
    for choices in (MODELS, optim.OPTIMIZERS, schedules.SCHEDULES):
        for name, choice in choices.items():
            monkeypatch.setitem(choices, name, with_key(choice, extra=0))
    before = schema.section_parameters

    def parameters(section, keys):
        if section == "afterwards":
            return fields.parameters(Evaluation)
        return before(section, keys)

    monkeypatch.setattr(schema, "section_parameters", parameters)


CHOICES = {"model": MODELS, "loss": losses.LOSSES}
CHOICES |= {"optimizer": optim.OPTIMIZERS, "schedule": schedules.SCHEDULES}
READERS = [(section, name) for section, choices in CHOICES.items() for name in choices]


@pytest.mark.parametrize(("section", "name"), [*READERS, ("data", ""), ("augment", ""), ("", "")])
def test_every_key_has_a_checked_type_and_a_valid_default(section, name):
    keys = schema.section_parameters(section, {"name": name}) if section else None
    for key, parameter in (keys or fields.parameters(schema.Config)).items():
        with pytest.raises(UserError, match=key):
            fields.check_value(key, None, parameter.annotation)
        if parameter.default is not inspect.Parameter.empty:
            value = fields.check_value(key, parameter.default, parameter.annotation)
            assert value == parameter.default


def test_a_new_key_has_its_neutral_value_in_an_old_config(grown):
    config = schema.complete_config(tiny())
    assert (config.warm, config.afterwards.views) == (False, 1)
    assert (config.model.extra, config.optimizer.extra, config.augment.turn) == (0, 0, 0.0)
    old = tiny()
    for key, neutral, other in (
        ("warm", False, True),
        ("afterwards", {"views": 1}, {"views": 2}),
        ("afterwards", {}, {"views": 6}),
        ("augment.turn", 0.0, 0.5),
        ("model.extra", 0, 1),
        ("optimizer.extra", 0, 1),
        ("schedule.extra", 0, 1),
    ):
        section, _, leaf = key.rpartition(".")
        for value, differ in ((neutral, False), (other, True)):
            new = tiny().to_dict()
            (new[section] if section else new)[leaf] = value
            new = schema.from_json(json.dumps(new))
            found = compare.differences(old, new), compare.differences(new, old)
            assert [len(lines) for lines in found] == [differ, differ], (key, value)
    experiment.build_experiment(new)


def test_committed_records_stay_valid_when_keys_are_added(grown, monkeypatch):
    """Also if the config files have the new keys, or omit a key that has a default."""
    files = sorted((ROOT / "results" / "runs").glob("*.json"))[::5]
    raw = records.config_of
    for configs in (raw, lambda run, seed: schema.complete_config(raw(run, seed))):
        monkeypatch.setattr(records, "config_of", configs)
        for file in files:
            record = json.loads(file.read_text())
            found = records.read(ROOT / "results", [record["run"]])
            assert found[record["run"]][record["seed"]] == record


def test_an_old_run_resumes_after_keys_are_added(grown_later, small_data, tmp_path):
    whole = trainer.train(tiny(num_epochs=2), tmp_path / "whole")
    half = tiny(num_epochs=2)
    with workdir.claim_workdir(tmp_path / "run", half):
        pass
    grown_later()
    new = schema.complete_config(tiny(num_epochs=2))
    result = trainer.train(new, tmp_path / "run")
    assert result.finished
    np.testing.assert_array_equal(
        whole.state.params["head"]["dense0"]["kernel"],
        result.state.params["head"]["dense0"]["kernel"],
    )


@pytest.fixture
def grown_later(request):
    """Adds the keys when it is called."""
    return lambda: request.getfixturevalue("grown")


def test_configs_with_different_choices_are_compared_by_all_keys():
    old = config_of("simple_cnn.py:base")
    new = config_of("simple_cnn.py:base").to_dict()
    new["optimizer"] |= {"name": "adam", "b1": 0.9, "b2": 0.999, "eps": 1e-8}
    del new["optimizer"]["momentum"], new["optimizer"]["nesterov"]
    found = compare.differences(old, schema.from_json(json.dumps(new)))
    assert found == [
        "optimizer.b1: None -> 0.9",
        "optimizer.b2: None -> 0.999",
        "optimizer.eps: None -> 1e-08",
        "optimizer.momentum: 0.9 -> None",
        "optimizer.name: 'sgd' -> 'adam'",
        "optimizer.nesterov: False -> None",
    ]


@pytest.mark.parametrize("key", ["surplus", "model.surplus", "optimizer.surplus", "data.surplus"])
def test_an_unknown_key_of_a_saved_config_is_refused(key):
    config = tiny().to_dict()
    section, _, leaf = key.rpartition(".")
    (config[section] if section else config)[leaf] = 1
    with pytest.raises(UserError, match="surplus"):
        schema.complete_config(schema.from_json(json.dumps(config)))


def test_records_are_read_without_jax():
    code = """
import pathlib, sys
from jaxcifar.claims import records
assert records.read(pathlib.Path("results"), ["simple_cnn:swish"])["simple_cnn:swish"]
assert not {"jax", "flax", "optax", "orbax"} & set(sys.modules), sorted(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
