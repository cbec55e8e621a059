"""The keys of every section of a config, which the signatures say; and what two configs differ in.

The signatures are looked up when they are needed, not at import: configs that have the same keys
are read and compared without jax.
"""

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

from ml_collections import ConfigDict

from jaxcifar import config as configs
from jaxcifar import signature


def parameters(section: str, keys: Mapping) -> dict[str, inspect.Parameter]:
    """Returns the keys that a section has, where it has a choice that of its `name`."""
    if section == "data":  # alone needs no jax
        from jaxcifar import data

        return signature.parameters(data.load)
    from jaxcifar import models
    from jaxcifar.training import augment, evaluation, losses, optim

    readers: dict[str, Callable] = {"augment": augment.build, "evaluation": evaluation.Evaluation}
    if section in readers:
        return signature.parameters(readers[section])
    choices: dict[str, Mapping] = {
        "model": models.MODELS,
        "loss": losses.LOSSES,
        "optimizer": optim.OPTIMIZERS,
        "schedule": optim.SCHEDULES,
    }
    chosen = signature.choose(choices[section], section, keys)
    known = Annotated[str, signature.one_of(choices[section])]
    name = inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY, annotation=known)
    every = {"model": models.Shared, "optimizer": optim.Shared}
    shared = signature.parameters(every[section]) if section in every else {}
    return {"name": name, **shared, **signature.parameters(chosen)}


def complete(config: ConfigDict, as_they_are: Collection[str] = ()) -> ConfigDict:
    """Returns `config` with the neutral value of every key that it does not have, locked.

    The sections `as_they_are` are not looked at.

    Raises:
      UserError: a key that nothing reads, one that is needed and not there, or a wrong value.
    """
    whole = signature.complete("config", config.to_dict(), signature.parameters(configs.Config))
    for section, keys in whole.items():
        if isinstance(keys, Mapping) and section not in as_they_are:
            where, expected = f"config.{section}", parameters(section, keys)
            whole[section] = signature.complete(where, keys, expected, signature.of_name(keys))
    return ConfigDict(whole).lock()


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Returns a line per value that differs, "key: old -> new", but for where the data lies.

    A key that one of them does not have has its neutral value there.
    """
    pairs = [flatten(json.loads(configs.to_json(config))) for config in (old, new)]
    if set(pairs[0]) != set(pairs[1]):
        pairs = [flatten(json.loads(configs.to_json(complete(config)))) for config in (old, new)]
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
