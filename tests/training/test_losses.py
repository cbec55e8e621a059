import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import config_of, random_images, tiny
from nets import MLP, torch_or_skip

from jaxcifar.errors import UserError
from jaxcifar.training import experiment, losses, mixing
from jaxcifar.training.step import ModelInputs


def loss(label_smoothing=0.0, l1=0.0, **keys):
    return losses.build_loss(
        {"name": "cross_entropy", "label_smoothing": label_smoothing, "l1": l1} | keys
    )


def class_loss(logits, labels, weights, smoothing):
    """The definition, in float64."""
    x = np.asarray(logits, np.float64)
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    q = (1 - smoothing) * np.eye(x.shape[1])[labels] + smoothing / x.shape[1]
    return -(np.array(weights) * q * log_p).sum() / np.array(weights)[labels].sum()


WEIGHTS = tuple(np.random.default_rng(1).uniform(0.2, 5, 10).tolist())


@pytest.mark.parametrize("mixed", [None, 0.3])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_give_the_weighted_mean(batch, smoothing, mixed):
    logits, labels = (jnp.array(part) for part in batch)
    weighted = loss(smoothing, class_weights=WEIGHTS)
    got = mixing.weighted_mean(
        weighted.weighted, logits, labels, None if mixed is None else jnp.array(mixed)
    )
    want = class_loss(logits, labels, WEIGHTS, smoothing)
    if mixed is not None:  # every image is the partner of one other, so the weights sum to the same
        want = 0.3 * want + 0.7 * class_loss(logits, np.roll(labels, 1), WEIGHTS, smoothing)
    assert float(got) == pytest.approx(want, rel=1e-5)
    same = loss(smoothing, class_weights=(2.0,) * 10)
    got = mixing.weighted_mean(same.weighted, logits, labels, None)
    assert float(got) == pytest.approx(float(loss(smoothing).per_example(*batch).mean()), rel=1e-5)
    np.testing.assert_array_equal(
        weighted.per_example(logits, labels), loss(smoothing).per_example(logits, labels)
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_are_those_of_pytorch(batch, smoothing):
    torch = torch_or_skip()
    logits, labels = batch
    criterion = torch.nn.CrossEntropyLoss(torch.tensor(WEIGHTS), label_smoothing=smoothing)
    want = criterion(torch.tensor(logits), torch.tensor(labels)).item()
    assert class_loss(logits, labels, WEIGHTS, smoothing) == pytest.approx(want, rel=1e-5)


def test_training_minimises_the_weighted_loss():
    """With SGD at rate 1 the first step is minus the gradient of the weighted mean."""
    optimizer = {"name": "sgd", "learning_rate": 1.0}
    weights = (1.0, 3.0) + (0.5,) * 8
    config = tiny(model=MLP, optimizer=optimizer, **{"loss.class_weights": weights})
    parts = experiment.build_experiment(config)
    transform = optax.sgd(1.0)
    state = parts.start(transform, np.zeros((1, 32, 32, 3), np.uint8)).state
    images, labels = random_images(16, 32, 32, 3), np.arange(16) % 10
    inputs = ModelInputs(parts.augment.normalise(images), labels, None, jax.random.key(0))
    new, sums = parts.update(transform)(state, inputs)

    def definition(params):
        logits, _ = parts.model.apply({"params": params}, inputs.x, train=True)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        chosen = jnp.array(weights)[labels]
        return (chosen * each).sum() / chosen.sum(), each.sum()

    gradient, plain = jax.grad(definition, has_aux=True)(state.params)
    want = jax.tree.map(jnp.subtract, state.params, gradient)
    chex.assert_trees_all_close(new.params, want, rtol=1e-5, atol=1e-6)
    assert float(sums.loss) == pytest.approx(float(plain), rel=1e-5)  # as logged, not weighted


@pytest.mark.parametrize("weights", [(1.0, 2.0), (1.0,) * 11, (1.0,) * 9 + (0.0,)])
def test_wrong_class_weights_are_refused(weights):
    with pytest.raises(UserError, match="class_weights"):
        experiment.build_experiment(tiny(**{"loss.class_weights": weights}))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return 3 * rng.normal(size=(20, 10)).astype(np.float32), rng.integers(0, 10, 20)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.2, 0.9])
