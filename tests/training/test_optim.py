"""The optimizers against PyTorch's published update rules, written out in numpy."""

import itertools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import tiny
from ml_collections import ConfigDict

from jaxcifar.config import schema
from jaxcifar.errors import UserError
from jaxcifar.training import experiment, optim, scoring

STEPS = 10


SHARED = {"learning_rate": 0.0, "weight_decay": 0.0, "clip_norm": 0.0, "ema_decay": 0.0}


DECOUPLED = {"decoupled_weight_decay": 0.2}


START = {"a": np.array([[1.0, -2.0], [0.5, 3.0]]), "b": np.array([0.1, -0.2, 4.0])}


def rate(step):
    """A learning rate that changes a lot at every step."""
    return 0.1 / (1 + step) if isinstance(step, int) else 0.1 / (1 + step.astype(jnp.float32))


def gradients(params, step):
    """Gradients that depend on the step and on the parameters, so that errors grow."""
    return {k: np.sin(3 * w + step) + 0.3 * w for k, w in params.items()}


def torch_sgd(momentum, nesterov):
    def update(g, m, t):
        m["v"] = g if t == 1 else momentum * m["v"] + g
        return g + momentum * m["v"] if nesterov else m["v"]

    return update


def torch_adam(b1, b2, eps):
    def update(g, m, t):
        m["m"] = b1 * m.get("m", 0) + (1 - b1) * g
        m["v"] = b2 * m.get("v", 0) + (1 - b2) * g * g
        return (m["m"] / (1 - b1**t)) / (np.sqrt(m["v"] / (1 - b2**t)) + eps)

    return update


def torch_rmsprop(decay, eps, momentum):
    def update(g, m, t):
        m["v"] = decay * m.get("v", 0) + (1 - decay) * g * g
        scaled = g / (np.sqrt(m["v"]) + eps)
        m["b"] = momentum * m.get("b", 0) + scaled
        return m["b"]

    return update


CASES = {
    "sgd": ("sgd", {"momentum": 0.0, "nesterov": False}, torch_sgd, "SGD"),
    "momentum": ("sgd", {"momentum": 0.9, "nesterov": False}, torch_sgd, "SGD"),
    "nesterov": ("sgd", {"momentum": 0.9, "nesterov": True}, torch_sgd, "SGD"),
    "adam": ("adam", {"b1": 0.9, "b2": 0.99, "eps": 0.1}, torch_adam, "Adam"),
    "rms_m": ("rmsprop", {"decay": 0.9, "eps": 0.1, "momentum": 0.9}, torch_rmsprop, "RMSprop"),
    "rms": ("rmsprop", {"decay": 0.9, "eps": 0.1, "momentum": 0.0}, torch_rmsprop, "RMSprop"),
}


def ours(keys, accumulate_steps=1, steps=STEPS, schedule=rate, grads=gradients):
    """Returns the parameters after each step of the optimizer under test."""
    optimizer = optim.build_optimizer({**SHARED, **keys}, schedule, accumulate_steps)
    params = jax.tree.map(np.float32, START)
    state, history = jax.jit(optimizer.init)(params), []

    @jax.jit
    def update(g, state, params):
        updates, state = optimizer.update(g, state, params)
        return optax.apply_updates(params, updates), state

    for step in range(steps):
        g = jax.tree.map(np.float32, grads(jax.tree.map(np.float64, params), step))
        params, state = update(g, state, params)
        params = jax.tree.map(np.asarray, params)
        history.append(params)
    return history


def slow(update, weight_decay=0.0, clip=math.inf, decoupled=0.0):
    params, memory, history = dict(START), {k: {} for k in START}, []
    for step in range(STEPS):
        g = gradients(params, step)
        norm = math.sqrt(sum((x**2).sum() for x in g.values()))
        g = {k: x * min(1, clip / norm) + weight_decay * params[k] for k, x in g.items()}
        # torch.optim.AdamW: θ ← θ − γλθ, then its update, made of the gradient alone
        shrunk = {k: w - rate(step) * decoupled * w for k, w in params.items()}
        params = {k: w - rate(step) * update(g[k], memory[k], step + 1) for k, w in shrunk.items()}
        history.append(params)
    return history


