"""Reads a config page with its command-line overrides; a signature is the schema of its keys."""

import inspect
import json
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxcifar import pages
from jaxcifar.errors import UserError

T = TypeVar("T")
GIVEN = "what the trainer gives, no key of the config"
Given = Annotated[T, GIVEN]


class Config(NamedTuple):
    """The keys at the top of a config; its sections are in `schema`.

    Here as in every signature that reads a section: a key that is added later has a neutral
    default, what was before it, so that a config saved without it still means what it meant.
    """

    seed: int
    num_epochs: int
    batch_size: int
    compute_dtype: str
    accumulate_steps: int
    data: Mapping
    augment: Mapping
    model: Mapping
    loss: Mapping
    optimizer: Mapping
    schedule: Mapping


def load(page: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Returns the config of `page`, "FILE.py" or "FILE.py:VARIANT", with its overrides, locked.

    Overrides are command-line words such as "--config.optimizer.learning_rate=3e-4"; each is
    parsed to the type that the page gives the key.

    Raises:
      UserError: no such file or variant, an unknown key, or a value of the wrong type.
    """
    file, colon, variant = page.partition(":")
    argv = ["", f"--config={pages.find(file)}{colon}{variant}", *overrides]
    values = flags.FlagValues()  # private, so that nothing is registered globally
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    try:
        rest = values(argv)
        config = values.config
    except (AttributeError, KeyError) as error:
        message = str(error.args[0]).replace("\n", "; ")
        raise UserError(f"unknown config key {message}") from error
    except (flags.Error, OSError, TypeError, ValueError) as error:
        # ml_collections wraps what a page raises in a traceback; its last line is the message
        message = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")
        raise UserError(message) from error
    if rest[1:]:
        raise UserError(
            f"unknown argument {rest[1]!r}; a config value is set by --config.KEY=VALUE"
        )
    return check(config)


def check(config: ConfigDict) -> ConfigDict:
    """Returns `config`, locked and known to have the top-level keys of `Config`."""
    complete("config", config, parameters(Config))
    check_range("seed", config.seed, 0, 2**31)
    for key in ("num_epochs", "batch_size", "accumulate_steps"):
        if key in config:
            check_range(key, config[key], 1)
    return config.lock()


def name(page: str) -> str:
    """Returns the short name of a page: "configs/simple_cnn.py:l1" -> "simple_cnn_l1"."""
    file, _, variant = page.partition(":")
    return "_".join(filter(None, (pathlib.Path(file).stem, variant)))


def build(choices: Mapping[str, Callable[..., Any]], section: str, keys: Mapping, **given) -> Any:
    """Returns `choices[keys["name"]](**other keys, **given)`: the signature is the schema.

    Raises:
      UserError: an unknown name (saying the choices), or keys that are not the signature's.
    """
    chosen = choose(choices, section, keys)
    rest = {key: value for key, value in keys.items() if key != "name"}
    return call(chosen, f"{section} of name {keys['name']!r}", rest, **given)


def choose(choices: Mapping[str, T], section: str, keys: Mapping) -> T:
    """Returns the choice that the section's `name` makes."""
    if "name" not in keys:
        raise UserError(f"config.{section} lacks the key 'name'; choices: {', '.join(choices)}")
    check_choice(f"{section}.name", keys["name"], choices)
    return choices[keys["name"]]


def call(function: Callable[..., Any], section: str, keys: Mapping, **given) -> Any:
    """Returns `function(**keys, **given)`, first checking `keys` against the signature."""
    return function(**complete(f"config.{section}", keys, parameters(function)), **given)


def divide(shared: Callable[..., T], section: str, keys: Mapping) -> tuple[T, dict[str, Any]]:
    """Returns what `shared` makes of its keys, and the other keys of the section."""
    names = parameters(shared)
    own = {key: value for key, value in keys.items() if key not in names}
    return call(shared, section, {k: v for k, v in keys.items() if k in names}), own


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Returns the keys that a function or class takes from the config, with their defaults."""
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ("parent", "name")  # Flax's own
        and GIVEN not in getattr(parameter.annotation, "__metadata__", ())
    }


def complete(
    where: str, keys: Mapping, expected: Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    """Returns `keys` with the default of every expected key that is not there.

    Raises:
      UserError: a key that is not expected (saying which are), or that is needed and not there.
    """
    for key in keys:
        if key not in expected:
            raise UserError(f"{where} has no key {key!r}; keys: {', '.join(expected)}")
    for key, parameter in expected.items():
        if parameter.default is inspect.Parameter.empty and key not in keys:
            raise UserError(f"{where} lacks the key {key!r}")
    return {key: _plain(keys.get(key, parameter.default)) for key, parameter in expected.items()}


def check_choice(key: str, value: Any, choices: Iterable[str]) -> None:
    """Raises a UserError unless `config.key` has one of the choices."""
    if value not in choices:
        raise UserError(f"config.{key} is {value!r}; choices: {', '.join(choices)}")


def check_range(key: str, value: float, low: float, below: float = math.inf) -> None:
    """Raises a UserError unless low ≤ `config.key` < below."""
    if not low <= value < below:
        bound = f" and below {below:g}" if below < math.inf else ""
        raise UserError(f"config.{key} is {value!r}; expected at least {low:g}{bound}")


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def to_json(config: ConfigDict) -> str:
    """Returns the config as JSON text (tuples become lists)."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def from_json(text: str) -> ConfigDict:
    """Returns the config that `to_json` wrote."""
    return check(ConfigDict(json.loads(text)))