def test_smoothing_mixes_the_one_hot_with_the_uniform(batch, smoothing):
    logits, labels = batch
    x = logits.astype(np.float64)
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    q = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10
    got = loss(smoothing).per_example(jnp.array(logits), jnp.array(labels))
    np.testing.assert_allclose(got, -(q * log_p).sum(1), rtol=2e-6)


def test_known_values_of_the_loss():
    """ln 10 for uniform logits, the entropy of q at the optimum, no overflow at large logits."""
    label = jnp.array([3])
    for smoothing in (0.0, 0.2):
        assert loss(smoothing).per_example(jnp.zeros((1, 10)), label)[0] == pytest.approx(
            np.log(10)
        )
    q = np.full(10, 0.02)
    q[3] += 0.8
    floor = loss(0.2).per_example(jnp.log(jnp.array([q])), label)[0]
    assert floor == pytest.approx(-(q * np.log(q)).sum(), rel=1e-5)
    assert loss().per_example(1e4 * jax.nn.one_hot(label, 10), label)[0] == 0
    assert loss().per_example(1e4 * jax.nn.one_hot(label + 1, 10), label)[0] == 1e4


def test_bfloat16_logits_are_summed_in_float32(batch):
    logits, labels = batch
    half = jnp.array(logits, jnp.bfloat16)
    got = loss(0.1).per_example(half, jnp.array(labels))
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, loss(0.1).per_example(half.astype("float32"), labels))


def test_l1_is_the_sum_of_absolute_values_and_has_a_gradient():
    params = {"a": jnp.array([[1.5, -2.0], [0.25, -0.25]]), "b": {"c": jnp.array([-3.0])}}
    assert loss(l1=0.1).penalty(params) == pytest.approx(0.7)
    gradient = jax.grad(loss(l1=0.1).penalty)(params)
    chex.assert_trees_all_close(gradient, jax.tree.map(lambda w: 0.1 * jnp.sign(w), params))
    chex.assert_trees_all_equal(
        jax.grad(loss().penalty)(params), jax.tree.map(jnp.zeros_like, params)
    )


def test_sums_are_divided_once():
    logits = jnp.eye(10)[jnp.array([1, 2, 3, 4])]
    first = losses.count(jnp.array([1.0, 2.0, 3.0, 6.0]), logits, jnp.array([1, 2, 3, 9]))
    second = losses.count(jnp.array([8.0]), logits[:1], jnp.array([0]))
    assert first.means() == {"loss": 3.0, "accuracy": 0.75}
    # unequal batches: not the mean of the means
    total = jax.tree.map(jnp.add, jax.tree.map(jnp.add, losses.zero_sums(), first), second)
    assert total.means() == {"loss": 4.0, "accuracy": 0.6}
    none = losses.zero_sums().means()
    assert math.isnan(none["loss"])
    assert none["accuracy"] == 0.0


def test_evaluate_sums_over_the_split(batch):
    logits, labels = batch
    sums = losses.evaluate(loss(0.1), jnp.array(logits), jnp.array(labels))
    assert int(sums.examples) == 20
    assert int(sums.correct) == sum(
        row.argmax() == y for row, y in zip(logits, labels, strict=True)
    )
    each = loss(0.1).per_example(jnp.array(logits), jnp.array(labels))
    assert float(sums.loss) == pytest.approx(np.asarray(each, np.float64).sum(), rel=1e-6)


def test_the_smoothing_of_report_004_has_the_floor_that_its_losses_imply():
    smoothing = config_of("adaptive_prelu.py").loss.label_smoothing
    q = np.full(10, 0.2 / 9)
    q[0] = 0.8  # 0.2 spread over the nine wrong classes
    loss = losses.cross_entropy(label_smoothing=smoothing, l1=0.0)
    floor = loss.per_example(jnp.log(jnp.array(q))[None], jnp.array([0]))
    assert float(floor[0]) == pytest.approx(-(q * np.log(q)).sum(), rel=1e-5)
