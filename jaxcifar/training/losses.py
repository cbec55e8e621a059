"""Losses, and the sums from which mean loss and accuracy are computed."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcifar.config import fields
from jaxcifar.config.fields import AboveZero, NonNegative, Share

Array = jax.Array
_norm = jax.jit(optax.tree.norm)


class Loss(NamedTuple):
    """A loss per example, [B], which scoring reports, and a scalar penalty on the parameters.

    With class weights, training minimises Σ weighted losses / Σ weights.
    """

    per_example: Callable[[Array, Array], Array]  # (logits, labels)
    penalty: Callable[[Any], Array]
    # (logits, labels) -> weighted losses [B] and weights [B]; None without class weights
    weighted: Callable[[Array, Array], tuple[Array, Array]] | None = None


def cross_entropy(
    *,
    label_smoothing: Annotated[Share, "probability that is spread evenly over all classes"] = 0.0,
    l1: Annotated[NonNegative, "strength of the L1 penalty on all parameters"] = 0.0,
    class_weights: Annotated[
        Sequence[AboveZero], "weight of each class in training; () weights all equally"
    ] = (),
) -> Loss:
    """Returns the loss −Σ_c q_c log p_c with the penalty l1·Σ|w| over all parameters.

    q = (1 − s)·onehot + s/num_classes with s = label_smoothing. Class weights w act as in PyTorch's
    CrossEntropyLoss(weight=w): the loss of a batch is −Σ_b Σ_c w_c q_bc log p_bc / Σ_b w_(label of
    b). They act on training only; logged losses are not weighted.
    """

    def per_example(logits: Array, labels: Array, weights: Array | float = 1.0) -> Array:
        log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
        # indexing would cost two more GPU kernels, because its gradient is a scatter
        mine = labels[:, None] == jnp.arange(log_p.shape[1])
        log_p = log_p if isinstance(weights, float) else weights * log_p
        hard = -jnp.where(mine, log_p, 0).sum(1)
        return (1 - label_smoothing) * hard - label_smoothing * log_p.mean(1)

    def penalty(params: Any) -> Array:
        return l1 * optax.tree.norm(params, ord=1) if l1 else jnp.zeros(())

    def weighted(logits: Array, labels: Array) -> tuple[Array, Array]:
        weights = jnp.array(class_weights, jnp.float32)
        return per_example(logits, labels, weights), weights[labels]

    return Loss(per_example, penalty, weighted if class_weights else None)


LOSSES = {"cross_entropy": cross_entropy}


def build_loss(keys: Mapping) -> Loss:
    """Returns the loss that `config.loss` describes."""
    return fields.build_choice(LOSSES, keys, ())


class Sums(NamedTuple):
    """Sums over examples, scalars on the device; divide once, at the end.

    `gradient_norm` adds the norm of a batch's gradient once per example; None if it is not logged.
    """

    loss: Array
    correct: Array
    examples: Array
    gradient_norm: Array | None = None

    def means(self) -> dict[str, float]:
        """Returns mean loss and accuracy as Python floats; without examples the loss is NaN."""
        n = int(self.examples)
        loss = float(self.loss) / n if n else math.nan
        return {"loss": loss, "accuracy": int(self.correct) / max(n, 1)}

    def norms(self, params: Any) -> dict[str, float]:
        """Returns the mean gradient norm and the global L2 norm of `params`; {} if not logged."""
        if self.gradient_norm is None:
            return {}
        n = int(self.examples)
        gradient_norm = float(self.gradient_norm) / n if n else math.nan
        return {"gradient_norm": gradient_norm, "weight_norm": float(_norm(params))}


def zero_sums(log_norms: bool = False) -> Sums:
    """Returns sums of zero, with a gradient norm if it is logged."""
    norm = jnp.zeros(()) if log_norms else None
    return Sums(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), norm)


def count(losses: Array, logits: Array, labels: Array) -> Sums:
    """Returns the sums of a batch: losses [B], logits [B, num_classes], labels [B]."""
    correct = (logits.argmax(-1) == labels).sum(dtype=jnp.int32)
    return Sums(losses.sum(), correct, jnp.asarray(labels.shape[0], jnp.int32))


@functools.partial(jax.jit, static_argnums=0)
def evaluate(loss: Loss, logits: Array, labels: Array) -> Sums:
    """Returns the sums over a whole split: logits [N, num_classes], labels [N]."""
    return count(loss.per_example(logits, labels), logits, labels)
