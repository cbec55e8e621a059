"""Describes the keys of a config: their types, ranges, defaults and meanings.

The descriptions come from the signatures that also check the values. This command writes all of
them to docs/config.md:

    python -m jaxcifar.config.reference >docs/config.md
"""

import textwrap
from collections.abc import Iterator, Mapping

from ml_collections import ConfigDict

from jaxcifar.config import fields, schema

WIDTH, INDENT = 80, "    "  # columns
HEAD = """# The keys of a config

Made by `python -m jaxcifar.config.reference >docs/config.md`.

Set a key in a config file, or on the command line with `--config.KEY=VALUE`, for example
`--config.optimizer.learning_rate=3e-4`. `python -m jaxcifar.show_config FILE.py` prints the keys
and values of one config.
"""


def describe_keys(expected: fields.Parameters) -> Iterator[tuple[str, str, str, str]]:
    """Yields the name, type, default and meaning of each key that is not a section.

    The default of a required key is "".
    """
    for name, parameter in expected.items():
        if parameter.annotation is not Mapping:
            kind, meaning = fields.describe_annotation(parameter.annotation)
            default = "" if parameter.default is parameter.empty else repr(parameter.default)
            yield name, kind, default, meaning


def describe_config(config: ConfigDict) -> str:
    """Returns a text with the value, meaning, type and default of every key of a config."""
    complete = schema.complete_config(config).to_dict()
    sections = {"": (complete, fields.parameters(schema.Config))}
    for section in schema.SECTIONS:
        keys = complete[section]
        sections[f"{section}."] = keys, schema.section_parameters(section, keys)
    blocks = []
    for prefix, (values, expected) in sections.items():
        for name, kind, default, meaning in describe_keys(expected):
            default = f"default {default}" if default else "required"
            text = f"{meaning[:1].upper()}{meaning[1:]}. Expects {kind}; {default}."
            text = textwrap.fill(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
            blocks.append(f"{prefix}{name} = {values[name]!r}\n{text}")
    return "\n".join(blocks)


def to_markdown() -> str:
    """Returns docs/config.md."""
    parts = [HEAD, "## Top level\n", _table(fields.parameters(schema.Config))]
    for section, readers in schema.SECTIONS.items():
        parts.append(f"## {section}\n")
        if readers.function:
            parts.append(_table(schema.section_parameters(section, {})))
            continue
        if readers.shared:
            shared = fields.parameters(schema.import_place(readers.shared))
            parts += ["All choices have these keys:\n", _table(shared)]
        for name, choice in schema.import_place(readers.table).items():
            summary = (choice.__doc__ or "").partition("\n")[0]
            parts.append(f"### {section}.name={name}\n\n{summary}\n")
            if own := fields.parameters(choice):
                parts.append(_table(own))
    return "\n".join(parts).rstrip() + "\n"


def _table(expected: fields.Parameters) -> str:
    rows = [("key", "type and range", "default", "meaning"), ("---",) * 4]
    for name, kind, default, meaning in describe_keys(expected):
        rows.append((f"`{name}`", kind, f"`{default}`" if default else "required", meaning))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(to_markdown(), end="")
