"""Checks config values: the signature of a function is the schema of its section.

    def cosine(*, floor: NonNegative = 0.0, period_epochs: Positive, learning_rate: Injected[float])

The signature gives the keys, the types and ranges of their values, and the defaults. Parameters
marked `Injected` are passed by the trainer and are not keys of the config. A string in an
annotation, `Annotated[Positive, "images per step"]`, is the meaning of the key.

A key that is added later needs a neutral default, under which the code does what it did before, so
that configs saved without the key keep their meaning.
"""

import ast
import difflib
import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, NoReturn, TypeVar, get_args, get_origin

from jaxcifar.errors import UserError

T = TypeVar("T")
# Names from other libraries, and what to use for them here.
OTHER_NAMES = {
    "adamw": "adamw is adam with config.optimizer.decoupled_weight_decay",
    "onecycle": "onecycle is triangle",
    "resnet18": "resnet18 is --config=resnet18",
    "wrn28_10": "wrn28_10 is --config=wrn28_10",
}
Parameters = Mapping[str, inspect.Parameter]
INJECTED = "passed by the trainer, not a key of the config"
Injected = Annotated[T, INJECTED]


class Constraint(NamedTuple):
    """A condition on a value, and its description for "expected …"."""

    holds: Callable[[Any], Any]
    words: str


def one_of(choices: Collection[str]) -> Constraint:
    """Returns the constraint that a value is one of the choices."""
    return Constraint(lambda value: value in choices, f"one of {', '.join(choices)}")


Count = Annotated[int, Constraint(lambda n: n >= 0, "at least 0")]
Positive = Annotated[int, Constraint(lambda n: n >= 1, "at least 1")]
NonNegative = Annotated[float, Constraint(lambda x: x >= 0, "at least 0")]
AboveZero = Annotated[float, Constraint(lambda x: x > 0, "above 0")]
Share = Annotated[float, Constraint(lambda x: 0 <= x < 1, "at least 0 and below 1")]
# A received config must not build a net for hours; 1202 is the deepest ResNet of the paper.
Depth = Annotated[int, Constraint(lambda n: 1 <= n <= 1202, "from 1 to 1202")]
Depths = Annotated[
    Sequence[Positive], Constraint(lambda s: 1 <= sum(s) <= 1202, "with a sum from 1 to 1202")
]
Hidden = Annotated[Sequence[Positive], Constraint(lambda s: len(s) <= 100, "at most 100 values")]
Sizes = Annotated[Hidden, Constraint(len, "at least one value")]
NumClasses = Annotated[Positive, "classes that the model tells apart"]

TUPLES: dict[Any, str] = {  # by the type of their values
    int: "a tuple, such as (64, 128) or (64,)",
    float: "a tuple of numbers",
    str: "a tuple, such as ('conv0', 'head')",
}
LIMITS = {int: 2**31 - 1, float: 3.4028234e38}  # of 32 bits
KINDS: dict[Any, str] = {
    bool: "True or False",
    int: "an integer",
    float: "a finite number",
    str: "a string",
    Sequence: "a tuple",
    Mapping: "a section of keys",
}


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a function or class that are keys of the config."""
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ("parent", "name")  # added by Flax
        and INJECTED not in getattr(parameter.annotation, "__metadata__", ())
    }


def complete_keys(
    section: str, keys: Mapping, expected: Parameters, choice: str = ""
) -> dict[str, Any]:
    """Checks the values of `keys` and returns them with the defaults of the missing keys.

    `section`, such as "config.model", and `choice`, such as " (mlp)", name the section in messages.

    Raises:
      UserError: a key is unknown (the message lists the known ones), a required key is missing, or
        a value has the wrong type or is out of range.
    """
    for key in keys:
        if key not in expected:
            refuse_key(section, key, expected, choice)
    if missing := [key for key in required(expected) if key not in keys]:
        raise UserError(f"{section}{choice} lacks the key {', '.join(missing)}")
    return {
        key: check_value(f"{section}.{key}", keys.get(key, parameter.default), parameter.annotation)
        for key, parameter in expected.items()
    }


def required(expected: Parameters) -> list[str]:
    """Returns the keys that have no default."""
    return [key for key, p in expected.items() if p.default is inspect.Parameter.empty]


def check_value(key: str, value: Any, annotation: Any) -> Any:
    """Returns `value` in the type of the annotation: an int becomes a float, a list a tuple.

    Raises:
      UserError: the value has the wrong type, is not finite, or violates a constraint.
    """
    base, conditions = _split_annotation(annotation)
    kind = get_origin(base) or base
    if kind not in KINDS:
        return value
    words, _ = describe_annotation(annotation)
    if kind is float and type(value) is int:
        value = float(value) if abs(value) <= LIMITS[float] else math.inf
    if kind is Sequence and isinstance(value, list):
        value = tuple(value)
    fits = isinstance(value, tuple if kind is Sequence else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{key} is {_show(value)}; expected {words}")
    if kind is Sequence and get_args(base):
        value = tuple(check_value(f"{key}[{i}]", v, get_args(base)[0]) for i, v in enumerate(value))
    if not all(condition.holds(value) for condition in conditions):
        raise UserError(f"{key} is {_show(value)}; expected {words}")
    if kind in LIMITS and not abs(value) <= (limit := LIMITS[kind]):  # NaN is not
        raise UserError(f"{key} is {_show(value)}; expected {words}, of at most {limit:.10g}")
    return value


def _show(value: Any) -> str:
    """Returns a value for a message; a long one is cut off."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no integer of so many digits
        return "an integer of thousands of digits"
    return text if len(text) <= 120 else f"{text[:60]}…"


