"""A function's signature as the schema of its section of the config.

    def cosine(*, floor: NonNegative = 0.0, period_epochs: Positive, learning_rate: Given[float])

It says the keys, the type and range of their values, and the defaults; experiments pass the rest.

A key that is added later has a neutral default, what was before it, so that a config saved
without it still means what it meant.
"""

import ast
import difflib
import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, NoReturn, TypeVar, get_args, get_origin

from jaxcifar.errors import UserError

T = TypeVar("T")
Parameters = Mapping[str, inspect.Parameter]
GIVEN = "what the trainer gives, no key of the config"
Given = Annotated[T, GIVEN]


class Where(NamedTuple):
    """A condition on a value, and the words for it in "expected …"."""

    holds: Callable[[Any], Any]
    words: str


def one_of(choices: Collection[str]) -> Where:
    """The condition that a value is one of the choices."""
    return Where(lambda value: value in choices, f"one of {', '.join(choices)}")


Count = Annotated[int, Where(lambda n: n >= 0, "at least 0")]
Positive = Annotated[int, Where(lambda n: n >= 1, "at least 1")]
NonNegative = Annotated[float, Where(lambda x: x >= 0, "at least 0")]
AboveZero = Annotated[float, Where(lambda x: x > 0, "above 0")]
Share = Annotated[float, Where(lambda x: 0 <= x < 1, "at least 0 and below 1")]
Sizes = Annotated[Sequence[Positive], Where(len, "at least one value")]

KINDS: dict[Any, str] = {
    bool: "True or False",
    int: "an integer",
    float: "a finite number",
    str: "a text",
    Sequence: "several values, such as (64, 128) or (64,)",
    Mapping: "a section of keys",
}


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Returns the keys that a function or class takes from the config."""
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ("parent", "name")  # Flax's own
        and GIVEN not in getattr(parameter.annotation, "__metadata__", ())
    }


def complete(section: str, keys: Mapping, expected: Parameters, of: str = "") -> dict[str, Any]:
    """Returns the checked values of `keys`, and the default of every key that is not there.

    `section` is as messages name it, "config.model"; `of` says of which choice, " of name mlp".

    Raises:
      UserError: a key that is not expected (saying which are), one that is needed and not there,
        or a value of another type or out of its range.
    """
    for key in keys:
        if key not in expected:
            refuse_key(section, key, expected, of)
    if missing := [key for key in required(expected) if key not in keys]:
        raise UserError(f"{section}{of} lacks the key {', '.join(missing)}")
    return {
        key: check(f"{section}.{key}", keys.get(key, parameter.default), parameter.annotation)
        for key, parameter in expected.items()
    }


def required(expected: Parameters) -> list[str]:
    """Returns the keys that have no default."""
    return [key for key, p in expected.items() if p.default is inspect.Parameter.empty]


def check(key: str, value: Any, annotation: Any) -> Any:
    """Returns `value` as the annotation says: floats for whole numbers, tuples for lists.

    Raises:
      UserError: it is of another type, not finite, or not where the annotation says.
    """
    base, conditions = _parts(annotation)
    kind = get_origin(base) or base
    if kind not in KINDS:
        return value
    words = ", ".join([KINDS[kind], *(c.words for c in conditions)])
    if kind is float and type(value) is int:
        value = float(value)
    if kind is Sequence and isinstance(value, list):
        value = tuple(value)
    fits = isinstance(value, tuple if kind is Sequence else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{key} is {value!r}; expected {words}")
    if kind is Sequence and get_args(base):
        value = tuple(check(f"{key}[{i}]", v, get_args(base)[0]) for i, v in enumerate(value))
    finite = kind is not float or math.isfinite(value)
    if not finite or not all(condition.holds(value) for condition in conditions):
        raise UserError(f"{key} is {value!r}; expected {words}")
    return value


def check_choice(key: str, value: Any, choices: Collection[str]) -> None:
    """Raises a UserError unless `config.key` has one of the choices."""
    check(f"config.{key}", value, Annotated[str, one_of(choices)])


def parse(text: str, annotation: Any) -> Any:
    """Returns the value that a word of the command line means for a key, or `text`."""
    base, _ = _parts(annotation)
    if base is str:
        return text
    if base is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _parts(annotation: Any) -> tuple[Any, list[Where]]:
    """Returns the type that `annotation` annotates, and the conditions on it."""
    if get_origin(annotation) is not Annotated:
        return annotation, []
    return annotation.__origin__, [c for c in annotation.__metadata__ if isinstance(c, Where)]


def refuse_key(
    section: str, key: str, keys: Iterable[str], of: str = "", elsewhere: Iterable[str] = ()
) -> NoReturn:
    """Raises the UserError about a key that a section does not have."""
    near = nearest(key, [f"{section.partition('.')[2]}.{k}".strip(".") for k in keys])
    near = near or nearest(key, elsewhere)
    guess = f" did you mean config.{near}?" if near else ""
    raise UserError(f"{section}{of} has no key {key};{guess} its keys: {', '.join(keys)}")


def nearest(key: str, keys: Iterable[str]) -> str:
    """Returns which of the keys was probably meant, also by its initials ("lr"), or ""."""
    names = {name.rpartition(".")[2]: name for name in keys}
    initials = {"".join(word[:1] for word in name.split("_")): full for name, full in names.items()}
    close = difflib.get_close_matches(key, names, 1, 0.7)
    return names[close[0]] if close else initials.get(key, "")


def choose(choices: Mapping[str, T], section: str, keys: Mapping) -> T:
    """Returns the choice that the section's `name` makes."""
    if "name" not in keys:
        raise UserError(f"config.{section} lacks the key name; choices: {', '.join(choices)}")
    check_choice(f"{section}.name", keys["name"], choices)
    return choices[keys["name"]]


def of_name(keys: Mapping) -> str:
    """Returns how a message tells a section's choice, " of name mlp", or "" where it has none."""
    return f" of name {keys['name']}" if "name" in keys else ""


def build(choices: Mapping[str, Callable[..., Any]], section: str, keys: Mapping, **given) -> Any:
    """Returns `choices[keys["name"]](**other keys, **given)`: the signature is the schema.

    Raises:
      UserError: an unknown name (saying the choices), or keys that are not the signature's.
    """
    chosen = choose(choices, section, keys)
    rest = {key: value for key, value in keys.items() if key != "name"}
    return call(chosen, section, rest, of_name(keys), **given)


def divide(shared: Callable[..., T], section: str, keys: Mapping) -> tuple[T, dict[str, Any]]:
    """Returns what `shared` makes of its keys, and the other keys of the section."""
    names = parameters(shared)
    own = {key: value for key, value in keys.items() if key not in names}
    return call(shared, section, {k: v for k, v in keys.items() if k in names}), own


def call(function: Callable[..., Any], section: str, keys: Mapping, of: str = "", **given) -> Any:
    """Returns `function(**keys, **given)`, first checking `keys` against the signature."""
    checked = complete(f"config.{section}", keys, parameters(function), of)
    return function(**checked, **given)
