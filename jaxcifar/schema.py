"""The keys of every section of a config: what reads it says them; and what two configs differ in.

The signatures are looked up when they are needed, not at import: configs that have the same keys
are compared without jax.
"""

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxcifar import config as configs


def parameters(section: str, keys: Mapping) -> dict[str, inspect.Parameter]:
    """Returns the keys that a section has, where it has a choice that of its `name`."""
    from jaxcifar import data, models
    from jaxcifar.training import augment, losses, optim

    readers: dict[str, Callable] = {"data": data.load, "augment": augment.build}
    choices: dict[str, Mapping] = {
        "model": models.MODELS,
        "loss": losses.LOSSES,
        "optimizer": optim.OPTIMIZERS,
        "schedule": optim.SCHEDULES,
    }
    if section in readers:
        return configs.parameters(readers[section])
    name = inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY, annotation=str)
    every = {"model": models.Shared, "optimizer": optim.Shared}
    shared = configs.parameters(every[section]) if section in every else {}
    chosen = configs.choose(choices[section], section, keys)
    return {"name": name, **shared, **configs.parameters(chosen)}


def complete(config: ConfigDict, as_they_are: Collection[str] = ()) -> ConfigDict:
    """Returns `config` with the neutral value of every key that it does not have, locked.

    The sections `as_they_are` are not looked at.

    Raises:
      UserError: a key that nothing reads, or one that is needed and not there.
    """
    whole = configs.complete("config", config, configs.parameters(configs.Config))
    for section, keys in whole.items():
        if isinstance(keys, Mapping | ConfigDict) and section not in as_they_are:
            expected = parameters(section, keys)
            of = f" of name {keys['name']!r}" if "name" in keys else ""
            whole[section] = configs.complete(f"config.{section}{of}", keys, expected)
    return ConfigDict(whole).lock()


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Returns a line per value that differs, "key: old -> new", but for where the data lies.

    A key that one of them does not have has its neutral value there.
    """
    pairs = [_flatten(json.loads(configs.to_json(config))) for config in (old, new)]
    if set(pairs[0]) != set(pairs[1]):
        pairs = [_flatten(json.loads(configs.to_json(complete(config)))) for config in (old, new)]
    keys = sorted(set().union(*pairs) - {"data.dir"})
    values = [(key, *(flat.get(key) for flat in pairs)) for key in keys]
    return [f"{key}: {old!r} -> {new!r}" for key, old, new in values if old != new]


def _flatten(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, Mapping)
        flat.update(_flatten(value, f"{prefix}{key}.") if nested else {prefix + key: value})
    return flat
