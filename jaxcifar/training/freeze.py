"""Frozen layers, `config.optimizer.freeze`: their parameters and statistics keep their values.

A pattern is the name of a module or a parameter, such as block0 or head/dense0/kernel, or matches
several with `*`, `?` and `[…]`. A frozen BatchNorm normalises by its running averages in training
too, as in Keras, so that frozen layers compute the same in training and in evaluation.
"""

import contextlib
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
from flax import traverse_util

from jaxcifar.errors import UserError
from jaxcifar.ops.batch_norm import FusedBatchNorm

Patterns = Sequence[str]
MOST_NAMES = 12  # in a message


def is_frozen(patterns: Patterns, path: str) -> bool:
    """Returns whether a pattern matches the path of a parameter or of a module around it."""
    return any(fnmatch.fnmatchcase(path, glob) for p in patterns for glob in (p, f"{p}/*"))


def frozen_leaves(patterns: Patterns, params: Any) -> Any:
    """Returns the tree of `params` with True for a frozen leaf and False for the others."""

    def frozen(path: tuple[Any, ...], _: Any) -> bool:
        return is_frozen(patterns, "/".join(path))

    return traverse_util.path_aware_map(frozen, params)


def check_patterns(patterns: Patterns, params: Any) -> None:
    """Raises a UserError if a pattern matches no parameter, or if nothing is left to train."""
    for pattern in patterns:
        if not any(jax.tree.leaves(frozen_leaves([pattern], params))):
            names = first_names(params)
            names = [name for name in names if pattern in name] or names
            more = ", …" * (len(names) > MOST_NAMES)
            raise UserError(
                f"config.optimizer.freeze: {pattern!r} matches no parameter; expected names such"
                f" as {', '.join(names[:MOST_NAMES])}{more}, in which * may stand for any"
                " characters; --summary lists all"
            )
    if patterns and all(jax.tree.leaves(frozen_leaves(patterns, params))):
        raise UserError("config.optimizer.freeze matches every parameter: nothing is left to train")


def first_names(params: Mapping[str, Any]) -> list[str]:
    """Returns the paths of the modules and parameters at the first level that has several."""
    if len(params) > 1:
        return list(params)
    ((name, inner),) = params.items()
    if not isinstance(inner, Mapping):
        return [name]
    return [f"{name}/{path}" for path in first_names(inner)]


def keep_frozen(patterns: Patterns, old: Any, new: Any) -> Any:
    """Returns the tree `new` with the frozen leaves of `old`."""
    if not patterns:
        return new
    mask = frozen_leaves(patterns, new)
    return jax.tree.map(lambda frozen, a, b: a if frozen else b, mask, old, new)


def frozen_norms(patterns: Patterns) -> contextlib.AbstractContextManager[Any]:
    """Makes each BatchNorm whose parameters are all frozen use its running averages."""
    if not patterns:
        return contextlib.nullcontext()

    def intercept(call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
        module = context.module
        if not (isinstance(module, nn.BatchNorm | FusedBatchNorm) and module.path):
            return call(*arguments, **keywords)
        path, variables = "/".join(module.path), module.variables
        if not all(is_frozen(patterns, f"{path}/{name}") for name in variables["params"]):
            return call(*arguments, **keywords)
        evaluated = nn.BatchNorm(
            use_running_average=True,
            epsilon=module.epsilon,
            use_scale=module.use_scale,
            dtype=module.dtype,
        )
        return evaluated.apply(variables, *arguments)

    return nn.intercept_methods(intercept)
