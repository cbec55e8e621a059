"""JSON of others is read within limits, or refused with the place and what was expected."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcifar.system import json_files
from jaxcifar.system.json_files import INTEGER, MAYBE_NUMBER, NUMBER, TEXT, BadJson

FORM = {"name": TEXT, "sizes?": [INTEGER], "rates": {str: NUMBER}, "loss": MAYBE_NUMBER}
GOOD = {"name": "a", "sizes": [1, 2], "rates": {"b": 0.5, "c": 1}, "loss": None, "more": [{}]}


def test_a_value_of_the_form_is_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(GOOD))
    assert json_files.read(tmp_path / "a.json", FORM) == GOOD
    assert json_files.parse('{"name": "é", "rates": {}, "loss": NaN}', FORM)["loss"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "name is null; expected text"),
        ({"sizes": [1, True]}, r"sizes\[1\] is true or false; expected an integer"),
        ({"sizes": {}}, "sizes is an object; expected a list"),
        ({"rates": {"b": "x"}}, "rates.b is text; expected a number"),
        ({"rates": {"b": float("nan")}}, "rates.b is null; expected a number"),
        ({"rates": {"b": 1e200}}, "rates.b is null; expected a number"),
        ({"loss": []}, "loss is a list; expected a number or null"),
        ({"more": 10**400}, "an integer of more than 19 digits"),
        ({"more": "\ud800"}, "surrogates not allowed"),
        ({"\udfff": 0}, "surrogates not allowed"),
    ],
)
def test_another_value_is_refused_by_its_place(change, message):
    with pytest.raises(BadJson, match=message):
        json_files.parse(json.dumps(GOOD | change), FORM)


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [41, 900, 100_000])
def test_deep_nesting_is_refused(bracket, depth):
    closing = "]" if bracket == "[" else "}"
    text = f"{bracket * depth}1{closing * depth}"
    with pytest.raises(BadJson, match="nested"):
        json_files.parse(text, (list, dict))


def test_what_is_no_json_or_lacks_a_key_is_refused():
    for text in (b"", b"{", b"\xff", '{"name": 1'):
        with pytest.raises(BadJson):
            json_files.parse(text, FORM)
    with pytest.raises(BadJson, match="it lacks rates"):
        json_files.parse('{"name": "a"}', FORM)
    with pytest.raises(BadJson, match="it is a list; expected an object"):
        json_files.parse("[]", FORM)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
    )
)
def test_any_json_is_read_or_refused(value):
    try:
        read = json_files.parse(json.dumps(value), (dict, list, str, int, float, bool, type(None)))
    except BadJson:
        return
    json.dumps(read, allow_nan=False).encode()
