"""Reads a config page with its command-line overrides, checks it, and compares saved ones."""

import inspect
import json
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxcifar.errors import UserError

KEYS = {
    "seed",
    "num_epochs",
    "batch_size",
    "compute_dtype",
    "accumulate_steps",
    "data",
    "augment",
    "model",
    "loss",
    "optimizer",
    "schedule",
}


def load(page: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Returns the config of `page`, "FILE.py" or "FILE.py:VARIANT", with its overrides, locked.

    Overrides are command-line words such as "--config.optimizer.learning_rate=3e-4"; each is
    parsed to the type that the page gives the key.

    Raises:
      UserError: no such file or variant, an unknown key, or a value of the wrong type.
    """
    path = pathlib.Path(page.split(":")[0])
    if not path.is_file():
        raise UserError(
            f"--config: no file {path}; the pages that come with jaxcifar: configs/*.py"
        )
    argv = ["", f"--config={page}", *overrides]
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
    """Returns `config`, locked and known to have exactly the top-level `KEYS`."""
    if set(config) != KEYS:
        unknown, missing = sorted(set(config) - KEYS), sorted(KEYS - set(config))
        raise UserError(f"config: unknown keys {unknown}, missing keys {missing}")
    check_range("seed", config.seed, 0, 2**31)
    for key in ("num_epochs", "batch_size", "accumulate_steps"):
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
    if "name" not in keys:
        raise UserError(f"config.{section} lacks the key 'name'; choices: {', '.join(choices)}")
    chosen = keys["name"]
    check_choice(f"{section}.name", chosen, choices)
    rest = {key: value for key, value in keys.items() if key != "name"}
    return call(choices[chosen], f"{section} of name {chosen!r}", rest, **given)


def call(function: Callable[..., Any], section: str, keys: Mapping, **given) -> Any:
    """Returns `function(**keys, **given)`, first checking `keys` against the signature."""
    parameters = inspect.signature(function).parameters
    expected = [p for p in parameters if p not in given and p not in ("parent", "name")]
    for key in keys:
        if key not in expected:
            raise UserError(f"config.{section} has no key {key!r}; keys: {', '.join(expected)}")
    for key in expected:
        if parameters[key].default is inspect.Parameter.empty and key not in keys:
            raise UserError(f"config.{section} lacks the key {key!r}")
    return function(**{k: _plain(v) for k, v in keys.items()}, **given)


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


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Returns a line per value that differs, "key: old -> new", but for where the data lies."""
    flat_old, flat_new = (_flatten(json.loads(to_json(c))) for c in (old, new))
    keys = sorted((set(flat_old) | set(flat_new)) - {"data.dir"})
    pairs = [(key, flat_old.get(key), flat_new.get(key)) for key in keys]
    return [f"{key}: {old!r} -> {new!r}" for key, old, new in pairs if old != new]


def _flatten(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, Mapping)
        flat.update(_flatten(value, f"{prefix}{key}.") if nested else {prefix + key: value})
    return flat
