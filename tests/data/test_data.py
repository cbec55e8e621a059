"""CIFAR-10: every format gives the same arrays, and damaged files are named.

The tests read a made-up "CIFAR-10" of 60 images, whose digests replace the official ones.
"""

import hashlib
import pickle
import tarfile
import time

import numpy as np
import pytest
from conftest import config_of
from reading import assert_one_line, assert_same, load

from jaxcifar import data
from jaxcifar.config import schema
from jaxcifar.data import cifar10, official, split, tfds
from jaxcifar.data.split import Split
from jaxcifar.errors import UserError
from jaxcifar.system import backend

pytestmark = pytest.mark.usefixtures("nothing_outside")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Writes the 60 images as both official folders and tars; returns (folder, train, test)."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 10, 3, 32, 32), np.uint8)
    labels = rng.integers(0, 10, (6, 10), np.uint8)
    home = tmp_path / "home"
    for archive in (official.PYTHON, official.BINARY):
        (home / archive.folder).mkdir(parents=True)
        md5 = {}
        for name, pixels, classes in zip(archive.md5, images, labels, strict=True):
            pixels = pixels.reshape(10, -1)
            if archive is official.PYTHON:
                blob = pickle.dumps({b"labels": classes.tolist(), b"data": pixels}, protocol=2)
            else:
                blob = np.concatenate([classes[:, None], pixels], 1).tobytes()
            (home / archive.folder / name).write_bytes(blob)
            md5[name] = hashlib.md5(blob).hexdigest()
        with tarfile.open(home / archive.tar, "w:gz") as tar:
            tar.add(home / archive.folder, archive.folder)
        monkeypatch.setattr(
            official,
            "PYTHON" if archive is official.PYTHON else "BINARY",
            archive._replace(md5=md5),
        )
    hwc = images.reshape(60, 3, 32, 32).transpose(0, 2, 3, 1)
    flat = labels.reshape(60).astype(np.int32)
    train, test = Split(hwc[:50], flat[:50]), Split(hwc[50:], flat[50:])
    monkeypatch.setattr(cifar10, "CIFAR10_SHA256", split.content_sha256(train, test))
    return home, train, test


@pytest.fixture
def lenient_tfds(monkeypatch):
    """Makes TFDS accept the tests' archive, which has another checksum than the official one."""
    from tensorflow_datasets.core.download import download_manager

    def record(self, url, url_info, path):
        self._recorded_url_infos[url] = url_info

    monkeypatch.setattr(download_manager.DownloadManager, "_register_or_validate_checksums", record)
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    monkeypatch.setattr(tfds, "URL", url)
    monkeypatch.setattr(tfds, "probe", lambda url: pytest.fail("asked the network"))


FORMATS = ["cifar-10-batches-py", "cifar-10-batches-bin"]


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


def test_a_data_dir_without_the_data_is_refused(tiny, tmp_path, monkeypatch):
    """Even if $JAXCIFAR_DATA has the data: they are not those that the user asked for."""
    monkeypatch.setenv("JAXCIFAR_DATA", str(tiny[0]))
    with pytest.raises(UserError) as raised:
        load(tmp_path)
    assert_one_line(raised, f"there is no CIFAR-10 in {tmp_path}", "choose another folder")
    assert load(tiny[0]).origin == load("").origin


@pytest.mark.parametrize("source", data.SOURCES)
def test_a_missing_data_dir_is_refused(tiny, tmp_path, monkeypatch, source):
    """Even if $JAXCIFAR_DATA has the data: a mistyped folder must not select another one."""
    monkeypatch.setenv("JAXCIFAR_DATA", str(tiny[0]))
    with pytest.raises(UserError) as raised:
        load(tmp_path / "nowhere", source=source)
    assert_one_line(raised, tmp_path / "nowhere", "config.data.dir", "expected")


def test_home_is_expanded(tiny, monkeypatch):
    home, _, _ = tiny
    monkeypatch.setenv("HOME", str(home))
    assert str(home) in load("~").origin


