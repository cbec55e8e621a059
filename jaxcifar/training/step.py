"""The train step and the forward pass: pure functions of arrays, bound to a model by `partial`.

A step consists of `prepare`, which needs no weights and can run many steps ahead, and `update`.
Randomness is a function of (seed, step) alone, so a resumed run equals an uninterrupted one, bit
for bit on devices that are deterministic, such as CPUs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import optax
from jax import lax

from jaxcifar.training import freeze, losses, mixing
from jaxcifar.training.augment import MIXING, Augmentation, Batch
from jaxcifar.training.losses import Loss, Sums
from jaxcifar.training.state import Packed, State
from jaxcifar.training.views import mean_over_views

Array = jax.Array
OPTIMIZER = "optimizer"  # name scope of the optimizer in a compiled program


class ModelInputs(NamedTuple):
    """The input of an update: a batch as the model sees it."""

    x: Array  # [B, size, size, 3] in the dtype of the augmentation
    labels: Array  # int32 [B]
    weight: Array | None  # the share of each image against its partner; None unless mixed
    dropout_key: Array


def prepare(batch: Batch, step: Array, *, size: int, augment: Augmentation) -> ModelInputs:
    """Augments the batch of a step and resizes its images to size×size pixels."""
    key = jax.random.fold_in(jax.random.key(batch.seed), step)
    augment_key, dropout_key = jax.random.split(key)
    x, weight = augment.train(augment_key, batch, size), None
    if augment.mix is not None:
        x, weight = augment.mix(jax.random.fold_in(augment_key, MIXING), x)
    return ModelInputs(x, batch.labels, weight, dropout_key)


def update(
    state: State,
    inputs: ModelInputs,
    *,
    unpack: Callable[[Packed], Any] | None = None,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    ema_decay: float,
    log_norms: bool = False,
    frozen: freeze.Patterns = (),
) -> tuple[State, Sums]:
    """Updates the state on a batch and returns the new state and the sums of the batch.

    The sums are computed in training mode, before the update. If images are mixed, the loss is the
    weighted loss of both labels, and the label of the larger part counts as correct. With
    `log_norms` the sums include the global L2 norm of the gradient of loss and penalty, before
    clipping and weight decay. The averaged weights change only when the optimizer updates, which
    with accumulation is not after every batch. `unpack` maps the parameters of a packed state to
    the model's. Layers that match the patterns `frozen` keep their parameters and statistics.
    """

    def objective(params: Any) -> tuple[Array, tuple[Array, Array, Any]]:
        params = params if unpack is None else unpack(params)
        params = freeze.keep_frozen(frozen, lax.stop_gradient(params), params)
        variables = {"params": params, "batch_stats": state.batch_stats}
        rngs = {"dropout": inputs.dropout_key}
        with freeze.frozen_norms(frozen):
            (logits, _), updated = model.apply(
                variables, inputs.x, train=True, rngs=rngs, mutable=["batch_stats"]
            )
        batch = logits, inputs.labels, inputs.weight
        each = mixing.mixed_losses(loss.per_example, *batch)
        mean = mixing.weighted_mean(loss.weighted, *batch) if loss.weighted else each.mean()
        total = mean + loss.penalty(params)
        return total, (each, logits, updated.get("batch_stats", {}))

    gradient, (each, logits, batch_stats) = jax.grad(objective, has_aux=True)(state.params)
    sums = losses.count(each, logits, mixing.main_labels(inputs.labels, inputs.weight))
    if log_norms:
        sums = sums._replace(gradient_norm=sums.examples * optax.tree.norm(gradient))
    with jax.named_scope(OPTIMIZER):
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = _moved_average(state.ema, params, opt_state, ema_decay)
        ema = ema if ema is None else freeze.keep_frozen(frozen, state.ema, ema)
    if isinstance(opt_state, optax.ApplyIfFiniteState):  # a skipped batch changes nothing
        old = state.batch_stats, losses.zero_sums(log_norms)
        batch_stats, sums = optax.tree.where(opt_state.last_finite, (batch_stats, sums), old)
    return State(state.step + 1, params, batch_stats, opt_state, ema), sums


def _moved_average(ema: Any, params: Any, opt_state: Any, decay: float) -> Any:
    """Returns the averaged weights after an update; None if they are off."""
    if ema is None:
        return None
    return _where_updated(opt_state, optax.incremental_update(params, ema, 1 - decay), ema)


def _where_updated(opt_state: Any, new: Any, old: Any) -> Any:
    """Returns `new` if the optimizer made an update, `old` if it skipped or accumulated."""
    if isinstance(opt_state, optax.ApplyIfFiniteState):
        new = _where_updated(opt_state.inner_state, new, old)
        return optax.tree.where(opt_state.last_finite, new, old)
    if not isinstance(opt_state, optax.MultiStepsState):
        return new
    return optax.tree.where(opt_state.mini_step == 0, new, old)


def forward(
    variables: dict[str, Any],
    images: Array,
    *,
    model: nn.Module,
    augment: Augmentation,
    views: int = 1,
) -> tuple[Array, dict[str, Array]]:
    """Returns the logits of uint8 images, [B, num_classes], and the named intermediates.

    The logits are the mean over the views; the intermediates are those of the original images.
    """

    def score(images: Array) -> tuple[Array, dict[str, Array]]:
        return cast(Any, model.apply(variables, augment.normalise(images), train=False))

    if views == 1:
        return score(images)
    logits = mean_over_views(lambda view: score(view)[0], images, views)
    return logits, score(images)[1]
