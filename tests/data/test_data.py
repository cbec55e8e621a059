"""The data: every format gives the same arrays, damage is named, nothing hostile runs.

Most tests read a made-up "CIFAR-10" of 60 images, whose digests stand in for the official ones.
Those on the real one need $JAXCIFAR_DATA.
"""

import hashlib
import os
import pickle
import socket
import tarfile
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcifar import backend, data
from jaxcifar.data import cifar10, official, split, synthetic
from jaxcifar.data import tfds as tfds_source
from jaxcifar.data.split import Split
from jaxcifar.errors import UserError
from jaxcifar.training.loop import epoch_order

REAL = os.environ.get("JAXCIFAR_DATA", "")


@pytest.fixture(autouse=True)
def _nothing_outside(tmp_path, monkeypatch):
    """No data of the user's, an empty cache, and a server that refuses."""
    monkeypatch.delenv("JAXCIFAR_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setattr(tfds_source, "URL", f"http://127.0.0.1:{port}/cifar-10-binary.tar.gz")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Writes the 60 images as both official folders and tars; returns (folder, train, test)."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 10, 3, 32, 32), np.uint8)
    labels = rng.integers(0, 10, (6, 10), np.uint8)
    home = tmp_path / "home"
    for kind in (official.PYTHON, official.BINARY):
        (home / kind.folder).mkdir(parents=True)
        md5 = {}
        for name, pixels, classes in zip(kind.md5, images, labels, strict=True):
            pixels = pixels.reshape(10, -1)
            if kind is official.PYTHON:
                blob = pickle.dumps({b"labels": classes.tolist(), b"data": pixels}, protocol=2)
            else:
                blob = np.concatenate([classes[:, None], pixels], 1).tobytes()
            (home / kind.folder / name).write_bytes(blob)
            md5[name] = hashlib.md5(blob).hexdigest()
        with tarfile.open(home / kind.tar, "w:gz") as tar:
            tar.add(home / kind.folder, kind.folder)
        monkeypatch.setattr(
            official, "PYTHON" if kind is official.PYTHON else "BINARY", kind._replace(md5=md5)
        )
    monkeypatch.setattr(official, "PER_FILE", 10)
    monkeypatch.setattr(official, "NUM_TRAIN", 50)
    hwc = images.reshape(60, 3, 32, 32).transpose(0, 2, 3, 1)
    flat = labels.reshape(60).astype(np.int32)
    train, test = Split(hwc[:50], flat[:50]), Split(hwc[50:], flat[50:])
    monkeypatch.setattr(cifar10, "CIFAR10_SHA256", split.content_sha256(train, test))
    return home, train, test


@pytest.fixture
def lenient_tfds(monkeypatch):
    """TFDS knows only the official archive's checksum; the tests' tar is another."""
    from tensorflow_datasets.core.download import download_manager

    def record(self, url, url_info, path):
        self._recorded_url_infos[url] = url_info

    monkeypatch.setattr(download_manager.DownloadManager, "_register_or_validate_checksums", record)
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    monkeypatch.setattr(tfds_source, "URL", url)
    monkeypatch.setattr(tfds_source, "probe", lambda url: pytest.fail("asked the network"))


def load(dir, validation=0, train_examples=0, source="cifar10"):
    return data.load(
        source=source, dir=str(dir), validation=validation, train_examples=train_examples
    )


def assert_same(split, expected):
    assert split.images.dtype == np.uint8
    assert split.labels.dtype == np.int32
    np.testing.assert_array_equal(split.images, expected.images)
    np.testing.assert_array_equal(split.labels, expected.labels)


def one_line(raised, *parts):
    """Asserts that a message is one line and says each of `parts`."""
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message
    return message


FORMATS = ["cifar-10-batches-py", "cifar-10-batches-bin"]
FORMATS += ["cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"]


@pytest.mark.parametrize("format", FORMATS)
def test_each_official_format_gives_the_same_arrays(tiny, tmp_path, monkeypatch, format):
    home, train, test = tiny
    alone = tmp_path / "alone"
    alone.mkdir()
    (home / format).rename(alone / format)
    by_parent = load(alone)
    by_path = load(alone / format)
    monkeypatch.setenv("JAXCIFAR_DATA", str(alone))
    by_environment = load("")
    for dataset in (by_parent, by_path, by_environment):
        assert_same(dataset.train, train)
        assert_same(dataset.test, test)
        assert str(alone / format) in dataset.origin
        assert dataset.checksum == by_parent.checksum
        assert dataset.validation.images.shape == (0, 32, 32, 3)
        assert dataset.class_names[3] == "cat"


def test_data_dir_comes_before_the_environment(tiny, tmp_path, monkeypatch):
    home, _, _ = tiny
    monkeypatch.setenv("JAXCIFAR_DATA", str(tmp_path / "nowhere"))
    assert str(home) in load(home).origin


@pytest.mark.parametrize("source", data.SOURCES)
def test_a_data_dir_that_does_not_exist_is_refused(tiny, tmp_path, monkeypatch, source):
    """Also where the environment has the data: a mistyped folder is no wish for another one."""
    monkeypatch.setenv("JAXCIFAR_DATA", str(tiny[0]))
    with pytest.raises(UserError) as raised:
        load(tmp_path / "nowhere", source=source)
    one_line(raised, tmp_path / "nowhere", "config.data.dir", "expected")


def test_home_is_expanded(tiny, monkeypatch):
    home, _, _ = tiny
    monkeypatch.setenv("HOME", str(home))
    assert str(home) in load("~").origin


def test_tfds_download_needs_neither_network_nor_tensorflow(tiny, lenient_tfds, tmp_path):
    home, train, test = tiny
    manual = backend.cache_folder() / "tfds" / tfds_source.MANUAL_TAR
    manual.parent.mkdir(parents=True)
    (home / "cifar-10-binary.tar.gz").rename(manual)
    first = load("")
    assert "through TFDS" in first.origin
    copy = tfds_source.find(backend.cache_folder() / "tfds")
    assert copy is not None
    again = load("")
    assert again.origin.endswith("cifar10.npz")
    # The copy read as the user's own, at each of the three levels that a user may name.
    (backend.cache_folder() / "cifar10.npz").unlink()
    splits = [cifar10.find(folder) for folder in (copy, copy.parent, copy.parent.parent)]
    assert {found[0] for found in splits} == {copy}
    own = load(copy.parent.parent)
    for dataset in (first, again, own):
        assert_same(dataset.train, train)
        assert_same(dataset.test, test)
    # A damaged record is named.
    (records,) = copy.glob("cifar10-test.array_record*")
    records.write_bytes(records.read_bytes()[:-100])
    with pytest.raises(UserError) as raised:
        cifar10.read_tfds(copy)
    one_line(raised, copy)


def test_a_partial_tfds_copy_is_refused(tiny, lenient_tfds, tmp_path):
    home, _, _ = tiny
    manual = tmp_path / tfds_source.MANUAL_TAR
    manual.parent.mkdir(parents=True)
    (home / "cifar-10-binary.tar.gz").rename(manual)
    copy = tfds_source.download(tmp_path, cifar10.CLASS_NAMES, max_examples=7)
    with pytest.raises(UserError) as raised:
        cifar10.read_tfds(copy)
    one_line(raised, copy, "7 + 7 images", cifar10.CIFAR10_SHA256)


def test_tfds_refuses_an_unofficial_archive(tiny, tmp_path, monkeypatch):
    home, _, _ = tiny
    manual = tmp_path / tfds_source.MANUAL_TAR
    manual.parent.mkdir(parents=True)
    (home / "cifar-10-binary.tar.gz").rename(manual)
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    monkeypatch.setattr(tfds_source, "URL", url)
    with pytest.raises(UserError) as raised:
        tfds_source.download(tmp_path, cifar10.CLASS_NAMES)
    one_line(raised, "wrong checksum", official.BINARY_SHA256)


@pytest.mark.parametrize("damage", ["truncated", "bit", "missing"])
@pytest.mark.parametrize("kind", ["PYTHON", "BINARY"])
def test_a_damaged_file_is_named_with_what_was_expected(tiny, kind, damage):
    home, _, _ = tiny
    version = getattr(official, kind)
    name = list(version.md5)[2]
    path = home / version.folder / name
    blob = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "bit":
        blob[5000] ^= 1
        path.write_bytes(blob)
    else:
        path.write_bytes(blob[:5000])
    with pytest.raises(UserError) as raised:
        load(path.parent)
    message = one_line(raised, path, "expected", version.md5[name])
    assert damage != "truncated" or "5,000 bytes" in message


@pytest.mark.parametrize("damage", ["truncated", "bit", "not a tar"])
def test_a_damaged_tar_is_named(tiny, damage):
    home, _, _ = tiny
    path = home / "cifar-10-binary.tar.gz"
    blob = bytearray(path.read_bytes())
    blob[len(blob) // 2] ^= 1
    path.write_bytes(
        {"truncated": blob[: len(blob) // 2], "bit": blob, "not a tar": b"<html>"}[damage]
    )
    with pytest.raises(UserError) as raised:
        load(path)
    one_line(raised, path, "expected")


def test_a_tar_is_read_once_then_its_cache(tiny, caplog):
    home, train, test = tiny
    tar = home / "cifar-10-python.tar.gz"
    cache = backend.cache_folder() / "cifar10.npz"
    load(tar)
    assert str(cache) in load(tar).origin
    assert [path.name for path in cache.parent.iterdir()] == ["cifar10.npz"]
    blob = bytearray(cache.read_bytes())
    for damaged in (blob[:1000], bytes(5000), blob[:9000] + bytes([blob[9000] ^ 1]) + blob[9001:]):
        cache.write_bytes(damaged)
        caplog.clear()
        dataset = load(tar)
        assert str(cache) in caplog.text  # said, ...
        assert dataset.origin == str(tar)  # ... not used, ...
        assert_same(dataset.train, train)
        assert_same(dataset.test, test)
        assert str(cache) in load(tar).origin  # ... and written anew.


def test_a_cache_that_cannot_be_written_does_not_stop_a_run(tiny, monkeypatch, tmp_path, caplog):
    home, train, _ = tiny
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert_same(load(home / "cifar-10-python.tar.gz").train, train)
    assert "cannot keep a copy" in caplog.text


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path, protocol):
    blob = pickle.dumps({b"data": Hostile(tmp_path / "ran")}, protocol)
    with pytest.raises(UserError) as raised:
        official.unpickle(blob)
    one_line(raised, "mkdir", "expected")
    assert not (tmp_path / "ran").exists()
    pickle.loads(blob)  # it would have run
    assert (tmp_path / "ran").exists()


def test_no_data_and_no_network_says_so_within_ten_seconds(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCIFAR_DATA", str(tmp_path / "second"))
    (tmp_path / "first").mkdir()
    start = time.monotonic()
    with pytest.raises(UserError) as raised:
        load(tmp_path / "first")
    assert time.monotonic() - start < 10
    places = (tmp_path / "first", tmp_path / "second", tmp_path / "cache" / "jaxcifar")
    digest = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    hint = "--config.data.source=synthetic"
    one_line(raised, *places, tfds_source.URL, digest, hint)


def test_a_server_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        with pytest.raises(UserError):
            tfds_source.probe(f"http://127.0.0.1:{server.getsockname()[1]}/", seconds=1)
        assert time.monotonic() - start < 5


def test_validation_is_the_last_and_train_examples_the_first_of_the_rest(tiny):
    home, train, test = tiny
    dataset = load(home, validation=8, train_examples=30)
    assert_same(dataset.train, Split(train.images[:30], train.labels[:30]))
    assert_same(dataset.validation, Split(train.images[42:], train.labels[42:]))
    assert_same(dataset.test, test)
    rest = load(home, validation=8)
    assert_same(rest.train, Split(train.images[:42], train.labels[:42]))
    assert dataset.checksum == rest.checksum == load(home).checksum


@pytest.mark.parametrize(
    ("validation", "train_examples", "key"),
    [
        (-1, 0, "validation"),
        (50, 0, "validation"),
        (0, 51, "train_examples"),
        (8, 43, "train_examples"),
        (0, -1, "train_examples"),
    ],
)
def test_impossible_sizes(tiny, validation, train_examples, key):
    with pytest.raises(UserError) as raised:
        load(tiny[0], validation, train_examples)
    one_line(raised, f"config.data.{key}", "expected")


def test_unknown_source():
    with pytest.raises(UserError) as raised:
        load("", source="cifar100")
    one_line(raised, "cifar100", "cifar10", "synthetic", "npz")


def test_epoch_order_is_a_permutation_of_seed_and_epoch():
    order = jax.jit(epoch_order, static_argnames="num_examples")
    first = np.array(order(0, 0, num_examples=1000))
    assert first.dtype == np.int32
    np.testing.assert_array_equal(np.sort(first), np.arange(1000))
    np.testing.assert_array_equal(first, epoch_order(0, 0, 1000))
    # Two random permutations agree at one place on average.
    for other in (order(0, 1, num_examples=1000), order(1, 0, num_examples=1000)):
        assert (np.array(other) == first).sum() < 10


def test_epoch_order_shares_no_key_with_the_plain_fold_in():
    plain = jax.random.permutation(jax.random.fold_in(jax.random.key(0), 3), 1000)
    assert (np.array(plain) == np.array(epoch_order(0, 3, 1000))).sum() < 10


# Synthetic data


def test_synthetic_is_the_same_for_the_same_seed():
    first, again, other = synthetic.make(3, 55), synthetic.make(3, 55), synthetic.make(4, 55)
    assert_same(again, first)
    assert (other.images != first.images).mean() > 0.9
    assert first.images.shape == (55, 32, 32, 3)
    np.testing.assert_array_equal(np.bincount(first.labels), [6] * 5 + [5] * 5)


def test_synthetic_loads_without_files():
    dataset = load("", validation=1000, source="synthetic")
    sizes = [len(s.labels) for s in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [9000, 1000, 2000]
    assert dataset.class_names == synthetic.CLASS_NAMES
    assert len(set(dataset.class_names)) == 10
    # No test image is a training image.
    train = {image.tobytes() for image in dataset.train.images}
    assert not any(image.tobytes() in train for image in dataset.test.images)
    # Ridge regression on the pixels, the best of its kind: a linear model must fail.
    x, x_test = (
        s.images.reshape(len(s.labels), -1)[:, ::2] / np.float32(255) - np.float32(0.5)
        for s in (dataset.train, dataset.test)
    )
    y = np.eye(10, dtype=np.float32)[dataset.train.labels]
    for strength in (10, 1000):
        gram = x.T @ x + strength * np.eye(x.shape[1], dtype=np.float32)
        weights = np.linalg.solve(gram, x.T @ y)
        assert ((x_test @ weights).argmax(1) == dataset.test.labels).mean() < 0.6


# The real CIFAR-10


@pytest.fixture(scope="module")
def real():
    if not REAL:
        pytest.skip("$JAXCIFAR_DATA names no copy of CIFAR-10")
    return data.load(source="cifar10", dir=REAL, validation=0, train_examples=0)


def test_real_counts_and_first_labels(real):
    np.testing.assert_array_equal(np.bincount(real.train.labels), [5000] * 10)
    np.testing.assert_array_equal(np.bincount(real.test.labels), [1000] * 10)
    first = [real.class_names[label] for label in real.train.labels[:3]]
    assert first == ["frog", "truck", "truck"]
    assert real.class_names[real.test.labels[0]] == "cat"


def test_real_mean_and_std(real):
    counts = [np.bincount(real.train.images[..., c].ravel(), minlength=256) for c in range(3)]
    values = np.arange(256) / 255
    means = [np.average(values, weights=n) for n in counts]
    stds = [
        np.average((values - m) ** 2, weights=n) ** 0.5 for n, m in zip(counts, means, strict=True)
    ]
    np.testing.assert_allclose(means, [0.49140, 0.48216, 0.44653], atol=6e-6)
    np.testing.assert_allclose(stds, [0.24703, 0.24349, 0.26159], atol=6e-6)


def test_real_python_binary_and_tar_agree(real, tmp_path):
    """The binary files made from the arrays pass their MD5s, and read back the same."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    images = np.concatenate([real.train.images, real.test.images]).transpose(0, 3, 1, 2)
    labels = np.concatenate([real.train.labels, real.test.labels]).astype(np.uint8)
    for i, name in enumerate(official.BINARY.md5):
        rows = slice(10_000 * i, 10_000 * (i + 1))
        blob = np.concatenate([labels[rows, None], images[rows].reshape(10_000, -1)], 1)
        (folder / name).write_bytes(blob.tobytes())
    with tarfile.open(tmp_path / "any-name.tgz", "w:gz", compresslevel=1) as tar:
        tar.add(folder, folder.name)
    unpacked = load(folder)
    assert split.content_sha256(unpacked.train, unpacked.test) == cifar10.CIFAR10_SHA256
    packed = official.read_binary_tar(tmp_path / "any-name.tgz")
    assert split.content_sha256(*packed) == cifar10.CIFAR10_SHA256
    python = Path(REAL) / "cifar-10-batches-py"
    if python.exists():
        assert_same(load(python).train, real.train)
