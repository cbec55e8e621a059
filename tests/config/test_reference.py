"""Every key of a config has a meaning, and docs/config.md is up to date."""

import re

import pytest
from conftest import ROOT

from jaxcifar.config import defaults, overrides, reference, schema


def test_every_key_has_a_meaning():
    text = reference.to_markdown()
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) > 80
    assert not [row[0] for row in rows if not row[3]]


def test_the_document_is_up_to_date_and_has_every_key():
    text = (ROOT / "docs" / "config.md").read_text()
    assert text == reference.to_markdown(), (
        "run python -m jaxcifar.config.reference >docs/config.md"
    )
    for names in defaults.collect().values():
        for name, keys in names.items():
            assert not name or f".name={name}\n" in text
            assert all(f"| `{key}` |" in text for key in keys.keys() - schema.SECTIONS.keys())


@pytest.mark.parametrize("name", ["adaptive", "speedrun:90", "configs/simple_cnn.py:l1"])
def test_a_config_is_printed_with_all_its_keys_in_80_columns(name):
    config = overrides.load_config(name, ["--config.num_epochs=12"])
    text = reference.describe_config(config)
    flat = schema.flatten(schema.complete_config(config).to_dict())
    printed = re.findall(r"^(\S+) = (.*)$", text, re.MULTILINE)
    assert dict(printed) == {
        key: repr(value) for key, value in flat.items() if key not in ("evaluation",)
    }
    assert ("num_epochs", "12") in printed
    described = [line for line in text.splitlines() if line.startswith("    ")]
    assert described
    assert max(map(len, described)) <= 80
