"""The keys of a config, their checks, their JSON, and how two configs differ.

Each section is described by the signature of the function that reads it. The table below names
these functions as text and imports them when they are needed, so that configs with the same keys
are read and compared without JAX.
"""

import importlib
import inspect
import json
from collections.abc import Collection, Mapping
from typing import Annotated, Any, NamedTuple

from ml_collections import ConfigDict

from jaxcifar.config import fields
from jaxcifar.config.fields import Constraint, Positive


class Config(NamedTuple):
    """The top-level keys of a config."""

    seed: Annotated[int, Constraint(lambda n: 0 <= n < 2**31, "at least 0 and below 2147483648")]
    num_epochs: Positive
    batch_size: Positive
    compute_dtype: Annotated[str, fields.one_of(("float32", "bfloat16"))]
    accumulate_steps: Positive
    data: Mapping
    augment: Mapping
    model: Mapping
    loss: Mapping
    optimizer: Mapping
    schedule: Mapping
    evaluation: Mapping = {}  # empty: every epoch is scored, each image in one view
    log_norms: bool = False  # logs the norms of the gradient and of the weights


class Section(NamedTuple):
    """What reads a section: one function, or a table that its key `name` chooses from.

    `shared` has the keys that every choice of the table has.
    """

    function: str = ""
    table: str = ""
    shared: str = ""


SECTIONS = {
    "data": Section("jaxcifar.data:load"),
    "augment": Section("jaxcifar.training.augment:build"),
    "model": Section(table="jaxcifar.models:MODELS", shared="jaxcifar.models:Shared"),
    "loss": Section(table="jaxcifar.training.losses:LOSSES"),
    "optimizer": Section(
        table="jaxcifar.training.optim:OPTIMIZERS", shared="jaxcifar.training.optim:Shared"
    ),
    "schedule": Section(table="jaxcifar.training.optim:SCHEDULES"),
    "evaluation": Section("jaxcifar.training.evaluation:Evaluation"),
}


def _import(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def section_parameters(section: str, keys: Mapping) -> dict[str, inspect.Parameter]:
    """Returns the keys that a section may have; `keys["name"]` says which choice it makes.

    Raises:
      UserError: the section needs a name that it lacks, or has one that is not known.
    """
    readers = SECTIONS[section]
    if readers.function:
        return fields.parameters(_import(readers.function))
    table = _import(readers.table)
    chosen = fields.find_choice(table, section, keys)
    known = Annotated[str, fields.one_of(table)]
    name = inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY, annotation=known)
    shared = fields.parameters(_import(readers.shared)) if readers.shared else {}
    return {"name": name, **shared, **fields.parameters(chosen)}


def complete_config(config: ConfigDict, unread: Collection[str] = ()) -> ConfigDict:
    """Checks a config and returns it, locked, with the default of every key that it lacks.

    This is the only full check. What the config is passed to afterwards takes plain values. The
    sections in `unread` are not checked.

    Raises:
      UserError: a key is unknown or missing, or a value is wrong.
    """
    complete = fields.complete_keys("config", config.to_dict(), fields.parameters(Config))
    for section, keys in complete.items():
        if isinstance(keys, Mapping) and section not in unread:
            where, expected = f"config.{section}", section_parameters(section, keys)
            complete[section] = fields.complete_keys(where, keys, expected, fields.of_name(keys))
    return ConfigDict(complete).lock()


def check_top_level(config: ConfigDict) -> ConfigDict:
    """Checks the top-level keys of a config and returns it locked, without added defaults."""
    fields.complete_keys("config", config.to_dict(), fields.parameters(Config))
    return config.lock()


def to_json(config: ConfigDict) -> str:
    """Returns the config as JSON text (tuples become lists)."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def from_json(text: str) -> ConfigDict:
    """Returns the config that `to_json` wrote."""
    return check_top_level(ConfigDict(json.loads(text)))


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Returns a line per value that differs, "key: old -> new".

    A key that only one config has is compared with its default. `data.dir` is not compared: it
    says where the data lie, not what they are.
    """
    pairs = [flatten(json.loads(to_json(config))) for config in (old, new)]
    if set(pairs[0]) != set(pairs[1]):
        pairs = [flatten(json.loads(to_json(complete_config(config)))) for config in (old, new)]
    keys = sorted(set().union(*pairs) - {"data.dir"})
    values = [(key, *(flat.get(key) for flat in pairs)) for key in keys]
    return [f"{key}: {old!r} -> {new!r}" for key, old, new in values if old != new]


def flatten(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    """Returns the values of a config by their keys: {"model.name": "mlp", …}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, Mapping)
        flat.update(flatten(value, f"{prefix}{key}.") if nested else {prefix + key: value})
    return flat
