"""Exported files: their own library reads them and predicts what the net predicts."""

import importlib.util
import json
import sys
import types

import flax.linen as nn
import jax
import jax.export
import numpy as np
import pytest
import safetensors
from conftest import tiny
from flax import traverse_util
from jax import lax
from nets import CONFIGS, IMAGES, NAMES, net_of, random_model, torch_or_skip

from jaxcifar import export as export_command
from jaxcifar import models
from jaxcifar.config import schema
from jaxcifar.errors import UserError
from jaxcifar.training import experiment
from jaxcifar.training.views import mean_over_views
from jaxcifar.weights import export, onnx, release, torch_names
from jaxcifar.weights.net import load_net


@pytest.fixture(scope="module", params=CONFIGS)
def net(request):
    return net_of(CONFIGS[request.param])


def torch_images(net):
    """The normalised images of a PyTorch net, [B, C, H, W]."""
    keys = net.parts.config.augment
    return ((IMAGES / 255 - keys.mean) / keys.std).transpose(0, 3, 1, 2).astype(np.float32)


def test_the_program_predicts_what_the_net_predicts(net):
    """It takes any number of images."""
    exported = jax.export.deserialize(bytearray(export.to_jax(net)))
    assert exported.platforms == ("cpu", "cuda")
    want = net.predict(IMAGES).probabilities
    assert np.ptp(want, 0).max() > 1e-3  # otherwise the comparison would show nothing
    for images, expected in ((IMAGES, want), (IMAGES[:3], want[:3])):
        got = jax.jit(exported.call)(images)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_safetensors_hold_weights_and_metadata(net, tmp_path):
    (tmp_path / "net.safetensors").write_bytes(export.to_safetensors(net))
    with safetensors.safe_open(tmp_path / "net.safetensors", "numpy") as file:
        metadata = file.metadata()
        flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dict
    config = schema.from_json(metadata["config"])
    names, mean, std = (json.loads(metadata[key]) for key in ("class_names", "mean", "std"))
    assert (names, metadata["step"]) == (list(NAMES), "7")
    assert (mean, std) == (list(config.augment.mean), list(config.augment.std))
    variables = traverse_util.unflatten_dict(flat, sep="/")
    model = models.build_model(config.model, np.float32, "")
    x = torch_images(net).transpose(0, 2, 3, 1)
    views = config.evaluation.views
    score = jax.jit(lambda x: model.apply({"batch_stats": {}} | variables, x, train=False)[0])
    assert_same(mean_over_views(score, x, views), net.predict(IMAGES).logits)


def test_the_onnx_model_predicts_the_same(net):
    """ONNX Runtime computes the same probabilities for batches of other sizes, from pixels."""
    for package in ("onnx", "onnxruntime", "jax2onnx"):
        pytest.importorskip(package, reason=f"needs {package}: {onnx.INSTALL}")
    import onnxruntime

    content = export.to_onnx(net)
    library = importlib.import_module("onnx")
    held = [np.prod(x.dims) for x in library.load_from_string(content).graph.initializer]
    weights = sum(leaf.size for leaf in jax.tree.leaves(net.variables))
    assert sum(held) < 1.2 * weights + 100  # once, even with views
    session = onnxruntime.InferenceSession(content)
    want = net.predict(IMAGES).probabilities
    for images, rows in ((IMAGES, want), (IMAGES[3:4], want[3:4])):
        (found,) = session.run(None, {"images": images})
        np.testing.assert_allclose(found, rows, atol=1e-5)
    found = session.get_modelmeta().custom_metadata_map
    assert found == export.describe(net)
    assert json.loads(found["class_names"]) == list(NAMES)


def test_an_onnx_model_that_computes_something_else_is_not_written(monkeypatch):
    images = np.zeros((2, 32, 32, 3), np.uint8)
    model = types.SimpleNamespace(SerializeToString=lambda: b"")
    session = types.SimpleNamespace(run=lambda names, inputs: [np.full((2, 2), 0.4, np.float32)])
    modules = (
        types.SimpleNamespace(helper=types.SimpleNamespace(set_model_props=lambda *_: None)),
        types.SimpleNamespace(InferenceSession=lambda content, providers: session),
        None,
        types.SimpleNamespace(to_onnx=lambda *_, **__: model),
        types.SimpleNamespace(optimize_graph=None),
    )
    monkeypatch.setattr(onnx, "require_onnx", lambda: modules)
    with pytest.raises(UserError, match=r"differ by 0.1 from those of JAX; no file was written"):
        onnx.to_onnx(lambda x: np.full((2, 2), 0.5, np.float32), images, {})


