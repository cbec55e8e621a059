"""Grad-CAM: it equals a closed form, and a slow version for every kind of net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, config_of
from nets import CONFIGS, IMAGES, net_of

from jaxcifar.errors import UserError
from jaxcifar.models.adaptive import branch_means
from jaxcifar.training import experiment
from jaxcifar.weights import explain

CLASSES = np.arange(len(IMAGES)) % 10
MAPS = [name for name in CONFIGS if "mlp" not in name]


def last_map(net, images):
    x = net.parts.augment.normalise(images)
    _, found = net.parts.model.apply(net.variables, x, train=False, mutable=["intermediates"])
    return np.asarray(jax.tree.leaves(found)[0])


@pytest.mark.parametrize("name", ["resnet", "resnet_b", "resnet18", "wide"])
def test_with_a_mean_and_a_linear_head_it_is_cam_divided_by_the_number_of_positions(name):
    """The gradient of a logit is its weights at each position, divided by their number."""
    net = net_of(CONFIGS[name])
    features = last_map(net, IMAGES)
    weights = np.asarray(net.variables["params"]["head"]["kernel"])[:, CLASSES]  # [C, N]
    cam = np.einsum("nhwc,cn->nhw", features, weights).clip(0)
    places = features.shape[1] * features.shape[2]
    maps = explain.grad_cam(net, IMAGES, CLASSES)
    assert maps.max() > 0
    np.testing.assert_allclose(maps, cam / places, rtol=1e-4, atol=1e-5 * maps.max())


@pytest.mark.parametrize("name", MAPS)
def test_the_channel_weights_are_those_of_finite_differences(name):
    """Adding ε to a channel everywhere changes the logit by ε times the sum of its gradient."""
    net = net_of(CONFIGS[name])
    images, classes = IMAGES[:3], CLASSES[:3]
    features = last_map(net, images)
    x = net.parts.augment.normalise(images)

    def apply(variables):
        return net.parts.model.apply(variables, x, train=False, mutable=["perturbations"])

    zeros = apply(net.variables)[1]
    epsilon = 1e-2 * features.std()
    weights = np.zeros((3, features.shape[-1]))
    for channel in range(features.shape[-1]):
        logits = []
        for sign in (1, -1):
            step = np.zeros(features.shape[-1], np.float32)
            step[channel] = sign * epsilon
            added = jax.tree.map(lambda zero, step=step: zero + step, zeros)
            (out, _), _ = apply({**net.variables, **added})
            logits.append(np.asarray(out, np.float64)[np.arange(3), classes])
        weights[:, channel] = (logits[0] - logits[1]) / (2 * epsilon)
    want = np.einsum("nhwc,nc->nhw", features, weights).clip(0)
    want /= features.shape[1] * features.shape[2]
    maps = explain.grad_cam(net, images, classes)
    np.testing.assert_allclose(maps, want, atol=0.05 * max(want.max(), maps.max()))


def test_each_image_is_explained_by_itself(monkeypatch):
    net = net_of(CONFIGS["resnet"])
    whole = explain.grad_cam(net, IMAGES, CLASSES)
    monkeypatch.setattr(explain, "BATCH", 7)
    np.testing.assert_allclose(
        explain.grad_cam(net, IMAGES, CLASSES), whole, rtol=1e-4, atol=1e-5 * whole.max()
    )


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.py")), ids=lambda f: f.stem)
def test_every_config_has_a_net_that_can_be_explained(file):
    parts = experiment.build_experiment(config_of(file.name))
    variables = {k: v for k, v in parts.abstract_model().items() if k != "ema"}
    maps = jax.eval_shape(
        lambda v: explain._grad_cam(
            parts, v, jnp.zeros((2, 32, 32, 3), jnp.uint8), jnp.zeros(2, int)
        ),
        variables,
    )
    assert maps.ndim == 3


def test_a_net_without_convolution_is_refused():
    with pytest.raises(UserError, match="name=mlp has no convolution to explain"):
        explain.grad_cam(net_of(CONFIGS["mlp"]), IMAGES, CLASSES)


def test_marking_the_map_adds_nothing_to_training_or_prediction():
    """The traced program has no more additions and outputs than without the mark."""
    net = net_of(CONFIGS["resnet"])
    x = jnp.zeros((2, 32, 32, 3))

    def run():
        return jax.make_jaxpr(lambda v: net.parts.model.apply(v, x, train=False))(net.variables)

    marked = str(run())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxcifar.models.layers.mark_last_map", lambda module, x: x)
        assert str(run()) == marked


@pytest.mark.parametrize("name", ["quickstart", "prelu"])
def test_branch_weights_are_the_gates_averaged_over_channels(name):
    net = net_of(CONFIGS[name])
    gates = net.predict(IMAGES).gates
    for block, gate in gates.items():
        weights = branch_means(gate)
        assert weights.shape == (len(IMAGES), 2 if name == "prelu" else gates[block].shape[1])
        want = gates[block] if gates[block].ndim == 2 else gates[block].mean(2)
        np.testing.assert_allclose(weights, want, rtol=1e-6)
