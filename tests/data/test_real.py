"""The real CIFAR-10; needs $JAXCIFAR_DATA."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from reading import assert_same, load

from jaxcifar import data
from jaxcifar.data import cifar10, official, split

REAL = os.environ.get("JAXCIFAR_DATA", "")
pytestmark = pytest.mark.usefixtures("nothing_outside")


@pytest.fixture(scope="module")
def real():
    if not REAL:
        pytest.skip("$JAXCIFAR_DATA names no copy of CIFAR-10")
    return data.load_dataset(source="cifar10", dir=REAL, validation=0, train_examples=0)


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
    """Binary files written from the arrays have the official MD5s and read back the same."""
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
    packed = official.read_tar(official.BINARY, tmp_path / "any-name.tgz")
    assert split.content_sha256(*packed) == cifar10.CIFAR10_SHA256
    python = Path(REAL) / "cifar-10-batches-py"
    if python.exists():
        assert_same(load(python).train, real.train)