def describe_annotation(annotation: Any) -> tuple[str, str]:
    """Returns the type and range of a key in words, and its meaning ("" if it has none)."""
    base, conditions = _split_annotation(annotation)
    kind = KINDS[get_origin(base) or base]
    if get_origin(base) is Sequence:
        kind = TUPLES.get(_split_annotation(get_args(base)[0])[0], kind)
    words = ", ".join([kind, *(c.words for c in conditions)])
    texts = [m for m in getattr(annotation, "__metadata__", ()) if isinstance(m, str)]
    return words, texts[-1] if texts else ""


def parse(text: str, annotation: Any) -> Any:
    """Returns the value that a command-line word stands for, or `text` if it cannot be parsed."""
    base, _ = _split_annotation(annotation)
    if base is str:
        return text
    if base is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if get_args(base) == (str,) and text[:1] not in ("(", "["):
        return tuple(filter(None, text.split(",")))
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _split_annotation(annotation: Any) -> tuple[Any, list[Constraint]]:
    """Returns the type in an annotation and its constraints."""
    if get_origin(annotation) is not Annotated:
        return annotation, []
    return annotation.__origin__, [c for c in annotation.__metadata__ if isinstance(c, Constraint)]


def refuse_key(
    section: str, key: str, keys: Iterable[str], choice: str = "", elsewhere: Iterable[str] = ()
) -> NoReturn:
    """Raises a UserError for a key that a section does not have, suggesting a similar one."""
    near = nearest(key, [f"{section.partition('.')[2]}.{k}".strip(".") for k in keys])
    near = near or nearest(key, elsewhere)
    guess = f" did you mean config.{near}?" if near else ""
    raise UserError(f"{section}{choice} has no key {key};{guess} its keys: {', '.join(keys)}")


def nearest(key: str, keys: Iterable[str]) -> str:
    """Returns the key that was probably meant, by spelling or initials ("lr"); "" if none."""
    names = {name.rpartition(".")[2]: name for name in keys}
    initials = {"".join(word[:1] for word in name.split("_")): full for name, full in names.items()}
    close = difflib.get_close_matches(key, names, 1, 0.7)
    return names[close[0]] if close else initials.get(key, "")


def find_choice(choices: Mapping[str, T], section: str, keys: Mapping) -> T:
    """Returns the entry of `choices` that the key `name` of a section selects."""
    if "name" not in keys:
        raise UserError(f"config.{section} lacks the key name; choices: {', '.join(choices)}")
    allowed = one_of(choices)
    if other := OTHER_NAMES.get(str(keys["name"])):
        allowed = allowed._replace(words=f"{allowed.words}; {other}")
    check_value(f"config.{section}.name", keys["name"], Annotated[str, allowed])
    return choices[keys["name"]]


def describe_choice(keys: Mapping) -> str:
    """Returns the `name` of a section for a message, " (mlp)"; "" if it has none."""
    return f" ({keys['name']})" if "name" in keys else ""


def build_choice(
    choices: Mapping[str, Callable[..., T]], keys: Mapping, shared: Collection[str], **injected: Any
) -> T:
    """Calls `choices[keys["name"]]` with its own keys and `injected`, and returns the result.

    Keys in `shared`, which all choices have, are not passed.
    """
    own = {key: value for key, value in keys.items() if key not in ("name", *shared)}
    return choices[keys["name"]](**own, **injected)


def pick_shared(shared: type[T], keys: Mapping) -> T:
    """Returns an instance of the NamedTuple `shared`, whose fields are set from `keys`."""
    return shared(**{key: keys[key] for key in shared._fields if key in keys})  # type: ignore[attr-defined]
