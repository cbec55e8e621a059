"""Frozen layers keep their values, and compute the same in training as in evaluation."""

import jax
import numpy as np
import pytest
from conftest import config_of, random_images, tiny

from jaxcifar import models
from jaxcifar.config import overrides
from jaxcifar.errors import UserError
from jaxcifar.run.leaves import by_path
from jaxcifar.training import experiment, freeze, losses, step
from jaxcifar.training.step import ModelInputs

MUON = {
    k: v for k, v in config_of("speedrun.py").optimizer.items() if k not in ("freeze", "ema_decay")
}
OPTIMIZERS = {
    "adam": {"clip_norm": 0.1, "skip_nonfinite": True},
    "sgd": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    "muon": MUON | {"learning_rate": 0.1},
}


def parts_and_state(freeze, batch_size=16, **optimizer):
    keys = {"learning_rate": 3e-3, "ema_decay": 0.9, "freeze": freeze, "name": "adam"} | optimizer
    config = tiny(optimizer=keys, log_norms=True, batch_size=batch_size)
    parts = experiment.build_experiment(config)
    transform, _ = parts.optimizer(steps_per_epoch=4)
    return parts, parts.update(transform), parts.start(transform, np.zeros((1, 32, 32, 3), "uint8"))


def leaves(state):
    trees = {"params": state.params, "ema": state.ema, "batch_stats": state.batch_stats}
    return {p: np.asarray(x) for p, x in by_path(trees).items()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_leaves_keep_their_bits_and_the_others_change(name):
    parts, update, carry = parts_and_state(("block0", "head/dense?/bias"), **OPTIMIZERS[name])
    before = leaves(carry.state)
    x = parts.augment.normalise(random_images(16, 32, 32, 3))
    inputs = ModelInputs(x, np.arange(16, dtype=np.int32) % 10, None, jax.random.key(0))
    state = carry.state
    for _ in range(3):
        state, sums = jax.jit(update)(state, inputs)
    for path, leaf in leaves(state).items():
        frozen = "/block0/" in path or path.endswith(("dense0/bias", "dense1/bias"))
        assert np.array_equal(leaf, before[path]) == frozen, path
    assert np.isfinite(float(sums.gradient_norm))


@pytest.mark.parametrize("platform", ["cpu", "gpu"])  # with different BatchNorms
def test_frozen_layers_compute_the_same_in_training_as_in_evaluation(platform):
    """The loss of a step equals the loss of evaluation, unless BatchNorm is trained."""
    for frozen, same in ((("block?",), True), (("block?/conv", "block0"), False)):
        parts, _, carry = parts_and_state(frozen)
        transform, _ = parts.optimizer(steps_per_epoch=4)
        model = models.build_model(parts.config.model, "float32", platform)
        images, labels = random_images(16, 32, 32, 3), np.arange(16, dtype=np.int32) % 10
        x = parts.augment.normalise(images)
        _, sums = step.update(
            carry.state,
            ModelInputs(x, labels, None, jax.random.key(0)),
            model=model,
            optimizer=transform,
            loss=parts.loss,
            ema_decay=0.9,
            frozen=frozen,
        )
        logits, _ = parts.predictor(images)(carry.state.eval_variables())
        want = losses.evaluate(parts.loss, logits, labels)
        assert (abs(float(sums.loss) - float(want.loss)) < 1e-4) == same


def test_the_norm_of_the_gradient_excludes_frozen_layers():
    norms = []
    for frozen in ((), ("block0", "block1"), ("block0", "block1", "head/dense0")):
        parts, update, carry = parts_and_state(frozen)
        x = parts.augment.normalise(random_images(16, 32, 32, 3))
        inputs = ModelInputs(x, np.arange(16, dtype=np.int32) % 10, None, jax.random.key(0))
        norms.append(float(jax.jit(update)(carry.state, inputs)[1].gradient_norm))
    assert norms[0] > norms[1] > norms[2] > 0


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (("block0", "blok1"), r"freeze: 'blok1' matches no parameter; .* block0, block1, head"),
        (("block0/con",), "matches no parameter"),
        (("*",), "matches every parameter"),
    ],
)
def test_patterns_that_match_nothing_or_everything_are_refused(patterns, message):
    with pytest.raises(UserError, match=message):
        parts_and_state(patterns)


def test_names_to_paste_are_below_the_modules_that_wrap_the_net():
    params = experiment.build_experiment(config_of("speedrun.py")).abstract_model()["params"]
    with pytest.raises(UserError) as error:
        freeze.check_patterns(["group0"], params)
    layers = [f"net/net/group0_{kind}{i}" for kind in ("conv", "norm") for i in (0, 1)]
    assert f"expected names such as {', '.join(layers)}, in which" in str(error.value)
    freeze.check_patterns(layers, params)
    with pytest.raises(UserError, match=r"such as net/net/group0_conv0, .*, …, in which"):
        freeze.check_patterns(["layer1"], params)
    assert freeze.first_names({"net": {"kernel": 0}}) == ["net/kernel"]


def test_patterns_on_the_command_line_need_no_quotes():
    for text in ("block0,head/*", "('block0','head/*')"):
        config = overrides.load_config("quickstart", [f"--config.optimizer.freeze={text}"])
        assert config.optimizer.freeze == ("block0", "head/*")
    assert freeze.is_frozen(config.optimizer.freeze, "block0/conv/kernel")
    assert not freeze.is_frozen(config.optimizer.freeze, "block01/conv/kernel")
