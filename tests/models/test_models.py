"""The models: parameter counts, shapes, refused configs, SimpleCNN against a slow version."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import config_of, tiny
from ml_collections import ConfigDict
from slow import (
    PLATFORMS,
    build_net,
    init,
    random_like,
    slow_activation,
    slow_conv,
    slow_norm,
    slow_pool,
)

from jaxcifar import models
from jaxcifar.errors import UserError
from jaxcifar.models.resnet import ResNet
from jaxcifar.training import experiment

PARAMETERS = [  # config, changes, number of parameters
    ("adaptive.py", {}, 9_483_636),
    ("adaptive_softmax.py", {}, 4_728_110),
    ("pooled_cnn.py", {}, 47_970),
    ("adaptive_prelu.py", {}, 10_350_218),
    ("simple_cnn.py:base", {}, 82_030),
    ("simple_cnn.py:augment", {}, 82_030),
    ("simple_cnn.py:batchnorm", {}, 82_078),
    ("resnet20.py", {}, 269_722),
    ("resnet20.py", {"model.depth": 32}, 464_154),
    ("resnet20.py", {"model.depth": 56}, 853_018),
    ("resnet20.py", {"model.shortcut": "B"}, 272_474),
    ("resnet18.py", {}, 11_173_962),  # this one and the next as in kuangliu/pytorch-cifar
    ("resnet18.py", {"model.depth": 34, "model.blocks": (3, 4, 6, 3)}, 21_282_122),
    ("wrn28_10.py", {}, 36_479_194),
    ("wrn28_10.py", {"model.depth": 16, "model.widen": 4}, 2_748_890),
]


PAGES = ["quickstart.py", *(name for name, changes, _ in PARAMETERS if not changes)]


@pytest.mark.parametrize(("name", "changes", "parameters"), PARAMETERS, ids=str)
def test_parameter_counts(name, changes, parameters):
    parts = experiment.build_experiment(config_of(name, **changes))
    params = parts.abstract_model()["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters
    assert experiment.describe_parameters(params) == f"{parameters:,} parameters"


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(("dtype", "platform"), [("float32", "cpu"), ("bfloat16", "gpu")])
@pytest.mark.parametrize("name", PAGES)
def test_shapes_and_types(name, dtype, train, platform):
    model = build_net(name, platform, compute_dtype=dtype)
    key = jax.random.key(0)

    def everything(images):
        variables = model.init(key, images, train=False)
        rngs, mutable = {"dropout": key}, ["batch_stats"] if train else False
        out = model.apply(variables, images, train=train, rngs=rngs, mutable=mutable)
        return variables, out[0] if train else out

    images = jnp.zeros((5, 32, 32, 3), models.DTYPES[dtype])
    variables, (logits, gates) = jax.eval_shape(everything, images)
    chex.assert_shape(logits, (5, 10))
    chex.assert_type([logits, *jax.tree.leaves(variables), *gates.values()], jnp.float32)
    config = config_of(name).model
    if config.name != "adaptive":
        assert gates == {}
        return
    assert len(gates) == sum(config.num_blocks)
    widths = np.repeat(config.widths, config.num_blocks)
    for gate, width in zip(gates.values(), widths, strict=True):
        per_channel = (int(width),) if config.gate_per_channel else ()
        chex.assert_shape(gate, (5, config.branches, *per_channel))


def test_bfloat16_computes_nearly_the_same_as_float32():
    x = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))
    one, other = (
        models.build_model(tiny().model, models.DTYPES[dtype], "cpu")
        for dtype in ("float32", "bfloat16")
    )
    variables = init(one, x, train=False)
    outs = [jax.jit(lambda v, m=m: m.apply(v, x, train=False)[0])(variables) for m in (one, other)]
    np.testing.assert_allclose(*outs, atol=0.03)
    assert (outs[0] != outs[1]).any()


def test_mlp_without_hidden_layers_is_linear():
    keys = {"name": "mlp", "num_classes": 10, "hidden": (), "dropout": 0.0}
    model = models.build_model(keys, jnp.float32, "cpu")
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    variables = init(model, images, train=False)
    w, b = variables["params"]["head"]["dense0"].values()
    w, b = (w, b) if w.ndim == 2 else (b, w)
    got, _ = model.apply(variables, images, train=False)
    np.testing.assert_allclose(got, images.reshape(4, -1) @ w + b, atol=1e-4)


def test_the_first_loss_of_simple_cnn_is_ln_10(synthetic):
    parts = experiment.build_experiment(config_of("simple_cnn.py:base"))
    images, labels = (jnp.array(a[:200]) for a in synthetic.train)

    @jax.jit
    def first_loss(key):
        x = parts.augment.normalise(images)
        logits = parts.model.init_with_output(key, x, train=False)[0][0]
        return parts.loss.per_example(logits, labels).mean()

    for seed in range(5):
        assert float(first_loss(jax.random.key(seed))) == pytest.approx(2.30, abs=0.03)


@PLATFORMS
def test_simple_cnn_is_the_net_of_report_003(platform):
    """conv → BN → swish → pool, twice, flatten, three Dense layers with ReLU between."""
    model = build_net("simple_cnn.py:swish", platform)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    variables = jax.tree.map(
        lambda leaf: 0.3 * leaf,
        random_like(jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))),
    )
    p, s = jax.tree.map(np.float64, (variables["params"], variables["batch_stats"]))
    y = x
    for i in ("0", "1"):
        y = slow_norm(slow_conv(y, **p["conv" + i]), p["norm" + i], s["norm" + i], False)
        y = slow_pool(slow_activation("swish", y, None), 2)
    y = y.reshape(2, -1)
    assert y.shape[1] == 576
    for i in range(3):
        y = (np.maximum(y, 0) if i else y) @ p["head"][f"dense{i}"]["kernel"]
        y = y + p["head"][f"dense{i}"]["bias"]
    got, _ = jax.jit(lambda v: model.apply(v, x, train=False))(variables)
    np.testing.assert_allclose(got, y, rtol=1e-3, atol=1e-3)


def test_batch_norm_before_a_pool_covers_an_odd_map_on_every_platform():
    """The pool drops the last row of 13×13 outputs; the statistics must not."""
    x = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    changes = {"model.kernel_sizes": (3, 3), "model.widths": (4, 20)}
    nets = [build_net("simple_cnn.py:batchnorm", p, **changes) for p in ("cpu", "gpu")]
    variables = init(nets[0], x, train=False)
    cpu, gpu = (
        jax.jit(lambda v, net=net: net.apply(v, x, train=True, mutable=["batch_stats"]))(variables)
        for net in nets
    )
    chex.assert_trees_all_close(cpu, gpu, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.gate": "sigmoid"}, "linear, softmax, none"),
        ({"model.activation": "tanh"}, "none, relu, swish, "),
        ({"model.branch_activation": "tanh"}, "none, relu, swish, "),
        ({"model.head_input": "max"}, "mean, flatten"),
        ({"model.branch_dropout": 1.0}, "branch_dropout"),
        ({"model.head_dropout": -0.5}, "head_dropout"),
        ({"model.widths": (4,)}, "widths has 1 values, but config.model.num_blocks has 2"),
        ({"model.widths": ()}, r"widths is \(\); expected .*at least one value"),
        ({"model.widths": (0, 4)}, r"widths\[0\] is 0; expected an integer, at least 1"),
        ({"model.num_blocks": (1, 0)}, r"num_blocks\[1\] is 0"),
        ({"model.branches": 0}, "branches is 0"),
        ({"model.kernel_size": 0}, "kernel_size is 0"),
        ({"model.kernel_size": -1}, "kernel_size is -1"),
        ({"model.padding": -1}, "padding is -1"),
        ({"model.branch_pool": 0}, "branch_pool is 0"),
        ({"model.head_hidden": (0,)}, "head_hidden"),
        ({"model.num_classes": 0}, "num_classes is 0"),
        ({"model.kernel_size": 99}, "it applies a convolution of kernel size 99"),
        ({"model.branch_pool": 33}, "it applies a 33×33 max-pool to a map of 32×32"),
        ({"model.branch_pool": 6}, "a 6×6 max-pool to a map of 5×5"),
        ({"model.name": "vgg"}, "adaptive, resnet, simple_cnn, mlp"),
        ({"compute_dtype": "float16"}, "float32, bfloat16"),
    ],
    ids=str,
)
def test_wrong_models_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        experiment.build_experiment(tiny(**change))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("simple_cnn.py", {"model.widths": (8,)}, "widths has 1 .*kernel_sizes has 2"),
        ("simple_cnn.py", {"model.widths": (), "model.kernel_sizes": ()}, "at least one value"),
        ("simple_cnn.py", {"model.kernel_sizes": (5, 0)}, "kernel_sizes"),
        ("simple_cnn.py", {"model.kernel_sizes": (33, 3)}, "does not fit the images"),
        ("simple_cnn.py", {"model.kernel_sizes": (32, 3)}, "a 2×2 max-pool to a map of 1×1"),
        ("simple_cnn.py", {"model.hidden": (0,)}, "hidden"),
        ("resnet20.py", {"model.width": 0}, "width is 0"),
        ("resnet20.py", {"model.shortcut": "C"}, "A, B"),
        ("resnet18.py", {"model.depth": 34}, r"blocks=\(2, 2, 2, 2\) gives a depth of 18"),
        ("wrn28_10.py", {"model.depth": 20}, r"depth is 20; expected 6n\+4, such as 22, 34, "),
    ],
    ids=str,
)
def test_wrong_cnns_are_refused(name, change, message):
    with pytest.raises(UserError, match=message):
        experiment.build_experiment(config_of(name, **change))


@pytest.mark.parametrize("change", [{"hidden": (-1,)}, {"dropout": 1.0}, {"num_classes": 0}])
def test_wrong_perceptrons_are_refused(change):
    config = tiny().to_dict()
    config["model"] = {"name": "mlp", "num_classes": 10, "hidden": (), "dropout": 0.0} | change
    with pytest.raises(UserError, match=next(iter(change))):
        experiment.build_experiment(ConfigDict(config))


def test_a_bug_in_a_model_is_not_reported_as_a_mistake_in_the_config(monkeypatch):
    """The author of the model needs the traceback, so the error is not shortened to one line."""

    def broken(self, x, *, train):
        return len(3)

    monkeypatch.setattr(ResNet, "__call__", broken)
    with pytest.raises(TypeError, match="has no len"):
        experiment.build_experiment(config_of("resnet20.py"))


@pytest.mark.parametrize("name", ["simple_cnn.py:batchnorm", "speedrun.py:94", "adaptive_prelu.py"])
def test_each_prelu_has_slopes_of_its_own(name):
    """Their layers have different numbers of channels, so a shared PReLU could not be built."""
    config = config_of(name)
    keys = [key for key in ("activation", "branch_activation") if key in config.model]
    config = config_of(name, **{f"model.{key}": "prelu" for key in keys})
    params = experiment.build_experiment(config).abstract_model()["params"]
    slopes = [p for p in jax.tree_util.tree_leaves_with_path(params) if "slope" in str(p[0])]
    expected = {"simple_cnn": len(config.model.widths)}
    expected["speednet"] = len(config.model.widths) * config.model.get("depth", 0)
    expected["adaptive"] = len(keys) * sum(config.model.get("num_blocks", ()))
    assert len(slopes) == expected[config.model.name]
