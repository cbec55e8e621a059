"""A function's signature as the schema of its section of the config.

    def cosine(*, floor: NonNegative = 0.0, period_epochs: Positive, learning_rate: Injected[float])

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
INJECTED = "what the trainer gives, no key of the config"
Injected = Annotated[T, INJECTED]


class Constraint(NamedTuple):
    """A condition on a value, and the words for it in "expected …"."""

    holds: Callable[[Any], Any]
    words: str


def one_of(choices: Collection[str]) -> Constraint:
    """The condition that a value is one of the choices."""
    return Constraint(lambda value: value in choices, f"one of {', '.join(choices)}")


Count = Annotated[int, Constraint(lambda n: n >= 0, "at least 0")]
Positive = Annotated[int, Constraint(lambda n: n >= 1, "at least 1")]
NonNegative = Annotated[float, Constraint(lambda x: x >= 0, "at least 0")]
AboveZero = Annotated[float, Constraint(lambda x: x > 0, "above 0")]
Share = Annotated[float, Constraint(lambda x: 0 <= x < 1, "at least 0 and below 1")]
Sizes = Annotated[Sequence[Positive], Constraint(len, "at least one value")]

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
        and INJECTED not in getattr(parameter.annotation, "__metadata__", ())
    }


def complete_keys(
    section: str, keys: Mapping, expected: Parameters, of: str = ""
) -> dict[str, Any]:
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
        key: check_value(f"{section}.{key}", keys.get(key, parameter.default), parameter.annotation)
        for key, parameter in expected.items()
    }


def required(expected: Parameters) -> list[str]:
    """Returns the keys that have no default."""
    return [key for key, p in expected.items() if p.default is inspect.Parameter.empty]


def check_value(key: str, value: Any, annotation: Any) -> Any:
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
        value = tuple(check_value(f"{key}[{i}]", v, get_args(base)[0]) for i, v in enumerate(value))
    finite = kind is not float or math.isfinite(value)
    if not finite or not all(condition.holds(value) for condition in conditions):
        raise UserError(f"{key} is {value!r}; expected {words}")
    return value


def check_choice(key: str, value: Any, choices: Collection[str]) -> None:
    """Raises a UserError unless `config.key` has one of the choices."""
    check_value(f"config.{key}", value, Annotated[str, one_of(choices)])


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


def _parts(annotation: Any) -> tuple[Any, list[Constraint]]:
    """Returns the type that `annotation` annotates, and the conditions on it."""
    if get_origin(annotation) is not Annotated:
        return annotation, []
    return annotation.__origin__, [c for c in annotation.__metadata__ if isinstance(c, Constraint)]


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


def find_choice(choices: Mapping[str, T], section: str, keys: Mapping) -> T:
    """Returns the choice that the section's `name` makes."""
    if "name" not in keys:
        raise UserError(f"config.{section} lacks the key name; choices: {', '.join(choices)}")
    check_choice(f"{section}.name", keys["name"], choices)
    return choices[keys["name"]]


def of_name(keys: Mapping) -> str:
    """Returns how a message tells a section's choice, " of name mlp", or "" where it has none."""
    return f" of name {keys['name']}" if "name" in keys else ""


def build_choice(
    choices: Mapping[str, Callable[..., T]], keys: Mapping, shared: Collection[str], **injected: Any
) -> T:
    """Returns `choices[keys["name"]](**keys, **injected)`, without the name and the shared keys."""
    own = {key: value for key, value in keys.items() if key not in ("name", *shared)}
    return choices[keys["name"]](**own, **injected)


def pick(shared: type[T], keys: Mapping) -> T:
    """Returns the NamedTuple `shared` made from those of the keys that it has."""
    return shared(**{key: keys[key] for key in shared._fields if key in keys})  # type: ignore[attr-defined]
