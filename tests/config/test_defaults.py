"""The kept defaults are those of the signatures."""

import json

from jaxcifar.config import defaults


def test_the_kept_defaults_are_those_of_the_signatures():
    again = "run python -m jaxcifar.config.defaults >jaxcifar/config/defaults.json"
    assert json.loads(defaults.FILE.read_text()) == json.loads(json.dumps(defaults.collect())), (
        again
    )
