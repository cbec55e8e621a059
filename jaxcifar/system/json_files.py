"""Reads JSON that others may have written, and checks its size, depth and form.

A form is a tuple of the types that a value may have, or is built from other forms: [form] is a
list, {str: form} an object with any keys, and {"key": form, "other?": form} an object with some
known keys. A key with "?" may be missing, and further keys may have any value.
"""

import json
import pathlib
from typing import Any

from jaxcifar.system import files

MAX_BYTES = 2**24
MAX_DEPTH = 40
MAX_NUMBER = 1e150  # its square is still finite
MAX_DIGITS = 19  # of an integer, as many as nanoseconds need
TEXT, INTEGER, NUMBER = (str,), (int,), (int, float)
MAYBE_NUMBER = (int, float, type(None))  # null if it was not finite
NAMES = {str: "text", int: "an integer", float: "a number", type(None): "null"}


class BadJson(ValueError):
    """The error for text that is not JSON or not of the expected form."""


def read(path: pathlib.Path, form: Any, *, follow: bool = False) -> Any:
    """Returns the content of a JSON file; see `parse` and `files.read_bytes`.

    Raises:
      OSError: the file cannot be read, is not a plain file or is too large.
      BadJson: its content is not JSON of the form.
    """
    return parse(files.read_bytes(path, MAX_BYTES, follow=follow), form)


def parse(text: str | bytes, form: Any) -> Any:
    """Returns the value of JSON text of the given form.

    A number that is not finite or is above `MAX_NUMBER` becomes None, as in the files of a run.

    Raises:
      BadJson: the text is not JSON or not of the form, is nested deeper than `MAX_DEPTH`, or has a
        longer integer than `MAX_DIGITS` or text that is not Unicode.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_number)
        _check_depth(value, MAX_DEPTH)
    except RecursionError as error:
        raise BadJson("it is nested too deeply") from error
    except ValueError as error:
        raise BadJson(str(error)) from error
    check(value, form)
    return value


def check(value: Any, form: Any, where: str = "") -> None:
    """Raises BadJson unless a value is of the form; `where` is its place in the whole."""
    if isinstance(form, dict):
        _check_type(value, (dict,), where)
        for key, part in form.items():
            if key is str:
                for name, each in value.items():
                    check(each, part, f"{where}.{name}")
            elif (name := key.removesuffix("?")) in value:
                check(value[name], part, f"{where}.{name}")
            elif name == key:
                raise BadJson(f"{where.strip('.') or 'it'} lacks {key}")
    elif isinstance(form, list):
        _check_type(value, (list,), where)
        for number, each in enumerate(value):
            check(each, form[0], f"{where}[{number}]")
    else:
        _check_type(value, form, where)


def _check_type(value: Any, types: tuple[type, ...], where: str) -> None:
    if type(value) not in types:  # `isinstance` would take True for an integer
        found = {dict: "an object", list: "a list", bool: "true or false"} | NAMES
        expected = " or ".join(found[kind] for kind in types if kind is not int or len(types) == 1)
        raise BadJson(f"{where.strip('.') or 'it'} is {found[type(value)]}; expected {expected}")


def _check_depth(value: Any, depth: int) -> None:
    if depth < 0:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        value.encode()  # fails on half of a surrogate pair
    elif isinstance(value, dict | list):
        for each in value:
            _check_depth(each, depth - 1)
        for each in value.values() if isinstance(value, dict) else ():
            _check_depth(each, depth - 1)


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"it has an integer of more than {MAX_DIGITS} digits")
    return int(text)


def _number(text: str) -> float | None:
    return value if abs(value := float(text)) <= MAX_NUMBER else None  # NaN is not
