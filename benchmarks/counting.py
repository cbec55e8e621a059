"""Counts the operations and bytes of a computation from its jaxpr.

Only convolutions and matrix products count: two operations per multiply-add, and the bytes of
their operands and results once each. Everything else is assumed to be fused into them and free,
so a time computed from these counts and a machine's peak rates is a lower bound.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from jaxcifar import models
from jaxcifar.data.split import SIZE
from jaxcifar.training.experiment import Experiment


class Count(NamedTuple):
    """The least work of a computation: operations, and bytes moved from and to memory."""

    operations: int
    bytes: int


def count(function: Callable[..., Any], *arguments: Any) -> Count:
    """Returns the count of `function(*arguments)`; arrays may be `jax.ShapeDtypeStruct`s.

    Raises:
      ValueError: a `while` or `cond` multiplies, but the jaxpr does not say how often it runs.
    """
    return _count_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def count_forward(parts: Experiment, batch_size: int) -> Count:
    """Returns the count of the model's forward pass on a batch, in training mode."""
    return count(*_abstract_loss(parts, batch_size))


def count_gradient(parts: Experiment, batch_size: int, size: int = SIZE) -> Count:
    """Returns the count of a training step: the gradient of the loss on a batch."""
    loss, *arguments = _abstract_loss(parts, batch_size, size)
    return count(jax.grad(loss), *arguments)


def _abstract_loss(parts: Experiment, batch_size: int, size: int = SIZE) -> tuple[Any, ...]:
    """Returns the loss as a function, and the shapes of its arguments.

    The model is the plain one, without a platform's own layers, whose extra work is not counted.
    """
    c, variables = parts.config, parts.abstract_model()
    model = models.build_model(c.model, models.DTYPES[c.compute_dtype], platform="")
    images = jax.ShapeDtypeStruct((batch_size, size, size, 3), jnp.float32)
    labels = jax.ShapeDtypeStruct((batch_size,), jnp.int32)

    def loss(params: Any, batch_stats: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        (logits, _), _ = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats"],
        )
        return parts.loss.per_example(logits, labels).mean()

    return loss, variables["params"], variables["batch_stats"], images, labels


def _count_jaxpr(jaxpr: Jaxpr) -> Count:
    operations = size = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in MULTIPLY_ADDS:
            operations += 2 * MULTIPLY_ADDS[name](equation)
            arrays = [v.aval for v in (*equation.invars, *equation.outvars)]
            size += sum(a.size * a.dtype.itemsize for a in arrays)
        for inner in _inner_jaxprs(equation):
            inside = _count_jaxpr(inner)
            if inside.operations and name in ("while", "cond"):
                raise ValueError(f"cannot count a {name}: the jaxpr does not say how often it runs")
            times = equation.params["length"] if name == "scan" else 1
            operations += times * inside.operations
            size += times * inside.bytes
    return Count(operations, size)


def _inner_jaxprs(equation: JaxprEqn) -> Iterator[Jaxpr]:
    """Yields the jaxprs inside an equation, such as a jit, remat, custom_jvp or scan."""
    for value in equation.params.values():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, Jaxpr):
                yield each


def count_positions(axes: Iterable[tuple[int, int, int]]) -> int:
    """Returns the number of positions at which a convolution or one of its gradients multiplies.

    `axes` has the extents of input, kernel and output along each image axis. Two of a triple's
    positions fix the third, so an axis has at most the product of its two smallest extents.
    Counted this way, padding and the zeros that strides insert into the gradients cost nothing,
    and the convolution and its two gradients cost the same.
    """
    return math.prod(math.prod(sorted(extents)[:2]) for extents in axes)


def _conv_multiply_adds(equation: JaxprEqn) -> int:
    """Returns the multiply-adds of a convolution or of one of its two gradients."""
    lhs, rhs, out = (v.aval.shape for v in (*equation.invars, *equation.outvars))
    lhs_spec, rhs_spec, out_spec = equation.params["dimension_numbers"]
    # batch × output features × input features per group
    channels = out[out_spec[0]] * out[out_spec[1]] * rhs[rhs_spec[1]]
    axes = zip(lhs_spec[2:], rhs_spec[2:], out_spec[2:], strict=True)
    return channels * count_positions([(lhs[i], rhs[j], out[k]) for i, j, k in axes])


def _dot_multiply_adds(equation: JaxprEqn) -> int:
    """Returns the multiply-adds of a matrix product."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    lhs = equation.invars[0].aval.shape
    return equation.outvars[0].aval.size * math.prod(lhs[i] for i in contracted)


MULTIPLY_ADDS: dict[str, Callable[[JaxprEqn], int]] = {
    "conv_general_dilated": _conv_multiply_adds,
    "dot_general": _dot_multiply_adds,
}