def test_tfds_download_needs_neither_network_nor_tensorflow(tiny, lenient_tfds, tmp_path):
    home, train, test = tiny
    manual = backend.cache_folder() / "tfds" / tfds.MANUAL_TAR
    manual.parent.mkdir(parents=True)
    (home / "cifar-10-binary.tar.gz").rename(manual)
    first = load("")
    assert "through TFDS" in first.origin
    copy = tfds.find_copy(backend.cache_folder() / "tfds")
    assert copy is not None
    again = load("")
    assert again.origin.endswith("cifar10.npz")
    # A user may name any of three levels of folders.
    (backend.cache_folder() / "cifar10.npz").unlink()
    splits = [
        cifar10.published().find_copy(folder) for folder in (copy, copy.parent, copy.parent.parent)
    ]
    assert {found[0] for found in splits} == {copy}
    own = load(copy.parent.parent)
    for dataset in (first, again, own):
        assert_same(dataset.train, train)
        assert_same(dataset.test, test)
    # A damaged record is named.
    (records,) = copy.glob("cifar10-test.array_record*")
    records.write_bytes(records.read_bytes()[:-100])
    with pytest.raises(UserError) as raised:
        cifar10.published().read_tfds(copy)
    assert_one_line(raised, copy)


def test_a_partial_tfds_copy_is_refused(tiny, lenient_tfds, tmp_path):
    home, _, _ = tiny
    manual = tmp_path / tfds.MANUAL_TAR
    manual.parent.mkdir(parents=True)
    (home / "cifar-10-binary.tar.gz").rename(manual)
    copy = tfds.download(tmp_path, cifar10.published().tfds_spec, max_examples=7)
    with pytest.raises(UserError) as raised:
        cifar10.published().read_tfds(copy)
    assert_one_line(raised, copy, "7 + 7 images", cifar10.CIFAR10_SHA256)


def test_tfds_refuses_an_unofficial_archive(tiny, tmp_path, monkeypatch):
    home, _, _ = tiny
    manual = tmp_path / tfds.MANUAL_TAR
    manual.parent.mkdir(parents=True)
    (home / "cifar-10-binary.tar.gz").rename(manual)
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    monkeypatch.setattr(tfds, "URL", url)
    with pytest.raises(UserError) as raised:
        tfds.download(tmp_path, cifar10.published().tfds_spec)
    assert_one_line(raised, "wrong checksum", official.BINARY.tar_digest)


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
    message = assert_one_line(raised, path, "expected", version.md5[name])
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
    assert_one_line(raised, path, "expected")


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
        assert str(cache) in caplog.text  # logged, ...
        assert dataset.origin == str(tar)  # ... not used, ...
        assert_same(dataset.train, train)
        assert_same(dataset.test, test)
        assert str(cache) in load(tar).origin  # ... and written again.


def test_a_cache_that_cannot_be_written_does_not_stop_a_run(tiny, monkeypatch, tmp_path, caplog):
    home, train, _ = tiny
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert_same(load(home / "cifar-10-python.tar.gz").train, train)
    assert "cannot write a copy" in caplog.text


def test_no_data_and_no_network_says_so_within_ten_seconds(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCIFAR_DATA", str(tmp_path / "home"))
    start = time.monotonic()
    with pytest.raises(UserError) as raised:
        load("")
    assert time.monotonic() - start < 10
    places = (tmp_path / "home", tmp_path / "cache" / "jaxcifar")
    digest = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    hint = "--config.data.source=synthetic"
    assert_one_line(raised, *places, tfds.URL, digest, hint)


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
def test_splits_that_are_too_large_are_refused(tiny, validation, train_examples, key):
    with pytest.raises(UserError) as raised:
        load(tiny[0], validation, train_examples)
    assert_one_line(raised, f"config.data.{key}", "expected")


def test_an_unknown_source_is_refused():
    config = config_of("quickstart.py", **{"data.source": "mnist"})
    with pytest.raises(UserError) as raised:
        schema.complete_config(config)
    assert_one_line(raised, "mnist", "cifar10", "synthetic", "npz")


@pytest.mark.parametrize("option", [True, False])
def test_a_copy_in_the_default_format_of_tfds_is_named_with_the_format_needed(
    option, tmp_path, nothing_outside, monkeypatch
):
    copy = tmp_path / "home" / "cifar10" / "3.0.2"
    copy.mkdir(parents=True)
    (copy / "dataset_info.json").write_text("{}")
    (copy / "cifar10-train.tfrecord-00000-of-00001").touch()
    if not option:
        monkeypatch.setenv("JAXCIFAR_DATA", str(tmp_path / "home"))
    with pytest.raises(UserError) as raised:
        data.load_dataset("cifar10", str(tmp_path / "home") if option else "")
    assert f"{copy} is a TFDS copy in tfrecord format" in str(raised.value)
    assert "file_format=array_record" in str(raised.value)
    advice = "set JAXCIFAR_DATA, --config.data.dir or, in evaluate and report, --data_dir"
    assert ("choose another folder" if option else advice) in str(raised.value)