def assert_equal(histories, others, rtol=2e-5):
    for one, other in zip(histories, others, strict=True):
        for key in START:
            np.testing.assert_allclose(one[key], other[key], rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("weight_decay", "clip"), [(0.0, 0.0), (0.3, 0.0), (0.3, 1.5)])
@pytest.mark.parametrize("case", CASES)
def test_updates_follow_pytorchs_rules(case, weight_decay, clip):
    name, keys, torch_rule, _ = CASES[case]
    got = ours({"name": name, "weight_decay": weight_decay, "clip_norm": clip, **keys})
    assert_equal(got, slow(torch_rule(**keys), weight_decay, clip or math.inf))


@pytest.mark.parametrize("case", CASES)
def test_decoupled_decay_follows_pytorchs_rule(case):
    name, keys, torch_rule, _ = CASES[case]
    got = ours({"name": name, **DECOUPLED, **keys})
    assert_equal(got, slow(torch_rule(**keys), decoupled=0.2))


def test_adam_with_decoupled_decay_equals_optax_adamw():
    b1, b2, eps = 0.9, 0.99, 0.1
    adamw = optax.adamw(rate, b1, b2, eps, weight_decay=0.2)
    params = jax.tree.map(np.float32, START)
    state, history = adamw.init(params), []
    for step in range(STEPS):
        g = jax.tree.map(np.float32, gradients(jax.tree.map(np.float64, params), step))
        updates, state = adamw.update(g, state, params)
        params = jax.tree.map(np.asarray, optax.apply_updates(params, updates))
        history.append(params)
    assert_equal(ours({"name": "adam", "b1": b1, "b2": b2, "eps": eps, **DECOUPLED}), history)


def test_no_decoupled_decay_adds_no_state():
    """Optimizer states saved before decoupled decay existed still fit."""
    keys = SHARED | {"name": "sgd", "momentum": 0.9, "nesterov": False}
    trees = [
        jax.tree.structure(optim.build_optimizer(more, rate, 1).init(START))
        for more in (keys, keys | {"decoupled_weight_decay": 0.0})
    ]
    before = optax.chain(
        optax.identity(),
        optax.add_decayed_weights(0.0),
        optax.trace(0.9),
        optax.scale_by_schedule(rate),
    )
    assert trees == [jax.tree.structure(before.init(START))] * 2


