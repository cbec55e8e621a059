"""The defaults of all config keys, stored as JSON so that comparing configs needs no JAX.

Regenerate the file when a default changes (a test compares it with the signatures):

    python -m jaxcifar.config.defaults >jaxcifar/config/defaults.json
"""

import inspect
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxcifar.config import fields, schema

FILE = pathlib.Path(__file__).with_name("defaults.json")
# section -> name ("" if it has none) -> key -> default
Defaults = dict[str, dict[str, dict[str, Any]]]


def collect() -> Defaults:
    """Collects the defaults from the signatures of everything that reads the config."""
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
    """Returns the config with its missing keys filled in from defaults.json."""
    defaults: Defaults = json.loads(FILE.read_text("utf-8"))
    filled = {**defaults[""][""], **config}
    for section in defaults.keys() - {""}:
        section_defaults = defaults[section].get(filled[section].get("name", ""), {})
        filled[section] = {**section_defaults, **filled[section]}
    return filled


if __name__ == "__main__":
    print(json.dumps(collect(), indent=1, sort_keys=True))
