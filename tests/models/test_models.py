"""The models: parameter counts, shapes, and each block against a slow obvious version in numpy."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import page, tiny
from jax import lax
from numpy.lib.stride_tricks import sliding_window_view

from jaxcifar import experiment, models
from jaxcifar.errors import UserError
from jaxcifar.models import layers, resnet
from jaxcifar.models.adaptive import AdaptiveBlock
from jaxcifar.models.resnet import BasicBlock, ResNet

PARAMETERS = [  # page, changes, parameters
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
]
PAGES = ["quickstart.py", *(name for name, changes, _ in PARAMETERS if not changes)]


def random_like(tree, seed=0):
    """Normal values in the tree's shapes; positive ones where they are variances."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        x = rng.normal(size=leaf.shape).astype(np.float32)
        return abs(x) + 0.1 if "var" in jax.tree_util.keystr(path) else x

    return jax.tree_util.tree_map_with_path(draw, tree)


def built(name, platform="cpu", **changes):
    config = page(name, **changes)
    return models.build(config.model, models.dtype(config.compute_dtype), platform)


@pytest.mark.parametrize(("name", "changes", "parameters"), PARAMETERS, ids=str)
def test_parameter_counts(name, changes, parameters):
    parts = experiment.build(page(name, **changes))
    params = parts.abstract_model()["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters
    assert experiment.describe_parameters(params) == f"{parameters:,} parameters"


def init(module, *inputs, seed=0, **keywords):
    """The module's variables, compiled: much faster than one operation after the other."""
    return jax.jit(lambda key: module.init(key, *inputs, **keywords))(jax.random.key(seed))


PLATFORMS = pytest.mark.parametrize("platform", ["cpu", "gpu"])  # two ways to compute the same


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(("dtype", "platform"), [("float32", "cpu"), ("bfloat16", "gpu")])
@pytest.mark.parametrize("name", PAGES)
def test_shapes_and_types(name, dtype, train, platform):
    model = built(name, platform, compute_dtype=dtype)
    key = jax.random.key(0)

    def everything(images):
        variables = model.init(key, images, train=False)
        rngs, mutable = {"dropout": key}, ["batch_stats"] if train else False
        out = model.apply(variables, images, train=train, rngs=rngs, mutable=mutable)
        return variables, out[0] if train else out

    images = jnp.zeros((5, 32, 32, 3), models.dtype(dtype))
    variables, (logits, gates) = jax.eval_shape(everything, images)
    chex.assert_shape(logits, (5, 10))
    chex.assert_type([logits, *jax.tree.leaves(variables), *gates.values()], jnp.float32)
    config = page(name).model
    if config.name != "adaptive":
        assert gates == {}
        return
    assert len(gates) == sum(config.num_blocks)
    widths = np.repeat(config.widths, config.num_blocks)
    for gate, width in zip(gates.values(), widths, strict=True):
        per_channel = (int(width),) if config.gate_per_channel else ()
        chex.assert_shape(gate, (5, config.branches, *per_channel))


def test_bfloat16_computes_what_float32_does():
    x = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))
    one, other = (
        models.build(tiny().model, models.dtype(dtype), "cpu") for dtype in ("float32", "bfloat16")
    )
    variables = init(one, x, train=False)
    outs = [jax.jit(lambda v, m=m: m.apply(v, x, train=False)[0])(variables) for m in (one, other)]
    np.testing.assert_allclose(*outs, atol=0.03)
    assert (outs[0] != outs[1]).any()


def test_mlp_without_hidden_layers_is_linear():
    keys = {"name": "mlp", "num_classes": 10, "hidden": (), "dropout": 0.0}
    model = models.build(keys, jnp.float32, "cpu")
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    variables = init(model, images, train=False)
    w, b = variables["params"]["head"]["dense0"].values()
    w, b = (w, b) if w.ndim == 2 else (b, w)
    got, _ = model.apply(variables, images, train=False)
    np.testing.assert_allclose(got, images.reshape(4, -1) @ w + b, atol=1e-4)


def test_the_first_loss_of_simple_cnn_is_ln_10(synthetic):
    parts = experiment.build(page("simple_cnn.py:base"))
    images, labels = (jnp.array(a[:200]) for a in synthetic.train)

    @jax.jit
    def first_loss(key):
        x = parts.augment.test(images)
        logits = parts.model.init_with_output(key, x, train=False)[0][0]
        return parts.loss.examples(logits, labels).mean()

    for seed in range(5):
        assert float(first_loss(jax.random.key(seed))) == pytest.approx(2.30, abs=0.03)


# The adaptive block ----------------------------------------------------------------------------


