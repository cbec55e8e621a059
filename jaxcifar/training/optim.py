"""Optimizers: optax chains with the same updates as PyTorch.

`weight_decay` is coupled L2: it is added to the gradient of every parameter, as in the reports.
`decoupled_weight_decay` is AdamW's (arXiv 1711.05101) in PyTorch's form: an update also does
p ← p − rate·decay·p. The learning rate multiplies the update after momentum, so that a change of
rate takes full effect at once, as in PyTorch. `step` counts batches; with accumulation, there is
one update per `accumulate_steps` batches.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from jaxcifar.config import fields
from jaxcifar.config.fields import (
    AboveZero,
    Constraint,
    NonNegative,
    Positive,
    Share,
)
from jaxcifar.errors import UserError
from jaxcifar.training import freeze
from jaxcifar.training.schedules import NEVER, Schedule

AtMost100 = Constraint(lambda n: n <= 100, "at most 100")


class Shared(NamedTuple):
    """The keys of `config.optimizer` that all optimizers share."""

    learning_rate: Annotated[NonNegative, "learning rate; the schedule multiplies it"]
    weight_decay: Annotated[
        NonNegative, "strength of coupled L2, which adds strength × weights to the gradient"
    ] = 0.0
    clip_norm: Annotated[NonNegative, "largest global norm of the gradient; 0 does not clip"] = 0.0
    ema_decay: Annotated[
        Share, "decay of the averaged weights, which evaluation uses; 0 turns averaging off"
    ] = 0.0
    decoupled_weight_decay: Annotated[
        NonNegative, "weight decay as in AdamW, times the learning rate"
    ] = 0.0
    normalize_kernels: Annotated[
        bool, "rescale each kernel to the norm √C_out before its update"
    ] = False
    skip_nonfinite: Annotated[bool, "skip updates whose gradient is not finite"] = False
    freeze: Annotated[
        Sequence[str],
        "names or patterns of layers and parameters that keep their values, such as conv,stage0*",
    ] = ()


def sgd(
    *,
    momentum: Annotated[Share, "momentum; 0 is plain SGD"] = 0.0,
    nesterov: Annotated[bool, "Nesterov's momentum"] = False,
) -> optax.GradientTransformation:
    """SGD: v ← momentum·v + g; the update is v, or g + momentum·v with Nesterov."""
    if nesterov and not momentum:
        raise UserError("config.optimizer.nesterov is True, but momentum is 0; expected above 0")
    return optax.trace(momentum, nesterov) if momentum else optax.identity()


def adam(
    *,
    b1: Annotated[Share, "decay of the mean gradient"] = 0.9,
    b2: Annotated[Share, "decay of the mean squared gradient"] = 0.999,
    eps: Annotated[AboveZero, "added to the root of the mean squared gradient"] = 1e-8,
) -> optax.GradientTransformation:
    """Adam (arXiv 1412.6980) with epsilon outside the root."""
    return optax.scale_by_adam(b1, b2, eps)


def rmsprop(
    *,
    decay: Annotated[Share, "decay of the mean squared gradient"] = 0.99,
    eps: Annotated[AboveZero, "added to the root of the mean squared gradient"] = 1e-8,
    momentum: Annotated[Share, "momentum of the scaled gradient; 0 is none"] = 0.0,
) -> optax.GradientTransformation:
    """RMSprop as in PyTorch: epsilon outside the root, momentum on the scaled gradient."""
    scale = optax.scale_by_rms(decay, eps, eps_in_sqrt=False)
    return optax.chain(scale, optax.trace(momentum)) if momentum else scale


def muon(
    *,
    momentum: Annotated[Share, "Nesterov momentum of the kernels"],
    newton_schulz_steps: Annotated[Positive, AtMost100, "Newton–Schulz iterations per update"],
    rest_momentum: Annotated[Share, "Nesterov momentum of Dense matrices and biases"],
    rest_decay: Annotated[NonNegative, "weight decay of Dense matrices and biases"],
    head_factor: Annotated[
        NonNegative, "learning rate of Dense matrices, as a multiple of the kernels'"
    ],
    bias_factor: Annotated[NonNegative, "learning rate of biases, as a multiple of the kernels'"],
) -> optax.GradientTransformation:
    """Muon (Jordan 2024) for convolution kernels; SGD with Nesterov momentum for the rest.

    Newton–Schulz iterations orthogonalise a kernel's momentum, as a matrix [k·k·C_in, C_out].
    Dense matrices and biases use `head_factor` and `bias_factor` times the learning rate of the
    kernels, with a weight decay of `rest_decay` at the kernels' rate.
    """
    dimensions = contrib.MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
    kernels = contrib.scale_by_muon(
        ns_steps=newton_schulz_steps,
        beta=momentum,
        weight_dimension_numbers=lambda tree: jax.tree.map(lambda _: dimensions, tree),
    )
    # The decay is added after the factor, so that it uses the kernels' rate, as in the records.
    head, bias = (
        optax.chain(
            optax.scale(factor),
            optax.add_decayed_weights(rest_decay),
            optax.trace(rest_momentum, nesterov=True),
        )
        for factor in (head_factor, bias_factor)
    )
    group = {4: "kernel", 2: "head", 1: "bias"}
    return optax.partition(
        {"kernel": kernels, "head": head, "bias": bias},
        lambda params: jax.tree.map(lambda leaf: group[leaf.ndim], params),
    )


def normalize_kernels() -> optax.GradientTransformation:
    """Rescales each convolution kernel to norm √C_out before adding its update (airbench).

    It must be last in its chain, after the learning rate.
    """

    def update(updates: Any, state: optax.EmptyState, params: Any) -> tuple[Any, Any]:
        def rescale_and_update(update: jax.Array, kernel: jax.Array) -> jax.Array:
            if kernel.ndim != 4:
                return update
            scale = jnp.sqrt(kernel.shape[-1]) / jnp.linalg.norm(kernel)
            return update + (scale - 1) * kernel

        return jax.tree.map(rescale_and_update, updates, params), state

    return optax.GradientTransformation(optax.init_empty_state, update)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "adam": adam,
    "rmsprop": rmsprop,
    "muon": muon,
}
ELEMENTWISE = ("sgd", "adam", "rmsprop")  # each value is updated independently of the others


def build_optimizer(
    keys: Mapping, schedule: Schedule, accumulate_steps: int
) -> optax.GradientTransformation:
    """Returns the optimizer that `config.optimizer` describes; call its `update` once per batch.

    The chain is: clip by global norm → L2 → the named optimizer → decoupled decay → −rate →
    rescale kernels. Parameters that match `freeze` are not updated. `schedule` maps a batch step to
    the learning rate. Gradients are averaged over `accumulate_steps` batches. With
    `skip_nonfinite`, a batch whose gradient is not finite changes nothing: no update is made, and
    the schedule does not advance.
    """
    shared = fields.pick_shared(Shared, keys)
    chosen = fields.build_choice(OPTIMIZERS, keys, Shared._fields)
    if shared.decoupled_weight_decay:
        chosen = optax.chain(chosen, optax.add_decayed_weights(shared.decoupled_weight_decay))
    last = [normalize_kernels()] if shared.normalize_kernels else []
    chain = optax.chain(
        optax.clip_by_global_norm(shared.clip_norm) if shared.clip_norm else optax.identity(),
        optax.add_decayed_weights(shared.weight_decay),
        chosen,
        optax.scale_by_learning_rate(lambda updates: schedule(updates * accumulate_steps)),
        *last,
    )
    if shared.freeze:
        parts = {False: chain, True: optax.set_to_zero()}
        chain = optax.partition(parts, functools.partial(freeze.frozen_leaves, shared.freeze))
    if accumulate_steps > 1:
        chain = optax.MultiSteps(chain, accumulate_steps).gradient_transformation()
    # NEVER: it does not give up after many bad gradients
    return optax.apply_if_finite(chain, NEVER) if shared.skip_nonfinite else chain


def is_elementwise(keys: Mapping) -> bool:
    """Returns whether the optimizer updates each value independently of the others in its leaf.

    Only then may leaves be packed into one vector. Add a new optimizer to ELEMENTWISE if it
    qualifies.
    """
    return keys["name"] in ELEMENTWISE and not keys["normalize_kernels"]


def skipped_updates(opt_state: Any) -> dict[str, int]:
    """Returns the number of skipped updates as a metric; {} without `skip_nonfinite`."""
    if not isinstance(opt_state, optax.ApplyIfFiniteState):
        return {}
    return {"skipped_updates": int(opt_state.total_notfinite)}


def count_taken(step: int, opt_state: Any) -> int:
    """Returns how many of the steps the schedule has counted, which leaves out the skipped ones."""
    return step - skipped_updates(opt_state).get("skipped_updates", 0)