def test_without_jax2onnx_one_line_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(UserError, match=r"this needs jax2onnx .*pip install --no-deps jax2onnx"):
        export.export_weights(tmp_path, "latest", "onnx", tmp_path / "net.onnx")


def assert_same(logits, want):
    np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_import_is_the_inverse_of_export(net):
    tensors = torch_names.to_state_dict(net.parts.model, net.variables)
    assert len(tensors) == len(jax.tree.leaves(net.variables))  # no two leaves share a name
    model = net.parts.abstract_model()
    like = {name: model[name] for name in net.variables}
    back = torch_names.from_state_dict(net.parts.model, like, tensors)
    jax.tree.map(np.testing.assert_array_equal, back, net.variables)


def test_a_model_that_offers_no_names_keeps_the_names_of_its_modules():
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="head")(nn.Conv(4, (3, 3), name="first")(x).mean((1, 2)))

    variables = Plain().init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    tensors = torch_names.to_state_dict(Plain(), variables)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "first.weight": (4, 3, 3, 3),
        "first.bias": (4,),
        "head.weight": (2, 4),
        "head.bias": (2,),
    }
    back = torch_names.from_state_dict(Plain(), variables, tensors)
    jax.tree.map(np.testing.assert_array_equal, back, dict(variables))


def conv(x, kernel, stride=1, pad=0):
    """A convolution in PyTorch's layout: [B, C, H, W] with [O, C, k, k]."""
    padding = [(pad, pad)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding)


