"""The defaults of all keys, kept as JSON so that configs are compared without importing JAX.

Write the file again when a default changes (a test compares it with the signatures):

    python -m jaxcifar.config.defaults >jaxcifar/config/defaults.json
"""

import inspect
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxcifar.config import fields, schema

FILE = pathlib.Path(__file__).with_name("defaults.json")
Defaults = dict[str, dict[str, dict[str, Any]]]  # by section and by its key `name`, "" for none


def collect() -> Defaults:
    """Returns the defaults that the signatures give; imports what reads the config."""
    found: Defaults = {"": {"": _defaults(fields.parameters(schema.Config))}}
    for section, readers in schema.SECTIONS.items():
        names = schema.import_place(readers.table) if readers.table else [""]
        found[section] = {
            name: _defaults(schema.section_parameters(section, {"name": name})) for name in names
        }
    return found


def _defaults(parameters: fields.Parameters) -> dict[str, Any]:
    return {k: p.default for k, p in parameters.items() if p.default is not inspect.Parameter.empty}


def fill_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config with the kept defaults of the keys that it lacks."""
    kept: Defaults = json.loads(FILE.read_text())
    filled = {**kept[""][""], **config}
    for section in kept.keys() - {""}:
        of_choice = kept[section].get(filled[section].get("name", ""), {})
        filled[section] = {**of_choice, **filled[section]}
    return filled


if __name__ == "__main__":
    print(json.dumps(collect(), indent=1, sort_keys=True))
