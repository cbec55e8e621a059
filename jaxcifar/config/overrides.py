"""The words of a command line that change a config: --config.KEY=VALUE."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxcifar.config import fields, files, schema
from jaxcifar.errors import UserError


def load_config(page: str, words: Sequence[str] = ()) -> ConfigDict:
    """Returns the config of a page, changed by words such as "--config.num_epochs=3", locked.

    Each value is read as the type that its key has. Another `name` of a section drops the keys
    that the new choice does not have, and says so on stderr.

    Raises:
      UserError: as `config.load`; or a word sets an unknown key or a wrong value.
    """
    config = files.run_config_file(page).to_dict()
    changes = dict(_split(words, config))
    sections = [key.removesuffix(".name") for key in changes if key.endswith(".name")]
    said = [_choose(config, section, changes) for section in sections]
    for key, text in changes.items():
        section, _, leaf = key.rpartition(".")
        keys = config.setdefault(section, {}) if section else config
        keys[leaf] = _value(config, section, leaf, text)
    for section in sections:
        _demand(config, section, page)
    for line in filter(None, said):
        print(line, file=sys.stderr)
    return schema.check_top_level(ConfigDict(config))


def _split(words: Sequence[str], config: Mapping) -> Iterator[tuple[str, str]]:
    """Yields the key and the text of each word, "--config.KEY=TEXT" or two words without "="."""
    rest = iter(words)
    for word in rest:
        option, equals, text = word.partition("=")
        key = option.removeprefix("--config.")
        if key == option:
            near = fields.nearest(key.lstrip("-"), schema.flatten(config))
            guess = f"; did you mean --config.{near}?" if near and key.startswith("--") else ";"
            raise UserError(
                f"unknown argument {word}{guess} a value of the config is set by"
                " --config.KEY=VALUE, and --help lists the other options"
            )
        if not equals:
            text = next(rest, "")
            if not text or text.startswith("--"):
                raise UserError(f"{word} needs a value: {word}=VALUE")
        yield key, text


def _expected(config: Mapping, section: str) -> fields.Parameters:
    """Returns the keys of a section, or those at the top for ""."""
    top = fields.parameters(schema.Config)
    if not section:
        return top
    if section not in top or top[section].annotation is not Mapping:
        fields.refuse_key("config", section, top)
    return schema.section_parameters(section, config.get(section, {}))


def _choose(config: dict[str, Any], section: str, changes: dict[str, str]) -> str:
    """Takes a section's other name from `changes`; the keys that this choice lacks are dropped.

    Returns, in a line, which they are and which defaults come instead; "" for neither.
    """
    name = changes.pop(f"{section}.name")
    before = _expected(config, section)
    if "name" not in before:
        fields.refuse_key(f"config.{section}", "name", before)
    after = schema.section_parameters(section, {"name": name})
    old, config[section] = config[section], {"name": name}
    config[section] |= {key: old[key] for key in old if key in after and key != "name"}
    dropped = [key for key in old if key not in after]
    filled = [
        f"{key}={parameter.default}"
        for key, parameter in after.items()
        if key not in before and f"{section}.{key}" not in changes
        if parameter.default is not parameter.empty
    ]
    words = [f"dropped {', '.join(dropped)}"] * bool(dropped)
    words += [f"took {', '.join(filled)}"] * bool(filled)
    return f"config.{section}.name={name}: {'; '.join(words)}" if words else ""


def _value(config: Mapping, section: str, leaf: str, text: str) -> Any:
    """Returns the value that `text` gives a key."""
    expected = _expected(config, section)
    where = f"config.{section}" if section else "config"
    if leaf not in expected:
        of = fields.of_name(config.get(section, {}))
        fields.refuse_key(where, leaf, expected, of, schema.flatten(config))
    annotation = expected[leaf].annotation
    if annotation is Mapping:
        keys = list(_expected(config, leaf))
        raise UserError(
            f"config.{leaf} is a section: set one of its keys, --config.{leaf}.{keys[0]}=VALUE;"
            f" its keys: {', '.join(keys)}"
        )
    return fields.check_value(f"{where}.{leaf}", fields.parse(text, annotation), annotation)


def _demand(config: Mapping, section: str, page: str) -> None:
    """Raises a UserError where the newly chosen name of a section needs keys that are not there."""
    keys = config[section]
    missing = [k for k in fields.required(_expected(config, section)) if k not in keys]
    if missing:
        words = " ".join(f"--config.{section}.{key}=VALUE" for key in missing)
        name = f'"name": "{keys["name"]}"'
        folder = files.find_config(page.partition(":")[0]).parent
        those = [str(file) for file in sorted(folder.glob("*.py")) if name in file.read_text()]
        other = f", or start from {' or '.join(those)}" if those else ""
        raise UserError(
            f"config.{section}.name={keys['name']} needs {', '.join(missing)}: add {words}{other}"
        )