def norm(x, tensors, name):
    mean, var, scale, bias = (
        tensors[f"{name}.{key}"].reshape(-1, 1, 1)
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


def linear(x, tensors, name):
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def test_a_state_dict_fits_a_net_that_flattens_as_pytorch_does():
    """PyTorch flattens [C, H, W]: after convolutions, from pixels and from whitened pixels."""
    net = net_of(CONFIGS["simple_cnn"])
    tensors = torch_names.to_state_dict(net.parts.model, net.variables)
    x = torch_images(net)
    for i in range(2):
        x = conv(x, tensors[f"conv{i}.weight"]) + tensors[f"conv{i}.bias"].reshape(-1, 1, 1)
        x = np.maximum(norm(x, tensors, f"norm{i}"), 0)
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // 2, 2, w // 2, 2).max((3, 5))
    hidden = np.maximum(linear(x.reshape(100, -1), tensors, "head.dense0"), 0)
    assert_same(linear(hidden, tensors, "head.dense1"), net.predict(IMAGES).logits)

    net = net_of(CONFIGS["mlp"])
    tensors = torch_names.to_state_dict(net.parts.model, net.variables)
    hidden = linear(torch_images(net).reshape(100, -1), tensors, "head.dense0")
    hidden = np.maximum(hidden, 0)
    assert_same(linear(hidden, tensors, "head.dense1"), net.predict(IMAGES).logits)

    net = net_of(CONFIGS["whitened_mlp"])
    tensors = torch_names.to_state_dict(net.parts.model, net.variables)
    x = jax.nn.gelu(conv(torch_images(net), tensors["net.whitening.weight"]), approximate=False)
    hidden = np.maximum(linear(x.reshape(100, -1), tensors, "net.net.head.dense0"), 0)
    logits = 0.5 * linear(hidden, tensors, "net.net.head.dense1")
    assert_same(logits, net.predict(IMAGES).logits)


def common_resnet(torch, blocks, width, shortcut, preactivation=False):
    """The CIFAR ResNet as it is commonly written in PyTorch, with its common names."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, c_in, c_out, stride):
            super().__init__()
            self.bn1 = nn.BatchNorm2d(c_in if preactivation else c_out)
            self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(c_out)
            self.shortcut, self.extra, self.stride = None, c_out - c_in, stride
            if self.extra and shortcut == "B":
                skip = [nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)]
                self.shortcut = nn.Sequential(*skip[: 1 if preactivation else 2])

        def forward(self, x):
            if preactivation:
                first = F.relu(self.bn1(x))
                y = self.conv2(F.relu(self.bn2(self.conv1(first))))
                return y + (self.shortcut(first) if self.shortcut else x)
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            if self.shortcut:
                x = self.shortcut(x)
            elif self.extra:
                half = self.extra // 2
                x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
            return F.relu(x + y)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [width, *(width * 2**i for i in range(len(blocks)))]
            self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(widths[-1] if preactivation else width)
            for i, count in enumerate(blocks):
                c_in, c = widths[i : i + 2]
                first = Block(c_in, c, 2 if i else 1)
                rest = (Block(c, c, 1) for _ in range(count - 1))
                setattr(self, f"layer{i + 1}", nn.Sequential(first, *rest))
            self.linear = nn.Linear(widths[-1], 10)

        def forward(self, x):
            x = self.conv1(x)
            x = x if preactivation else F.relu(self.bn1(x))
            for i in range(len(blocks)):
                x = getattr(self, f"layer{i + 1}")(x)
            x = F.relu(self.bn1(x)) if preactivation else x
            return self.linear(x.mean((2, 3)))

    return Net()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet", ((2, 2, 2), 4, "A")),
        ("resnet_b", ((2, 2, 2), 4, "B")),
        ("resnet18", ((2, 2, 2, 2), 4, "B")),
        ("wide", ((1, 1, 1), 4, "B", True)),
    ],
)
def test_a_common_pytorch_resnet_loads_the_state_dict(name, arguments, tmp_path):
    torch = torch_or_skip()
    net = net_of(CONFIGS[name])
    (tmp_path / "net.pt").write_bytes(export.to_torch(net))
    twin = common_resnet(torch, *arguments)
    twin.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))  # all names must match
    with torch.no_grad():
        logits = twin.eval()(torch.from_numpy(torch_images(net))).numpy()
    assert_same(logits, net.predict(IMAGES).logits)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A saved step whose averaged weights differ from the trained ones."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = tiny(**{"optimizer.ema_decay": 0.9, "data.dir": "/tmp"})
    meta = {"config": schema.to_json(config), "class_names": NAMES}
    release.write_weights(folder, 7, random_model(experiment.build_experiment(config)), meta, 0.5)
    return folder


@pytest.mark.parametrize("to", ["safetensors", "jax"])
def test_the_command_writes_the_averaged_weights_and_overwrites_nothing(to, trained, run, tmp_path):
    out = tmp_path / "new" / "net"
    words = [f"--checkpoint={trained}", f"--to={to}", f"--out={out}", "--step=best"]
    status, out_text, err = run(export_command.main, words)
    assert (status, err) == (0, "")
    assert out_text.startswith(f"wrote {out} ({to}, ")
    content = out.read_bytes()
    net = load_net(trained, "best")
    if to == "jax":
        got = jax.export.deserialize(bytearray(content)).call(IMAGES)
        np.testing.assert_allclose(got, net.predict(IMAGES).probabilities, rtol=1e-4, atol=1e-6)
    else:
        want = traverse_util.flatten_dict(net.variables, sep="/")
        found = safetensors.numpy.load(content)
        assert set(found) == set(want)
        for name, leaf in want.items():
            np.testing.assert_array_equal(found[name], leaf)
        assert b"/tmp" not in content
    assert [file.name for file in out.parent.iterdir()] == ["net"]
    assert run(export_command.main, words) == (
        2,
        "",
        f"error: --out={out} already exists; choose another file\n",
    )
    assert out.read_bytes() == content


def test_only_the_torch_format_needs_pytorch(trained, run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    words = [f"--checkpoint={trained}", "--to=torch", f"--out={tmp_path / 'new' / 'net'}"]
    status, out, err = run(export_command.main, words)
    assert (status, out) == (2, "")
    assert err.startswith("error: this needs PyTorch, which is not installed here: pip install")
    assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()
    assert export.export_weights(trained, "best", "safetensors", tmp_path / "net") > 0
