"""Learning-rate schedules: functions of the step, which counts batches."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax.numpy as jnp

from jaxcifar.config import fields
from jaxcifar.config.fields import Injected, NonNegative, Positive, Share, Sizes

NEVER = 2**31 - 1  # steps; the step is an int32
Schedule = Callable[[Any], Any]  # step -> learning rate, both numbers or arrays


def constant(
    *, learning_rate: Injected[float], steps_per_epoch: Injected[int], num_epochs: Injected[int]
) -> Schedule:
    """Keeps the learning rate constant."""
    return lambda step: learning_rate


def warmup_cosine(
    *,
    warmup_epochs: Annotated[NonNegative, "epochs in which the rate rises from 0"] = 0.0,
    learning_rate: Injected[float],
    steps_per_epoch: Injected[int],
    num_epochs: Injected[int],
) -> Schedule:
    """Rises linearly from 0 for `warmup_epochs`, then falls to 0 by half a cosine, step by step.

    This is `get_cosine_schedule_with_warmup` of Hugging Face Transformers, which report 000 uses.
    """
    warmup_steps = round(warmup_epochs * steps_per_epoch)
    cosine_steps = max(1, num_epochs * steps_per_epoch - warmup_steps)

    def schedule(step):
        warmup = step / max(1, warmup_steps)
        progress = jnp.clip((step - warmup_steps) / cosine_steps, 0, 1)
        return learning_rate * jnp.where(
            step < warmup_steps, warmup, (1 + jnp.cos(jnp.pi * progress)) / 2
        )

    return schedule


def step_decay(
    *,
    every_epochs: Annotated[Positive, "epochs between two changes of the rate"],
    factor: Annotated[NonNegative, "factor by which the rate is multiplied at each change"],
    learning_rate: Injected[float],
    steps_per_epoch: Injected[int],
    num_epochs: Injected[int],
) -> Schedule:
    """Multiplies the rate by `factor` after every `every_epochs` epochs."""
    every_steps = min(every_epochs * steps_per_epoch, NEVER)
    return lambda step: learning_rate * factor ** (step // every_steps)


def multistep(
    *,
    at_epochs: Annotated[Sizes, "numbers of epochs after which the rate changes"],
    factor: Annotated[NonNegative, "factor by which the rate is multiplied at each change"],
    learning_rate: Injected[float],
    steps_per_epoch: Injected[int],
    num_epochs: Injected[int],
) -> Schedule:
    """Multiplies the rate by `factor` after each number of epochs in `at_epochs`."""
    ends = [min(epochs * steps_per_epoch, NEVER) for epochs in at_epochs]
    return lambda step: learning_rate * factor ** sum(step >= end for end in ends)


def cosine(
    *,
    floor: Annotated[NonNegative, "lowest learning rate"] = 0.0,
    period_epochs: Annotated[Positive, "epochs from the highest rate to the lowest"],
    learning_rate: Injected[float],
    steps_per_epoch: Injected[int],
    num_epochs: Injected[int],
) -> Schedule:
    """The rate of an epoch is floor + (rate − floor)·(1 + cos(π·epoch/period_epochs))/2."""

    def schedule(step):
        epoch = step // steps_per_epoch
        return floor + (learning_rate - floor) * (1 + jnp.cos(jnp.pi * epoch / period_epochs)) / 2

    return schedule


def triangle(
    *,
    start: Annotated[NonNegative, "rate of the first step, as a multiple of learning_rate"],
    peak: Annotated[Share, "fraction of the run at which the rate peaks at learning_rate"],
    end: Annotated[NonNegative, "rate of the last step, as a multiple of learning_rate"],
    learning_rate: Injected[float],
    steps_per_epoch: Injected[int],
    num_epochs: Injected[int],
) -> Schedule:
    """Goes linearly from start·rate to rate at the fraction `peak` of the run, then to end·rate."""
    total = num_epochs * steps_per_epoch

    def schedule(step):
        rising = start + (1 - start) * step / max(1, peak * total)
        falling = 1 + (end - 1) * (step - peak * total) / (total - peak * total)
        return learning_rate * jnp.where(step < peak * total, rising, falling)

    return schedule


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "warmup_cosine": warmup_cosine,
    "step": step_decay,
    "multistep": multistep,
    "cosine": cosine,
    "triangle": triangle,
}


def build_schedule(
    keys: Mapping, learning_rate: float, steps_per_epoch: int, num_epochs: int
) -> Schedule:
    """Returns the schedule that `config.schedule` describes, step -> learning rate."""
    return fields.build_choice(
        SCHEDULES,
        keys,
        (),
        learning_rate=learning_rate,
        steps_per_epoch=steps_per_epoch,
        num_epochs=num_epochs,
    )
