"""Lists the differences between two configs."""

import json

from ml_collections import ConfigDict

from jaxcifar.config import defaults, schema


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Returns one line, "key: old -> new", for each value that differs.

    A missing key counts as its default. `data.dir` is ignored because it says where the data are
    stored, not what they are.
    """
    trees = [json.loads(schema.to_json(config)) for config in (old, new)]
    both = [schema.flatten(defaults.fill_in(tree)) for tree in trees]
    if set(both[0]) != set(both[1]):  # a section has another name, or defaults.json lacks a key
        complete = [schema.complete_config(config) for config in (old, new)]
        both = [schema.flatten(json.loads(schema.to_json(config))) for config in complete]
    keys = sorted(set().union(*both) - {"data.dir"})
    values = [(key, *(flat.get(key) for flat in both)) for key in keys]
    return [f"{key}: {old!r} -> {new!r}" for key, old, new in values if old != new]
