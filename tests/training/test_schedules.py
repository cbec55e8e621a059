"""The learning-rate schedules."""

import math

import jax
import pytest

from jaxcifar.training import schedules


def schedule(name, steps_per_epoch, num_epochs, learning_rate=0.4, **keys):
    return schedules.build_schedule(
        {"name": name, **keys}, learning_rate, steps_per_epoch, num_epochs
    )


def huggingface_cosine(step, warmup, total):
    """The factor of get_cosine_schedule_with_warmup with num_cycles=½."""
    if step < warmup:
        return step / max(1, warmup)
    progress = (step - warmup) / max(1, total - warmup)
    return max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("warmup_epochs", [0, 2.0, 0.5, 5, 7])
def test_warmup_cosine_equals_that_of_hugging_face(warmup_epochs, jitted):
    """Even if the warm-up is as long as the run or longer, as in a short trial of a config."""
    rate = schedule("warmup_cosine", 10, 5, warmup_epochs=warmup_epochs)
    rate = jax.jit(rate) if jitted else rate
    for step in range(50):
        want = 0.4 * huggingface_cosine(step, 10 * warmup_epochs, 50)
        assert float(rate(step)) == pytest.approx(want, rel=1e-5, abs=1e-7), step


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize(
    ("name", "keys", "values"),
    [
        ("constant", {}, {0: 0.4, 17: 0.4, 999: 0.4}),
        (
            "step",
            {"every_epochs": 3, "factor": 0.1},
            {0: 0.4, 29: 0.4, 30: 0.04, 59: 0.04, 60: 0.004, 95: 0.0004},
        ),
        (  # PyTorch's MultiStepLR
            "multistep",
            {"at_epochs": (3, 5), "factor": 0.2},
            {0: 0.4, 29: 0.4, 30: 0.08, 49: 0.08, 50: 0.016, 999: 0.016},
        ),
        ("multistep", {"at_epochs": (3, 2**31 - 1), "factor": 0.2}, {29: 0.4, 30: 0.08}),
        (
            "cosine",
            {"floor": 0.2, "period_epochs": 4},
            {0: 0.4, 9: 0.4, 10: 0.3 + 0.1 / 2**0.5, 20: 0.3, 30: 0.3 - 0.1 / 2**0.5, 49: 0.2},
        ),
        # report 004: period 100, at its last epoch, 39, the rate is still high
        (
            "cosine",
            {"floor": 0.0, "period_epochs": 100},
            {399: 0.2 * (1 + math.cos(0.39 * math.pi))},
        ),
    ],
)
def test_schedules(name, keys, values, jitted):
    rate = schedule(name, 10, 100, **keys)
    rate = jax.jit(rate) if jitted else rate
    for step, value in values.items():
        assert float(rate(step)) == pytest.approx(value, rel=1e-5), step
