"""The keys of a config, their checks, and their JSON.

The signature of the function that reads a section describes its keys. The table below names these
functions as strings and imports them only when needed, so that configs can be read and compared
without importing JAX.
"""

import importlib
import inspect
import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Annotated, Any, NamedTuple

from ml_collections import ConfigDict

from jaxcifar.config import fields
from jaxcifar.config.fields import Constraint, Positive
from jaxcifar.errors import UserError, first_line

AtMostAMillion = Constraint(lambda n: n <= 10**6, "at most 1000000")


class Config(NamedTuple):
    """The top-level keys of a config."""

    seed: Annotated[
        int,
        Constraint(lambda n: 0 <= n < 2**31, "at least 0 and below 2147483648"),
        "the run's seed for initialisation, data order, augmentation and dropout",
    ]
    num_epochs: Annotated[Positive, AtMostAMillion, "passes over the training images"]
    batch_size: Annotated[Positive, "images per step, over all devices"]
    data: Mapping
    augment: Mapping
    model: Mapping
    loss: Mapping
    optimizer: Mapping
    schedule: Mapping
    compute_dtype: Annotated[
        str,
        fields.one_of(("float32", "bfloat16")),
        "type of activations and gradients; parameters are always float32",
    ] = "float32"
    accumulate_steps: Annotated[Positive, "batches per update of the weights"] = 1
    init_from: Annotated[
        str,
        "weights to start from, in the folder of a run or a file that export --to=safetensors"
        ' wrote; "" starts from random weights',
    ] = ""
    evaluation: Mapping = {}  # empty: evaluate after every epoch, in one view
    early_stopping: Mapping = {}  # empty: off
    log_norms: Annotated[bool, "log the L2 norms of the gradient and of the weights"] = False


class Section(NamedTuple):
    """The reader of a section: a function, or a table from which the key `name` selects a function.

    `shared` names the class whose fields every choice in the table has as keys.
    """

    function: str = ""
    table: str = ""
    shared: str = ""


SECTIONS = {
    "data": Section("jaxcifar.data:load_dataset"),
    "augment": Section("jaxcifar.training.augment:Augmentation"),
    "model": Section(table="jaxcifar.models:MODELS", shared="jaxcifar.models:Shared"),
    "loss": Section(table="jaxcifar.training.losses:LOSSES"),
    "optimizer": Section(
        table="jaxcifar.training.optim:OPTIMIZERS", shared="jaxcifar.training.optim:Shared"
    ),
    "schedule": Section(table="jaxcifar.training.schedules:SCHEDULES"),
    "evaluation": Section("jaxcifar.training.views:Evaluation"),
    "early_stopping": Section("jaxcifar.run.selection:EarlyStopping"),
}


def import_place(place: str) -> Any:
    """Imports and returns the object that "module:name" names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def section_parameters(section: str, keys: Mapping) -> dict[str, inspect.Parameter]:
    """Returns the keys that a section may have, which depend on `keys["name"]` if it has a name.

    Raises:
      UserError: the name is missing or unknown.
    """
    readers = SECTIONS[section]
    if readers.function:
        return fields.parameters(import_place(readers.function))
    table = import_place(readers.table)
    chosen = fields.find_choice(table, section, keys)
    known = Annotated[str, fields.one_of(table), "the choice, which decides the other keys"]
    name = inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY, annotation=known)
    shared = fields.parameters(import_place(readers.shared)) if readers.shared else {}
    return {"name": name, **shared, **fields.parameters(chosen)}


def complete_config(config: ConfigDict, unread: Collection[str] = ()) -> ConfigDict:
    """Checks a config, adds the defaults of its missing keys, and returns it locked.

    This is the only full check; later code trusts the values. Sections in `unread` are neither
    checked nor completed.

    Raises:
      UserError: a key is unknown or missing, or a value is wrong.
    """
    complete = fields.complete_keys("config", config.to_dict(), fields.parameters(Config))
    for section, keys in complete.items():
        if isinstance(keys, Mapping) and section not in unread:
            where, expected = f"config.{section}", section_parameters(section, keys)
            complete[section] = fields.complete_keys(
                where, keys, expected, fields.describe_choice(keys)
            )
    return ConfigDict(complete).lock()


def check_top_level(config: ConfigDict) -> ConfigDict:
    """Checks the top-level keys of a config and returns it locked, without added defaults."""
    fields.complete_keys("config", config.to_dict(), fields.parameters(Config))
    return config.lock()


def without_paths(config: ConfigDict) -> ConfigDict:
    """Returns the config without the paths of folders, which are private to the user's machine."""
    public = config.copy_and_resolve_references()
    with public.unlocked():
        public.data.dir = ""
        if "init_from" in public:
            public.init_from = pathlib.Path(public.init_from).name
    return public


def to_json(config: ConfigDict) -> str:
    """Returns the config as JSON; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def from_json(text: str) -> ConfigDict:
    """Returns the config in a text that `to_json` wrote."""
    return from_dict(json.loads(text))


def from_dict(tree: Mapping) -> ConfigDict:
    """Returns the config that a parsed JSON object describes.

    Raises:
      UserError: a top-level key is unknown, missing or of another type, or a name is not allowed.
    """
    try:
        config = ConfigDict(tree)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"config: {first_line(error)}") from error
    for section, keys in config.items():
        if isinstance(keys, ConfigDict) and "name" in keys:
            fields.check_value(f"config.{section}.name", keys["name"], str)
    return check_top_level(config)


def flatten(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    """Returns a nested config as one dict with dotted keys, {"model.name": "mlp", …}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, Mapping)
        flat.update(flatten(value, f"{prefix}{key}.") if nested else {prefix + key: value})
    return flat
