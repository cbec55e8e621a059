"""Import of PyTorch state_dicts: the same weights, or one line that says why not."""

import os
import pathlib
import pickle
import re
import sys
import types
import zipfile

import jax
import numpy as np
import pytest
import safetensors.numpy
from conftest import ROOT, config_of, overrides
from nets import CONFIGS, IMAGES, NAMES, RESNET, net_of, random_model, torch_or_skip

from jaxcifar import evaluate, import_torch
from jaxcifar.config import schema
from jaxcifar.errors import UserError
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.training import experiment, state
from jaxcifar.weights import evaluation, export, release, torch_names
from jaxcifar.weights import import_torch as import_weights
from jaxcifar.weights.net import load_net

CONFIG_FILE = ROOT / "configs" / "resnet20.py"
COUNTER = "bn1.num_batches_tracked"


@pytest.fixture(scope="module")
def resnet():
    """A net and its state_dict, as arrays."""
    net = net_of(CONFIGS["resnet_b"])
    return net, torch_names.to_state_dict(net.parts.model, net.variables)


def torchvision_name(name):
    return name.replace("linear.", "fc.").replace("shortcut.", "downsample.")


def prefixed(prefix, tensors):
    return {f"{prefix}{name}": x for name, x in tensors.items()}


FORMS = {  # form -> function that makes it, and what the command says that it took off
    "plain": (lambda tensors: tensors, ""),
    "DataParallel": (lambda x: prefixed("module.", x), "without the prefix module."),
    "with other keys": (
        lambda x: {"epoch": 3, "best": 0.5, "state_dict": x},
        "under state_dict",
    ),
    "torchvision": (lambda x: {torchvision_name(name): y for name, y in x.items()}, ""),
    "pytorch-cifar": (
        lambda x: {"net": prefixed("module.", x), "acc": 93.0, "epoch": 7},
        "under net without the prefix module.",
    ),
    "Lightning": (
        lambda x: {"state_dict": prefixed("model.", x), "epoch": 7, "lr_schedulers": []},
        "under state_dict without the prefix model.",
    ),
    "compiled": (
        lambda x: {"model": {"model_state_dict": prefixed("_orig_mod.module._orig_mod.", x)}},
        "under model.model_state_dict without the prefix _orig_mod.module._orig_mod.",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_state_dict_becomes_the_same_net(form, resnet, run, tmp_path):
    torch = torch_or_skip()
    net, arrays = resnet
    tensors = {name: torch.nn.Parameter(torch.tensor(x)) for name, x in arrays.items()}
    tensors[COUNTER] = torch.tensor(5)
    make, note = FORMS[form]
    torch.save(make(tensors), tmp_path / "net.pt")
    changes = {**RESNET, "model.shortcut": "B", "augment.mean": "0.4,0.5,0.6"}
    words = [tmp_path / "net.pt", f"--config={CONFIG_FILE}", *overrides(**changes)]
    status, out, err = run(import_torch.main, [*words, f"--workdir={tmp_path / 'net'}"])
    assert (status, err) == (0, "")
    assert re.findall(r"^read the weights (.*)$", out, re.M) == [note] * bool(note)
    assert "images are normalised with mean 0.4, 0.5, 0.6 and std 0.2023, 0.1994, 0.201;" in out
    back = load_net(tmp_path / "net")
    jax.tree.map(np.testing.assert_array_equal, back.variables, net.variables)
    assert back.parts.config.augment.mean == (0.4, 0.5, 0.6)
    assert back.class_names[:2] == ("airplane", "automobile")
    with pytest.raises(UserError, match=r"imported from net.pt, .*; share that file instead"):
        release.release_weights(tmp_path / "net", "latest", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    status, out, err = run(import_torch.main, [*words, f"--workdir={tmp_path / 'net'}"])
    assert (status, out) == (2, "")
    assert err == f"error: --workdir={tmp_path / 'net'} already exists; choose another folder\n"


@pytest.mark.parametrize("name", ["quickstart", "speedrun"])
def test_exported_weights_are_imported_and_evaluated(name, small_data, run, tmp_path):
    """This also holds if the config averages weights, and `evaluate` runs on the result."""
    torch_or_skip()
    net = net_of(CONFIGS[name])
    (tmp_path / "net.pt").write_bytes(export.to_torch(net))
    config = CONFIGS[name].copy_and_resolve_references()
    with config.unlocked():
        config.optimizer.ema_decay = 0.9
    import_weights.import_state_dict(
        tmp_path / "net.pt", schema.check_top_level(config), tmp_path / "net"
    )
    want = net.predict(IMAGES).logits
    np.testing.assert_array_equal(load_net(tmp_path / "net").predict(IMAGES).logits, want)
    words = [f"--checkpoint={tmp_path / 'net'}", "--other_classes"]  # those of the small data
    status, out, err = run(evaluate.main, words)
    assert (status, "error" in err) == (0, False)
    test = experiment.load_data(config).test
    accuracy = (net.predict(test.images).logits.argmax(1) == test.labels).mean()
    assert f"accuracy {accuracy:.4f}" in out


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_pytorchs_names_in_safetensors_become_the_same_net_without_pytorch(
    dtype, resnet, run, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch", None)
    net, arrays = resnet
    tensors = {f"model.{name}": x.astype(dtype) for name, x in arrays.items()}
    tensors[f"model.{COUNTER}"] = np.array(5)
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    words = [f"--config={CONFIG_FILE}", *overrides(**RESNET, **{"model.shortcut": "B"})]
    words += [tmp_path / "model.safetensors", f"--workdir={tmp_path / 'net'}"]
    status, out, err = run(import_torch.main, words)
    assert (status, err) == (0, "")
    assert out.startswith("read the weights without the prefix model.\n")
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, np.asarray(b).astype(dtype)),
        load_net(tmp_path / "net").variables,
        net.variables,
    )


@pytest.mark.parametrize("name", ["quickstart", "resnet", "speedrun", "whitened_mlp"])
def test_our_own_safetensors_become_the_same_net_with_its_class_names(name, run, tmp_path):
    net, file = net_of(CONFIGS[name]), tmp_path / "net.safetensors"
    file.write_bytes(export.to_safetensors(net))
    import_weights.import_state_dict(file, CONFIGS[name], tmp_path / "net")
    back = load_net(tmp_path / "net")
    assert back.class_names == net.class_names == NAMES
    np.testing.assert_array_equal(back.predict(IMAGES).logits, net.predict(IMAGES).logits)
    config = CONFIGS[name].copy_and_resolve_references()
    with config.unlocked():
        config.augment.std = (0.1, 0.2, 0.25)
    want = re.escape(",".join(map(str, net.parts.config.augment.std)))
    with pytest.raises(UserError, match=f"std is 0.1,0.2,0.25; add --config.augment.std={want}"):
        import_weights.import_state_dict(file, config, tmp_path / "other")


def test_a_mean_of_0_equals_one_of_0_0(tmp_path):
    config = CONFIGS["mlp"].copy_and_resolve_references()
    with config.unlocked():
        config.augment.mean, config.augment.std = (0, 0, 0), (1, 1, 1)
    file = tmp_path / "net.safetensors"
    file.write_bytes(export.to_safetensors(net_of(config)))
    import_weights.import_state_dict(file, config, tmp_path / "net")
    assert load_net(tmp_path / "net").parts.config.augment.mean == (0.0, 0.0, 0.0)


def test_a_file_without_tensors_is_refused():
    with pytest.raises(UserError, match="x holds no weights"):
        import_weights.read_state_dict(pathlib.Path("x"), safetensors.numpy.save({}))


def test_our_own_safetensors_of_another_net_are_refused(tmp_path):
    file = tmp_path / "net.safetensors"
    file.write_bytes(export.to_safetensors(net_of(CONFIGS["resnet_b"])))
    with pytest.raises(UserError, match=r"do not fit config.model: they have .*/skip_norm/"):
        import_weights.import_state_dict(file, CONFIGS["resnet"], tmp_path / "x")


def test_damaged_safetensors_are_refused_in_one_line_or_hold_finite_weights(resnet):
    whole = safetensors.numpy.save(resnet[1], {"mean": "["})
    rng = np.random.default_rng(0)
    for number in range(200):
        damaged = bytearray(whole)
        damaged[int(rng.integers(8 + 4000))] ^= 1 << int(rng.integers(8))
        content = bytes(damaged) if number % 2 else whole[: int(rng.integers(9, len(whole)))]
        if content[8:9] != b"{":
            continue  # read as a file of PyTorch
        try:
            state = import_weights.read_state_dict(pathlib.Path("x"), content)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert all(np.isfinite(x).all() for x in state.tensors.values())


def test_a_type_that_numpy_lacks_is_named():
    header = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    content = len(header).to_bytes(8, "little") + header + bytes(2)
    with pytest.raises(UserError, match="x holds tensors of type BF16, which NumPy lacks; save"):
        import_weights.read_state_dict(pathlib.Path("x"), content)


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return pathlib.Path.touch, (self.file,)


@pytest.mark.parametrize("protocol", ["torch", "pickle", "beside"])
def test_code_in_a_file_does_not_run(protocol, tmp_path, run):
    torch = torch_or_skip()
    evil, file = Evil(tmp_path / "ran"), tmp_path / "net.pt"
    if protocol == "pickle":
        file.write_bytes(pickle.dumps(evil))
    else:
        content = {"state_dict": {"conv1.weight": torch.zeros(16, 3, 3, 3)}, "more": evil}
        torch.save(content if protocol == "beside" else evil, file)
    status, out, err = run(
        import_torch.main, [file, f"--config={CONFIG_FILE}", f"--workdir={tmp_path}/x"]
    )
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {file} was not loaded, and no code in it was run: it holds")
    assert err.count("\n") == 1
    assert sorted(f.name for f in tmp_path.iterdir()) == ["net.pt"]
    if protocol == "pickle":
        pickle.loads(file.read_bytes())
    else:
        torch.load(file, weights_only=False)
    assert (tmp_path / "ran").exists()  # unpickling runs it


def test_a_file_without_a_state_dict_is_refused(tmp_path):
    torch = torch_or_skip()
    torch.save({"conv1.weight": torch.zeros(5)}, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    for content in (b"", b"\x89PNG\r\n\x1a\n" + bytes(50), whole[: len(whole) // 2], b"text"):
        with pytest.raises(UserError, match=r"x.th was not loaded, .*is not a PyTorch file"):
            import_weights.read_state_dict(pathlib.Path("x.th"), content)
    for content, message in (
        (torch.zeros(5), "holds no state_dict; expected one, alone or under the key 'state_dict'"),
        ({}, "holds no state_dict"),
        ({"state_dict": [torch.zeros(5)]}, "holds no state_dict"),
        ({0: torch.zeros(5)}, "holds no state_dict"),
        ({"bn1.num_batches_tracked": torch.tensor(3)}, "holds no weights"),
        ({"epoch": 3, "weights": {}}, "holds epoch of type int; expected tensors of floats"),
        ({"epoch": 3, "net": {}}, "holds no state_dict"),
        ({"a": torch.zeros(5, dtype=torch.int32)}, "holds a of type torch.int32; expected"),
    ):
        torch.save(content, tmp_path / "other")
        with pytest.raises(UserError, match=message):
            import_weights.read_state_dict(pathlib.Path("x.th"), (tmp_path / "other").read_bytes())
    with pytest.raises(UserError, match=r"cannot read .*none.pt: No such file or directory"):
        import_weights.import_state_dict(
            tmp_path / "none.pt", config_of("resnet20.py"), tmp_path / "x"
        )
    assert not (tmp_path / "x").exists()


def fit(changes, tensors):
    """Returns a state_dict as the variables of a ResNet with the changes."""
    parts = experiment.build_experiment(config_of("resnet20.py", **RESNET | changes))
    model = random_model(parts)
    like = {name: model[name] for name in ("params", "batch_stats")}
    return torch_names.from_state_dict(parts.model, like, tensors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"they have layer2.0.shortcut.0.weight, .*shortcut.* and 7 more, which the model"),
        ({"model.depth": 20}, r"they lack layer1.2.conv1.weight, .* and 27 more; they have lay"),
        (
            {"model.width": 8, "model.shortcut": "B"},
            r"conv1.weight has shape \[4, 3, 3, 3\], but the model's has \[8, 3, 3, 3\]",
        ),
    ],
)
def test_weights_of_another_net_are_refused(changes, message, resnet):
    with pytest.raises(UserError, match=f"do not fit config.model: .*{message}") as error:
        fit(changes, resnet[1])
    assert "its depth, width and shortcut, by --config.model.KEY=VALUE" in str(error.value)


def test_a_missing_tensor_is_named(resnet):
    tensors = {name: x for name, x in resnet[1].items() if name != "bn1.running_var"}
    with pytest.raises(UserError, match=r"config.model: they lack bn1.running_var; describe"):
        fit({"model.shortcut": "B"}, tensors)


def test_a_tensor_under_two_names_is_refused(resnet):
    tensors = resnet[1] | {"fc.bias": np.zeros(10)}
    with pytest.raises(UserError, match=r"they have fc.bias, which the model does not have"):
        fit({"model.shortcut": "B"}, tensors)


@pytest.mark.parametrize(
    ("torch", "message"),
    [
        (None, "needs PyTorch, which is not installed"),
        (types.SimpleNamespace(__version__="2.5.1+cpu"), r"2.5.1\+cpu is installed; expected 2.6"),
        (types.SimpleNamespace(__version__="1.13.0"), "1.13.0 is installed; expected 2.6"),
    ],
)
def test_a_missing_or_unsafe_pytorch_loads_nothing(torch, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(UserError, match=message):
        import_weights.read_state_dict(pathlib.Path("x.pt"), b"")


ROW = re.compile(r"^\| (\d+) \| `(\S+)` \| `(\w{64})` \| [\d.]+ % \| ([\d.]+) \| ([\d.]+) \|", re.M)
PUBLISHED = ROW.findall((ROOT / "docs" / "exchange.md").read_text())


@pytest.mark.parametrize(
    ("depth", "name", "sha256", "published", "ours"), PUBLISHED, ids=[row[0] for row in PUBLISHED]
)
def test_published_weights_reach_their_published_accuracy(
    depth, name, sha256, published, ours, real_data, tmp_path
):
    folder = os.environ.get("JAXCIFAR_WEIGHTS")
    if not folder:
        pytest.skip("needs the published weights: set JAXCIFAR_WEIGHTS to their folder")
    torch_or_skip()
    values = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    changes = {f"augment.{key}": value for key, value in values.items()}
    config = config_of("resnet20.py", **changes, **{"model.depth": int(depth)})
    import_weights.import_state_dict(pathlib.Path(folder, name), config, tmp_path / "net")
    with Checkpoints(tmp_path / "net") as checkpoints:
        assert checkpoints.meta(0)["imported"] == {"file": name, "sha256": sha256}
    accuracy = evaluation.evaluate_run(tmp_path / "net", "latest", "test")["accuracy"]
    assert accuracy == pytest.approx(float(published), abs=1e-4 + 1e-9)
    assert accuracy == pytest.approx(float(ours), abs=3e-4)  # processors round differently


@pytest.fixture
def five(tmp_path):
    """The words that import a ResNet with five classes."""
    torch = torch_or_skip()
    changes = {**RESNET, "model.shortcut": "B", "model.num_classes": 5}
    parts = experiment.build_experiment(config_of("resnet20.py", **changes))
    tensors = torch_names.to_state_dict(parts.model, state.eval_variables(**random_model(parts)))
    file = tmp_path / "net.pt"
    torch.save({name: torch.tensor(x) for name, x in tensors.items()}, file)
    return [file, f"--config={CONFIG_FILE}", *overrides(**changes), f"--workdir={tmp_path}/net"]


def test_the_classes_of_another_net_are_numbered_or_have_the_names_in_a_file(five, run, tmp_path):
    assert run(import_torch.main, five)[::2] == (0, "")
    assert load_net(tmp_path / "net").class_names == ("0", "1", "2", "3", "4")
    names = tmp_path / "names.txt"
    names.write_text("apple\n  aquarium fish\n\x1b[31mbaby\n\nbear\nbeaver")
    words = [*five[:-1], f"--workdir={tmp_path}/named", f"--class_names={names}"]
    assert run(import_torch.main, words)[::2] == (0, "")
    want = ("apple", "aquarium fish", r"\x1b[31mbaby", "bear", "beaver")
    assert load_net(tmp_path / "named").class_names == want


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\nb\n", r"has 2 class names, 2 of them different; expected 5 \(config.model.num_class"),
        (b"a\nb\nc\nd\na\n", "has 5 class names, 4 of them different; expected 5"),
        (b"\xff\n", "is not UTF-8 text"),
        (None, "cannot read .*names.txt: No such file"),
    ],
)
def test_other_class_names_are_refused(text, message, five, run, tmp_path):
    if text is not None:
        (tmp_path / "names.txt").write_bytes(text)
    status, out, err = run(import_torch.main, [*five, f"--class_names={tmp_path}/names.txt"])
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert re.search(message, err)
    assert not (tmp_path / "net").exists()


def test_a_file_that_claims_more_than_it_holds_is_refused(tmp_path):
    torch = torch_or_skip()
    file = tmp_path / "net.pt"
    torch.save({"a": torch.zeros(1).expand(10**9)}, file)
    with pytest.raises(UserError, match=r"net.pt claims more values than it has bytes"):
        import_weights.read_state_dict(file, file.read_bytes())
    torch.save({"a": torch.zeros(10**6)}, file)
    with zipfile.ZipFile(file) as plain, zipfile.ZipFile(tmp_path / "z", "w", 8) as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))
    with pytest.raises(UserError, match=r"unpacks from [\d,]{5,6} to 4,[\d,]* bytes and was not"):
        import_weights.read_state_dict(file, (tmp_path / "z").read_bytes())
