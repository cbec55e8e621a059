"""Any input is read or refused with a one-line UserError. `fuzz.py` is the long version."""

import contextlib
import json

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_faults import module

from jaxcifar.claims import records
from jaxcifar.config import compare, files, overrides, schema
from jaxcifar.data import official
from jaxcifar.errors import UserError
from jaxcifar.run import metrics

PAGE = str(ROOT / "configs" / "quickstart.py")
KEYS = list(schema.flatten(files.load_config_file(PAGE).to_dict()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
)
TEXTS = st.text() | JSON.map(str) | st.sampled_from(["1e999", "-0", "()", "((0,24),)", "nan"])
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextlib.contextmanager
def refused_in_a_line():
    """Accepts a one-line UserError, and no other error."""
    try:
        yield
    except UserError as error:
        if "\n" in str(error):
            raise AssertionError(str(error)) from error


@QUICK
@given(key=st.sampled_from(KEYS) | st.text(), text=TEXTS)
def test_an_override_has_the_type_of_its_key_or_is_refused(key, text):
    with refused_in_a_line():
        config = overrides.load_config(PAGE, [f"--config.{key}={text}"])
        again = schema.from_json(schema.to_json(config))
        assert compare.differences(again, config) == []


@QUICK
@given(JSON, st.sampled_from(sorted(records.FORM)))
def test_a_record_with_another_value_is_read_or_refused(tmp_path, value, key):
    whole = json.loads(next((ROOT / "results" / "runs").glob("*.json")).read_bytes())
    (tmp_path / "record.json").write_text(json.dumps(whole | {key: value}))
    with refused_in_a_line():
        records.read_record(tmp_path / "record.json")


@QUICK
@given(st.lists(JSON.map(lambda x: json.dumps(x).encode()) | st.binary()))
def test_metrics_are_the_undamaged_lines(tmp_path, lines):
    mine = [b'{"epoch": 1, "step": 4}', *lines, b'{"epoch": 2, "step": 8}']
    (tmp_path / metrics.FILE).write_bytes(b"\n".join(mine))
    read = metrics.read(tmp_path)
    assert [read[0]["epoch"], read[-1]["epoch"]] == [1, 2]


@QUICK
@given(st.binary())
def test_any_bytes_are_unpickled_or_refused(blob):
    with refused_in_a_line():
        official.unpickle(blob)


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_refused_or_read_correctly(capsys):
    assert module("fuzz").main(number=2600, seed=0) == 0
