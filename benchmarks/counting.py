"""Operations and bytes of a computation, counted from its jaxpr.

Only convolutions and matrix products count: two operations for each multiply-add, and the bytes
of operands and result once each. All else is taken as fused into them and free, so a time made
of these counts and of a machine's peaks is a bound from below.
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
    """What a computation does at least: operations, and bytes from and to memory."""

    operations: int
    bytes: int


def count(function: Callable[..., Any], *arguments: Any) -> Count:
    """Returns the count of `function(*arguments)`; arrays may be `jax.ShapeDtypeStruct`s."""
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def forward(parts: Experiment, batch_size: int) -> Count:
    """Returns the count of the model's forward pass on a batch, in training mode."""
    return count(*_loss(parts, batch_size))


def gradient(parts: Experiment, batch_size: int, size: int = SIZE) -> Count:
    """Returns the count of the gradient of the model's loss on a batch: a training step's."""
    loss, *arguments = _loss(parts, batch_size, size)
    return count(jax.grad(loss), *arguments)


def _loss(parts: Experiment, batch_size: int, size: int = SIZE) -> tuple[Any, ...]:
    """Returns the loss as a function, and its arguments as shapes.

    Of the plain model: what a platform's own layers compute besides is not the model's.
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
        return parts.loss.examples(logits, labels).mean()

    return loss, variables["params"], variables["batch_stats"], images, labels


def _count(jaxpr: Jaxpr) -> Count:
    operations = size = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in MULTIPLY_ADDS:
            operations += 2 * MULTIPLY_ADDS[name](equation)
            arrays = [v.aval for v in (*equation.invars, *equation.outvars)]
            size += sum(a.size * a.dtype.itemsize for a in arrays)
        for inner in _inner(equation):
            inside = _count(inner)
            if inside.operations and name in ("while", "cond"):
                raise ValueError(f"cannot count a {name}: how often it runs is not in the jaxpr")
            times = equation.params["length"] if name == "scan" else 1
            operations += times * inside.operations
            size += times * inside.bytes
    return Count(operations, size)


def _inner(equation: JaxprEqn) -> Iterator[Jaxpr]:
    """Yields the jaxprs inside an equation: of jit, remat, custom_jvp, custom_vjp, scan …"""
    for value in equation.params.values():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, Jaxpr):
                yield each


def positions(axes: Iterable[tuple[int, int, int]]) -> int:
    """Returns how many positions a convolution, or one of its two gradients, multiplies at.

    Along each axis of the image, two of the positions in input, kernel and output fix the third,
    so there are at most as many as the two smaller extents multiplied. This way padding and the
    zeros that strides bring into the gradients do not count, and all three count the same.
    """
    return math.prod(math.prod(sorted(extents)[:2]) for extents in axes)


def _convolution(equation: JaxprEqn) -> int:
    """Returns the multiply-adds of a convolution or of one of its two gradients."""
    lhs, rhs, out = (v.aval.shape for v in (*equation.invars, *equation.outvars))
    lhs_spec, rhs_spec, out_spec = equation.params["dimension_numbers"]
    total = out[out_spec[0]] * out[out_spec[1]] * rhs[rhs_spec[1]]  # batch, features, inputs each
    axes = zip(lhs_spec[2:], rhs_spec[2:], out_spec[2:], strict=True)
    return total * positions([(lhs[i], rhs[j], out[k]) for i, j, k in axes])


def _product(equation: JaxprEqn) -> int:
    """Returns the multiply-adds of a matrix product."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    lhs = equation.invars[0].aval.shape
    return equation.outvars[0].aval.size * math.prod(lhs[i] for i in contracted)


MULTIPLY_ADDS: dict[str, Callable[[JaxprEqn], int]] = {
    "conv_general_dilated": _convolution,
    "dot_general": _product,
}
