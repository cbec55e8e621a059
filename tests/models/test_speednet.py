"""The net of the speed records, and the whitening and logit scale of any net."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import config_of, random_images, tiny

from jaxcifar import models
from jaxcifar.models import speednet
from jaxcifar.models.whitening import whitening_kernel
from jaxcifar.training import experiment

KEYS = {
    "name": "speednet",
    "num_classes": 10,
    "widths": (64, 256, 256),
    "depth": 2,
    "residual": False,
    "activation": "gelu",
    "norm_momentum": 0.6,
    "norm_epsilon": 1e-12,
    "whitening_size": 2,
    "logit_scale": 1 / 256,
}
SMALL = KEYS | {"widths": (4, 6, 8)}


def build_net(keys, size=32):
    net = models.build_model(keys, jnp.float32, "cpu")
    variables = net.init(jax.random.key(0), jnp.zeros((2, size, size, 3)), train=False)
    return net, variables


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_it_has_the_parameters_of_the_record():
    """They are the convolutions, biases and head of airbench94 without its frozen whitening."""
    _, variables = build_net(KEYS)
    channels = [24, 64, 64, 256, 256, 256, 256]
    pairs = itertools.pairwise(channels)
    convolutions = 9 * sum(a * b for a, b in pairs)
    assert size(variables["params"]) == convolutions + sum(channels[1:]) + 256 * 10


def test_whitened_patches_have_identity_covariance():
    """This holds for correlated images, in each half of the kernel's outputs."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(200, 8, 8, 1)) + rng.normal(size=(200, 8, 8, 3)) * (0.3, 0.5, 0.7)
    kernel = whitening_kernel(jnp.asarray(images, jnp.float32), 2, 0.0)
    assert kernel.shape == (2, 2, 3, 24)
    np.testing.assert_array_equal(kernel[..., :12], -kernel[..., 12:])
    patches = np.stack([images[:, i : i + 7, j : j + 7] for i in (0, 1) for j in (0, 1)], 3)
    white = patches.reshape(-1, 12) @ np.asarray(kernel)[..., :12].reshape(12, 12)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(12), atol=1e-4)


def test_whitening_is_frozen_and_precedes_the_net():
    net, variables = build_net(SMALL)
    assert set(variables["params"]["net"]) == {
        "net"
    }  # the wrappers have no parameters of their own
    images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    kernel = jax.random.normal(jax.random.key(2), (2, 2, 3, 24))
    variables["batch_stats"]["net"]["whitening"] = kernel
    logits, _ = net.apply(variables, images, train=False)
    alone, _ = build_net(SMALL | {"whitening_size": 0, "logit_scale": 1.0, "widths": (4, 6, 8)})
    whitened = np.zeros((2, 31, 31, 24), np.float32)
    for i in (0, 1):
        for j in (0, 1):
            whitened += np.asarray(images[:, i : i + 31, j : j + 31] @ kernel[i, j])
    inner = {key: variables[key]["net"]["net"] for key in ("params", "batch_stats")}
    want, _ = alone.apply(inner, jax.nn.gelu(whitened, approximate=False), train=False)
    np.testing.assert_allclose(logits, want / 256, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pixels", [24, 28, 32])
def test_the_parameters_do_not_depend_on_the_image_size(pixels):
    shapes = [jax.tree.map(jnp.shape, build_net(SMALL, n)[1]["params"]) for n in (pixels, 32)]
    assert shapes[0] == shapes[1]


def test_convolutions_are_initialised_as_the_identity():
    """The first C_in outputs are the input; the others are not."""
    kernel = speednet.partial_identity(jax.random.key(0), (3, 3, 4, 6))
    x = jax.random.normal(jax.random.key(1), (1, 5, 5, 4))
    y = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_array_equal(y[..., :4], x)
    assert float(jnp.abs(kernel[..., 4:]).min()) > 0


def test_the_residual_joins_the_first_and_the_last_convolution_of_a_group():
    """If the other kernels are zero, a group returns the activation of its residual."""
    keys = SMALL | {"depth": 3, "residual": True, "whitening_size": 0, "widths": (3,)}
    net, variables = build_net(keys)
    params = variables["params"]["net"]
    for i in (1, 2):
        params[f"group0_conv{i}"]["kernel"] = jnp.zeros((3, 3, 3, 3))
    images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    logits, _ = net.apply(variables, images, train=False)
    pooled = images.reshape(2, 16, 2, 16, 2, 3).max((2, 4)) / jnp.sqrt(1 + 1e-12)
    gelu = lambda x: jax.nn.gelu(x, approximate=False)  # noqa: E731
    want = gelu(gelu(pooled)).max((1, 2)) @ params["head"] / 256
    np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-6)


def test_any_net_can_be_whitened_and_scaled():
    """Whitening is an option of every model, and off by default."""
    config = tiny(**{"model.branches": 1})
    plain = experiment.build_experiment(config).abstract_model()
    changed = config.copy_and_resolve_references()
    with changed.unlocked():
        changed.model.whitening_size = 2
    parts = experiment.build_experiment(changed)
    assert parts.abstract_model()["batch_stats"]["whitening"].shape == (2, 2, 3, 24)
    assert "whitening" not in plain["batch_stats"]
    assert config_of("quickstart.py").model.whitening_size == 0


def test_whitening_of_sorted_data_sees_every_class():
    """The first images of the user's own data may all be of one class."""
    few = {"model.widths": (4, 6, 8), "model.whitening_examples": 8, "data.source": "npz"}
    parts = experiment.build_experiment(config_of("speedrun.py:94", **few))
    images = np.sort(random_images(80, 32, 32, 3), axis=0)

    def statistics(images):
        return parts.start(optax.identity(), images).state.batch_stats

    jax.tree.map(np.testing.assert_array_equal, statistics(images), statistics(images[::10]))