@pytest.mark.parametrize("case", CASES)
def test_updates_equal_those_of_pytorch(case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
    name, keys, _, torch_name = CASES[case]
    renamed = {"decay": "alpha", "b1": None, "b2": None}
    options = {renamed.get(k, k): v for k, v in keys.items() if k not in ("b1", "b2")}
    if name == "adam":
        options["betas"] = (keys["b1"], keys["b2"])
    params = {k: torch.nn.Parameter(torch.tensor(w)) for k, w in START.items()}
    optimizer = getattr(torch.optim, torch_name)(params.values(), lr=1, weight_decay=0.3, **options)
    history = []
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = rate(step)
        g = gradients({k: w.detach().numpy() for k, w in params.items()}, step)
        for key, w in params.items():
            w.grad = torch.tensor(g[key])
        optimizer.step()
        history.append({k: w.detach().numpy().copy() for k, w in params.items()})
    assert_equal(ours({"name": name, "weight_decay": 0.3, **keys}), history)


@pytest.mark.parametrize("case", ["momentum", "adam", "rms_m"])
def test_accumulation_updates_every_kth_batch_with_the_mean_gradient(case):
    name, keys, *_ = CASES[case]
    keys = {"name": name, "weight_decay": 0.3, "clip_norm": 1.5, **keys}
    k = 3
    rng = np.random.default_rng(0)
    each = [{key: rng.normal(size=w.shape) for key, w in START.items()} for _ in range(4 * k)]
    got = ours(keys, k, 4 * k, grads=lambda _, step: each[step])
    mean = [
        {key: sum(g[key] for g in each[i : i + k]) / k for key in START} for i in range(0, 12, k)
    ]
    # the rate is that of the first batch of an update
    want = ours(keys, 1, 4, lambda update: rate(update * k), lambda _, update: mean[update])
    assert_equal(got[k - 1 :: k], want)
    for i, (before, after) in enumerate(
        itertools.pairwise([jax.tree.map(np.float32, START), *got])
    ):
        same = all((before[key] == after[key]).all() for key in START)
        assert same == ((i + 1) % k != 0)


WRONG = {
    "optimizer": [
        {"learning_rate": -1.0},
        {"learning_rate": math.inf},
        {"learning_rate": math.nan},
        {"weight_decay": -1e-4},
        {"decoupled_weight_decay": -1e-4},
        {"clip_norm": -1.0},
        {"ema_decay": 1.0},
        {"momentum": -1.0, "name": "sgd"},
        {"momentum": 1.5, "name": "sgd"},
        {"nesterov": True, "name": "sgd"},  # without momentum
        {"b1": 2.0},
        {"b2": 1.0},
        {"eps": -1.0},
        {"eps": 0.0},
        {"decay": 1.0, "name": "rmsprop"},
        {"eps": -1.0, "name": "rmsprop"},
        {"momentum": 1.5, "name": "rmsprop"},
    ],
    "schedule": [
        {"every_epochs": 0, "name": "step", "factor": 0.1},
        {"every_epochs": 1.5, "name": "step", "factor": 0.1},
        {"factor": -1.0, "name": "step", "every_epochs": 1},
        {"factor": math.nan, "name": "step", "every_epochs": 1},
        {"period_epochs": -1, "name": "cosine"},
        {"period_epochs": 0, "name": "cosine"},
        {"floor": -1.0, "name": "cosine", "period_epochs": 1},
        {"warmup_epochs": -1.0},
        {"warmup_epochs": math.inf},
    ],
    "loss": [{"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"l1": -1.0}, {"l1": math.nan}],
}


@pytest.mark.parametrize(
    ("section", "wrong"), [(s, wrong) for s, cases in WRONG.items() for wrong in cases], ids=str
)
def test_wrong_values_are_refused(section, wrong):
    config = tiny().to_dict()
    config[section] |= wrong
    if "name" in wrong:  # the other choice's keys
        keys = schema.section_parameters(section, config[section])
        config[section] = {k: v for k, v in config[section].items() if k in keys}
    with pytest.raises(UserError, match=rf"config\.{section}\.{next(iter(wrong))} is "):
        experiment.build_experiment(schema.check_top_level(ConfigDict(config))).optimizer(
            steps_per_epoch=4
        )


def test_a_rate_of_zero_is_allowed():
    experiment.build_experiment(tiny(**{"optimizer.learning_rate": 0}))


def test_accumulating_more_batches_than_the_run_has_is_refused():
    parts = experiment.build_experiment(tiny(accumulate_steps=9, num_epochs=2))
    parts.optimizer(steps_per_epoch=5)
    with pytest.raises(
        UserError, match=r"accumulate_steps is 9, but config\.num_epochs=2 .* 8 step"
    ):
        parts.optimizer(steps_per_epoch=4)


@pytest.mark.parametrize("bad", [(), (1, 2, 7)])  # steps whose gradient is not finite
@pytest.mark.parametrize("accumulate_steps", [1, 2, 5])
def test_the_logged_rate_is_that_of_the_last_update(accumulate_steps, bad):
    """The schedule's rate is the number of the step; SGD moves a weight by the rate it used."""
    keys = {"name": "sgd", "learning_rate": 1.0, "normalize_kernels": False}
    keys["skip_nonfinite"] = True
    optimizer = optim.build_optimizer(keys, lambda step: 1.0 + step, accumulate_steps)
    params = jnp.zeros(())
    state, used = optimizer.init(params), None
    for step in range(1, 14):
        gradient = jnp.full((), jnp.nan if step in bad else 1.0)
        updates, state = optimizer.update(gradient, state, params)
        used = -float(updates) or used
        logged = scoring.rate_of_last_update(
            lambda step: 1.0 + step, optim.count_taken(step, state), accumulate_steps
        )
        assert used is None or logged == pytest.approx(used)
    assert used is not None
