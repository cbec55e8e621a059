"""defaults.json is up to date."""

import json

from jaxcifar.config import defaults


def test_defaults_json_matches_the_signatures():
    again = "run python -m jaxcifar.config.defaults >jaxcifar/config/defaults.json"
    assert json.loads(defaults.FILE.read_text()) == json.loads(json.dumps(defaults.collect())), (
        again
    )