def slow_conv(x, kernel, bias=0.0, padding=0, stride=1):
    """The definition: a sum over each window, [B, H, W, C_in] and [k, k, C_in, C]."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = sliding_window_view(x, kernel.shape[:2], (1, 2))[:, ::stride, ::stride]
    return np.einsum("bhwcij,ijco->bhwo", windows, kernel) + bias


def slow_pool(x, size):
    h, w = x.shape[1] // size, x.shape[2] // size
    y = np.empty((x.shape[0], h, w, x.shape[3]))
    for i, j in np.ndindex(h, w):
        window = x[:, i * size : (i + 1) * size, j * size : (j + 1) * size]
        y[:, i, j] = window.max((1, 2))
    return y


def slow_norm(x, params, stats, train):
    mean, var = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if train else (stats["mean"], stats["var"])
    return (x - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"]


def slow_activation(name, x, slope):
    return {
        "none": lambda: x,
        "relu": lambda: np.maximum(x, 0),
        "swish": lambda: x / (1 + np.exp(-x)),
        "prelu": lambda: np.maximum(x, 0) + slope * np.minimum(x, 0),
    }[name]()


def slow_block(f, x, params, stats, train):
    """Σ_k a_k · branch_k(x), branch by branch, in float64."""
    K, C = f["branches"], f["features"]
    slopes = [params[name]["slope"] for name in sorted(params) if "PReLU" in name]
    a = np.ones((len(x), K, C))
    if f["gate"] != "none":
        a = x.mean((1, 2)) @ params["gate"]["kernel"] + params["gate"]["bias"]
        a = a.reshape(len(x), K, -1)  # a last axis of C, or of 1
        if f["gate"] == "softmax":
            a = np.exp(a) / np.exp(a).sum(1, keepdims=True)
    total = 0
    for k in range(K):
        own = slice(k * C, (k + 1) * C)
        take = functools.partial(jax.tree.map, lambda leaf, own=own: leaf[..., own])
        y = slow_conv(x, **take(params["conv"]), padding=f["padding"])
        if f["branch_norm"]:
            y = slow_norm(y, take(params["branch_norm"]), take(stats.get("branch_norm")), train)
        y = slow_activation(f["branch_activation"], y, slopes[0][own] if slopes else None)
        total = total + a[:, k][:, None, None] * slow_pool(y, f["branch_pool"])
    if f["norm"]:
        total = slow_norm(total, params["norm"], stats["norm"], train)
    if f["residual"] and total.shape == x.shape:
        total = total + x
    return slow_activation(f["activation"], total, slopes[-1] if slopes else None), a


def settings(name, **changes):
    """The block settings of a page, with few features and no dropout."""
    model = dict(page(name).model, branch_dropout=0.0, features=4, **changes)
    fields = AdaptiveBlock.__dataclass_fields__
    return {k: v for k, v in model.items() if k in fields and k not in ("name", "parent")}


BLOCKS = {
    "000": settings("adaptive.py"),
    "001": settings("adaptive_softmax.py"),
    "002": settings("pooled_cnn.py"),
    "004": settings("adaptive_prelu.py"),
    "no_gate": settings("adaptive.py") | {"gate": "none"},
    "softmax": settings("adaptive.py") | {"gate": "softmax"},
    "linear_per_channel": settings("adaptive_prelu.py") | {"gate": "linear"},
    "no_gate_per_channel": settings("adaptive_prelu.py") | {"gate": "none"},
    # not monotone, or not zero at zero: must not be exchanged with the pool
    "swish": settings("adaptive.py") | {"branch_activation": "swish", "residual": True},
    "prelu": settings("adaptive.py") | {"branch_activation": "prelu", "branch_norm": True},
    "two_prelus": settings("adaptive_prelu.py") | {"branch_activation": "prelu"},
    "odd_pool": settings("adaptive_softmax.py") | {"branch_pool": 3, "kernel_size": 5},
}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("case", BLOCKS)
def test_block_is_k_convolutions_weighed_and_summed(case, train):
    f = BLOCKS[case]
    block = AdaptiveBlock(**f, platform="cpu" if train else "gpu")
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 4)).astype(np.float32)
    variables = random_like(jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False)))
    stats = variables.get("batch_stats", {})
    want, gate = slow_block(f, *jax.tree.map(np.float64, (x, variables["params"], stats)), train)
    apply = jax.jit(lambda v: block.apply(v, x, train=train, mutable=["batch_stats"])[0])
    got, a = apply(variables)
    chex.assert_shape(got, want.shape)
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(
        a.reshape(3, f["branches"], -1), gate[:, :, : a[0, 0].size], rtol=1e-4
    )


def test_one_branch_without_a_gate_is_a_plain_convolution():
    f = settings("pooled_cnn.py") | {"branches": 1, "gate": "none", "branch_activation": "none"}
    x = jax.random.normal(jax.random.key(0), (2, 9, 9, 3))
    block = AdaptiveBlock(**f)
    variables = init(block, x, train=False)
    assert list(variables["params"]) == ["conv"]
    plain = lax.conv_general_dilated(
        x,
        variables["params"]["conv"]["kernel"],
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    want = plain + variables["params"]["conv"]["bias"]
    np.testing.assert_allclose(block.apply(variables, x, train=False)[0], want, atol=1e-5)


def test_dropout_in_a_branch_zeroes_or_scales_each_value():
    """With K = 1 and no gate the output shows the branch: 0, or twice what it is in test mode."""
    f = settings("pooled_cnn.py") | {"branches": 1, "gate": "none", "branch_dropout": 0.5}
    x = jax.random.normal(jax.random.key(0), (8, 32, 32, 3))
    block = AdaptiveBlock(**f)
    variables = init(block, x, train=False)
    test, _ = block.apply(variables, x, train=False)
    np.testing.assert_array_equal(
        test, AdaptiveBlock(**f | {"branch_dropout": 0.0}).apply(variables, x, train=True)[0]
    )
    train, _ = block.apply(variables, x, train=True, rngs={"dropout": jax.random.key(2)})
    shown = np.asarray(test) > 0
    ratio = (np.asarray(train)[shown] / np.asarray(test)[shown]).round(4)
    assert set(ratio.tolist()) == {0.0, 2.0}
    assert abs((ratio == 0).mean() - 0.5) < 0.02
    assert (np.asarray(train)[~shown] == 0).all()


# The layers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("impl", ["rbg", "threefry2x32"])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_statistics(rate, impl):
    shape = (64, 9, 9, 33)  # an odd number of channels
    y = np.asarray(layers.dropout(jnp.full(shape, 3.0), rate, jax.random.key(0, impl=impl)))
    zero = y == 0
    np.testing.assert_allclose(y[~zero], 3 / (1 - rate), rtol=1e-6)
    sigma = (rate * (1 - rate) / zero.size) ** 0.5
    assert abs(zero.mean() - rate) < 5 * sigma
    for axis in range(4):  # no value tells of its neighbour
        one, other = np.delete(zero, 0, axis), np.delete(zero, -1, axis)
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / one.size**0.5
    other = layers.dropout(jnp.full(shape, 3.0), rate, jax.random.key(1, impl=impl))
    assert abs(((other == 0) & zero).mean() - rate**2) < 5 * sigma


def test_dropout_has_the_gradient_of_its_mask():
    x, key = jnp.linspace(-1, 1, 4000).reshape(10, 400), jax.random.key(0)
    y, pull = jax.vjp(lambda x: layers.dropout(x, 0.25, key), x)
    np.testing.assert_allclose(pull(jnp.ones_like(x))[0], np.where(y == 0, 0, 4 / 3), rtol=1e-6)


def test_relu_commutes_with_dropout_and_max_pool():
    x, key = jax.random.normal(jax.random.key(0), (4, 8, 8, 6)), jax.random.key(1)
    one = layers.max_pool(layers.dropout(nn.relu(x), 0.3, key), 2)
    other = nn.relu(layers.max_pool(layers.dropout(x, 0.3, key), 2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("shape", "size"), [((2, 8, 8, 3), 2), ((2, 7, 10, 3), 3), ((2, 4, 4, 3), 1)]
)
def test_max_pool_is_reduce_window_in_value_and_gradient(shape, size):
    x = jax.random.normal(jax.random.key(0), shape)

    def reference(x):
        window = (1, size, size, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")

    np.testing.assert_array_equal(layers.max_pool(x, size), reference(x))
    weights = jax.random.normal(jax.random.key(1), reference(x).shape)
    one, other = (
        jax.grad(lambda x, pool=pool: (pool(x) * weights).sum())(x)
        for pool in (reference, lambda x: layers.max_pool(x, size))
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_prelu():
    x = jnp.array([[-2.0, -2.0], [0.0, 3.0]])
    module = layers.PReLU()
    variables = module.init(jax.random.key(0), x)
    np.testing.assert_array_equal(module.apply(variables, x), [[-0.5, -0.5], [0.0, 3.0]])
    gradient = jax.grad(lambda v: module.apply(v, x).sum())(variables)
    np.testing.assert_array_equal(gradient["params"]["slope"], [-2.0, -2.0])  # one a channel


CONVOLUTIONS = [  # size, stride, padding, pooled, channels in and out, rows
    (3, 1, 1, False, 3, 5, 8),
    (3, 2, 1, False, 3, 5, 8),
    (3, 2, 1, False, 20, 20, 8),
    (5, 1, 0, False, 3, 5, 8),
    (5, 1, 0, True, 3, 5, 12),
    (3, 1, 0, True, 8, 16, 8),
    (3, 1, 0, True, 8, 16, 9),
    (1, 2, 0, False, 3, 5, 8),
    (4, 1, 1, True, 3, 5, 8),
]


@PLATFORMS
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution_pads_as_pytorch_does(case, platform):
    size, stride, padding, pooled, c_in, c_out, rows = case
    x = np.random.default_rng(0).normal(size=(2, rows, rows, c_in)).astype(np.float32)
    conv = layers.Conv(c_out, size, padding, stride, platform=platform, pooled=pooled)
    variables = init(conv, x)

    def pooling(y):
        return layers.max_pool(y, 2) if pooled else y

    want = slow_conv(x, **variables["params"], padding=padding, stride=stride)
    want = slow_pool(want, 2) if pooled else want
    got = jax.jit(lambda v: pooling(conv.apply(v, x)))(variables)
    np.testing.assert_allclose(got, want, atol=2e-5)

    # the gradients, for the images and the kernel, against lax's own convolution
    weights = jax.random.normal(jax.random.key(1), want.shape)

    def plain(v, x):
        y = lax.conv_general_dilated(
            x,
            v["params"]["kernel"],
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return (pooling(y + v["params"]["bias"]) * weights).sum()

    def ours(v, x):
        return (pooling(conv.apply(v, x)) * weights).sum()

    one, other = (jax.jit(jax.grad(f, (0, 1)))(variables, x) for f in (ours, plain))
    chex.assert_trees_all_close(one, other, rtol=1e-4, atol=1e-4)


def test_batch_norm_in_training_keeps_a_tenth_of_the_batchs_mean():
    norm = layers.batch_norm(True, jnp.float32, None)
    x = 3 + 2 * np.random.default_rng(0).normal(size=(16, 8, 8, 4)).astype(np.float32)
    variables = norm.init(jax.random.key(0), x)
    y, updated = norm.apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-4)
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-4)
    # with or without Bessel's correction, 1/1023
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-3)


def test_initialisation():
    x = jnp.zeros((1, 8, 8, 64))
    conv = init(layers.Conv(256, 3, 1), x)["params"]
    dense = init(layers.Dense(500), x)["params"]
    he = init(layers.Conv(256, 3, 1, kernel_init=resnet.he_normal), x)["params"]
    for params, fan_in in ((conv, 9 * 64), (dense, 64)):
        for leaf in params.values():
            assert 0.97 < abs(leaf).max() * fan_in**0.5 <= 1
            assert float(leaf.std()) == pytest.approx((3 * fan_in) ** -0.5, rel=0.15)
    assert float(he["kernel"].std()) == pytest.approx((2 / 9 / 64) ** 0.5, rel=0.02)
    assert abs(conv["kernel"][..., 0] - conv["kernel"][..., 1]).min() > 0  # no two filters equal


# ResNet ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [8, 20, 56, 110])
def test_resnet_has_depth_layers_of_weights(depth):
    model = ResNet(10, depth, 4, "A")
    params = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    )["params"]
    assert sum(leaf.ndim > 1 for leaf in jax.tree.leaves(params)) == depth


@pytest.mark.parametrize("depth", [18, 21, 2, 0, -4])
def test_other_depths_are_refused(depth):
    with pytest.raises(UserError, match="6n\\+2"):
        experiment.build(page("resnet20.py", **{"model.depth": depth}))


def test_shortcut_a_takes_every_second_pixel_and_pads_channels_with_zeros():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    block = BasicBlock(10, 2, "A", jnp.float32, "cpu")
    variables = init(block, x, train=False)
    nothing = jax.tree.map(jnp.zeros_like, variables["params"])  # only the shortcut is left
    got = jax.jit(lambda v: block.apply(v, x, train=False))(variables | {"params": nothing})
    want = np.zeros((2, 4, 4, 10), np.float32)
    want[..., 3:7] = np.maximum(x[:, ::2, ::2], 0)
    np.testing.assert_array_equal(got, want)


@PLATFORMS
@pytest.mark.parametrize(("shortcut", "stride"), [("A", 1), ("A", 2), ("B", 2)])
def test_basic_block(shortcut, stride, platform):
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    block = BasicBlock(4 * stride, stride, shortcut, jnp.float32, platform)
    variables = random_like(jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False)))
    p, s = jax.tree.map(np.float64, (variables["params"], variables["batch_stats"]))
    y = slow_conv(x, p["conv1"]["kernel"], 0, 1, stride)
    y = np.maximum(slow_norm(y, p["norm1"], s["norm1"], False), 0)
    y = slow_norm(slow_conv(y, p["conv2"]["kernel"], 0, 1), p["norm2"], s["norm2"], False)
    if shortcut == "B":
        skip = slow_conv(x, p["skip"]["kernel"], 0, 0, stride)
        skip = slow_norm(skip, p["skip_norm"], s["skip_norm"], False)
    else:
        extra = (4 * stride - 4) // 2
        skip = np.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (extra, extra)))
    want = np.maximum(y + skip, 0)
    got = jax.jit(lambda v: block.apply(v, x, train=False))(variables)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@PLATFORMS
def test_simple_cnn_is_the_reports(platform):
    """conv → BN → swish → pool, twice, flatten, three Dense layers with ReLU between."""
    model = built("simple_cnn.py:swish", platform)
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


@pytest.mark.parametrize("name", ["adaptive.py", "adaptive_prelu.py", "pooled_cnn.py"])
def test_gates_depend_on_the_image(name):
    model = built(name, **{"model.widths": tuple(4 for _ in page(name).model.widths)})
    x = jax.random.normal(jax.random.key(1), (3, 32, 32, 3)) + jnp.arange(3.0).reshape(3, 1, 1, 1)
    _, gates = jax.jit(lambda v: model.apply(v, x, train=False))(init(model, x, train=False))
    for gate in gates.values():
        assert abs(gate[0] - gate[1]).max() > 1e-4
        if page(name).model.gate == "softmax":
            np.testing.assert_allclose(gate.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.gate": "sigmoid"}, "linear, softmax, none"),
        ({"model.activation": "tanh"}, "none, relu, swish, "),
        ({"model.branch_activation": "tanh"}, "none, relu, swish, "),
        ({"model.head_input": "max"}, "mean, flatten"),
        ({"model.branch_dropout": 1.0}, "branch_dropout"),
        ({"model.head_dropout": -0.5}, "head_dropout"),
        ({"model.widths": (4,)}, "widths has 1 values and config.model.num_blocks 2"),
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
        ({"model.kernel_size": 99}, "does not fit the images: a convolution of kernel size 99"),
        ({"model.branch_pool": 33}, "does not fit the images: a 33×33 max-pool on a map of 32×32"),
        ({"model.branch_pool": 6}, "a 6×6 max-pool on a map of 5×5"),
        ({"model.name": "vgg"}, "adaptive, resnet, simple_cnn, mlp"),
        ({"compute_dtype": "float16"}, "float32, bfloat16"),
    ],
    ids=str,
)
def test_wrong_models_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        experiment.build(tiny(**change))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("simple_cnn.py", {"model.widths": (8,)}, "widths has 1 .*kernel_sizes 2"),
        ("simple_cnn.py", {"model.widths": (), "model.kernel_sizes": ()}, "at least one value"),
        ("simple_cnn.py", {"model.kernel_sizes": (5, 0)}, "kernel_sizes"),
        ("simple_cnn.py", {"model.kernel_sizes": (33, 3)}, "does not fit the images"),
        ("simple_cnn.py", {"model.kernel_sizes": (32, 3)}, "a 2×2 max-pool on a map of 1×1"),
        ("simple_cnn.py", {"model.hidden": (0,)}, "hidden"),
        ("resnet20.py", {"model.width": 0}, "width is 0"),
        ("resnet20.py", {"model.shortcut": "C"}, "A, B"),
    ],
    ids=str,
)
def test_wrong_models_of_other_kinds_are_refused(name, change, message):
    with pytest.raises(UserError, match=message):
        experiment.build(page(name, **change))


@pytest.mark.parametrize("change", [{"hidden": (-1,)}, {"dropout": 1.0}, {"num_classes": 0}])
def test_wrong_perceptrons_are_refused(change):
    keys = {"name": "mlp", "num_classes": 10, "hidden": (), "dropout": 0.0} | change
    with pytest.raises(UserError, match=next(iter(change))):
        models.build(keys, jnp.float32, "cpu")


def test_a_models_own_bug_is_not_called_a_mistake_in_the_config(monkeypatch):
    """Nor does it end in one line: whoever wrote the model needs the traceback."""

    def broken(self, x, *, train):
        return len(3)

    monkeypatch.setattr(ResNet, "__call__", broken)
    with pytest.raises(TypeError, match="has no len"):
        experiment.build(page("resnet20.py"))
