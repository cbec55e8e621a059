"""Helpers for tests of models: initialised nets, and a slow, obvious version of each part."""

import functools

import jax
import numpy as np
import pytest
from conftest import config_of
from numpy.lib.stride_tricks import sliding_window_view

from jaxcifar import models
from jaxcifar.models.adaptive import AdaptiveBlock


def random_like(tree, seed=0):
    """Normal values in the tree's shapes; variances are positive."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        x = rng.normal(size=leaf.shape).astype(np.float32)
        return abs(x) + 0.1 if "var" in jax.tree_util.keystr(path) else x

    return jax.tree_util.tree_map_with_path(draw, tree)


def build_net(name, platform="cpu", **changes):
    config = config_of(name, **changes)
    return models.build_model(config.model, models.DTYPES[config.compute_dtype], platform)


def init(module, *inputs, seed=0, **keywords):
    """The module's variables; compiling this is faster than running one operation at a time."""
    return jax.jit(lambda key: module.init(key, *inputs, **keywords))(jax.random.key(seed))


PLATFORMS = pytest.mark.parametrize("platform", ["cpu", "gpu"])  # with different implementations


def slow_conv(x, kernel, bias=0.0, padding=0, stride=1):
    """The definition, a sum over each window; [B, H, W, C_in] with [k, k, C_in, C]."""
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


def block_fields(name, **changes):
    """The block's fields in a config, with few features and no dropout."""
    model = dict(config_of(name).model, branch_dropout=0.0, features=4, **changes)
    fields = AdaptiveBlock.__dataclass_fields__
    return {k: v for k, v in model.items() if k in fields and k not in ("name", "parent")}
