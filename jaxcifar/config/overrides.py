"""Command-line overrides of a config: --config.KEY=VALUE."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxcifar.config import fields, files, schema
from jaxcifar.errors import UserError


def load_config(file: str, words: Sequence[str] = ()) -> ConfigDict:
    """Applies overrides to the config of "FILE.py" or "FILE.py:VARIANT" and returns it, locked.

    `words` are overrides such as "--config.num_epochs=3"; each value is parsed as the type of its
    key. If an override changes the `name` of a section, the keys that the new choice lacks are
    dropped. A message on stderr lists them and the defaults that are added.

    Raises:
      UserError: the file gives no config, or an override has an unknown key or a wrong value.
    """
    config = files.load_config_file(file).to_dict()
    changes = dict(_parse_words(words, config))
    sections = [key.removesuffix(".name") for key in changes if key.endswith(".name")]
    messages = []
    for section in sections:
        config[section], message = _change_name(
            config, section, changes[f"{section}.name"], changes
        )
        messages.append(message)
    for key, text in changes.items():
        section, _, leaf = key.rpartition(".")
        keys = config.setdefault(section, {}) if section else config
        keys[leaf] = _parse_value(config, section, leaf, text)
    for section in sections:
        _check_required_keys(config, section, file)
    for message in filter(None, messages):
        print(message, file=sys.stderr)
    return ConfigDict(config).lock()  # each value was checked where it was read


def _parse_words(words: Sequence[str], config: Mapping) -> Iterator[tuple[str, str]]:
    """Yields the key and the text of each override, "--config.KEY=TEXT" or "--config.KEY TEXT"."""
    rest = iter(words)
    for word in rest:
        option, equals, text = word.partition("=")
        key = option.removeprefix("--config.")
        if key == option:
            near = fields.nearest(key.lstrip("-"), schema.flatten(config))
            guess = f"; did you mean --config.{near}?" if near and key.startswith("--") else ";"
            raise UserError(
                f"unknown argument {word}{guess} set a value of the config with"
                " --config.KEY=VALUE; --help lists the other options"
            )
        if not equals:
            text = next(rest, "")
            if not text or text.startswith("--"):
                raise UserError(f"{word} needs a value, as in {word}=VALUE")
        yield key, text


def _expected_keys(config: Mapping, section: str) -> fields.Parameters:
    """Returns the keys that a section may have; for "", the top-level keys."""
    top = fields.parameters(schema.Config)
    if not section:
        return top
    if section not in top or top[section].annotation is not Mapping:
        fields.refuse_key("config", section, top)
    return schema.section_parameters(section, config.get(section, {}))


def _change_name(
    config: Mapping, section: str, name: str, changed: Collection[str]
) -> tuple[dict[str, Any], str]:
    """Returns a section with a new `name`, and a message about the keys that this affects.

    Keys that the new choice shares with the old one keep their values; the others are dropped. The
    message is "" if no key is dropped and no default is added. `changed` holds the keys that the
    command line sets; the message does not mention them.
    """
    before = _expected_keys(config, section)
    if "name" not in before:
        fields.refuse_key(f"config.{section}", "name", before)
    after = schema.section_parameters(section, {"name": name})
    old = config[section]
    dropped = [key for key in old if key not in after]
    added = [
        f"{key}={parameter.default}"
        for key, parameter in after.items()
        if key not in before and f"{section}.{key}" not in changed
        if parameter.default is not parameter.empty
    ]
    effects = [f"dropped {', '.join(dropped)}"] * bool(dropped)
    effects += [f"added {', '.join(added)}"] * bool(added)
    message = f"config.{section}.name={name}: {'; '.join(effects)}" if effects else ""
    return {key: old[key] for key in old if key in after} | {"name": name}, message


def _parse_value(config: Mapping, section: str, leaf: str, text: str) -> Any:
    """Returns the value that `text` stands for, checked against its key."""
    expected = _expected_keys(config, section)
    where = f"config.{section}" if section else "config"
    if leaf not in expected:
        choice = fields.describe_choice(config.get(section, {}))
        fields.refuse_key(where, leaf, expected, choice, schema.flatten(config))
    annotation = expected[leaf].annotation
    if annotation is Mapping:
        keys = list(_expected_keys(config, leaf))
        raise UserError(
            f"config.{leaf} is a section; set one of its keys with"
            f" --config.{leaf}.{keys[0]}=VALUE; its keys are {', '.join(keys)}"
        )
    return fields.check_value(f"{where}.{leaf}", fields.parse(text, annotation), annotation)


def _check_required_keys(config: Mapping, section: str, file: str) -> None:
    """Raises a UserError if the newly chosen `name` of a section needs keys that are missing."""
    keys = config[section]
    missing = [k for k in fields.required(_expected_keys(config, section)) if k not in keys]
    if missing:
        words = " ".join(f"--config.{section}.{key}=VALUE" for key in missing)
        name = f'"name": "{keys["name"]}"'
        folder = files.find_config(files.split_variant(file)[0]).parent
        paths = (path for path in sorted(folder.glob("*.py")) if path.is_file())
        those = [str(path) for path in paths if name in path.read_text("utf-8", "replace")]
        other = f", or start from {' or '.join(those)}" if those else ""
        raise UserError(
            f"config.{section}.name={keys['name']} needs {', '.join(missing)}: add {words}{other}"
        )
