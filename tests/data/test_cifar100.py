"""CIFAR-100: every format gives the same arrays, with fine or coarse labels.

The tests write files as https://www.cs.toronto.edu/~kriz/cifar.html describes them, with made-up
pixels and few images per class; nothing here has read the real images.
"""

import hashlib
import pickle
import re
import shlex
import tarfile

import numpy as np
import pytest
from conftest import ROOT, config_of, random_images
from reading import assert_one_line, assert_same
from test_data import lenient_tfds  # noqa: F401 (a fixture)

from jaxcifar import data, train
from jaxcifar.config import overrides
from jaxcifar.data import cifar100, official, tfds
from jaxcifar.data.split import Split
from jaxcifar.errors import UserError
from jaxcifar.system import backend
from jaxcifar.training import experiment

pytestmark = pytest.mark.usefixtures("nothing_outside")
FORMATS = ["cifar-100-python", "cifar-100-binary"]
SUPERCLASS = np.random.default_rng(0).permutation(np.arange(100) % 20)  # of each fine class


def split(per_class, seed):
    """Images [N, 32, 32, 3] of all classes in random order, coarse labels and fine labels."""
    fine = np.random.default_rng(seed).permutation(np.arange(100 * per_class) % 100)
    return random_images(len(fine), 32, 32, 3, seed=seed), SUPERCLASS[fine], fine


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with both official versions, unpacked and packed, and the two splits in it."""
    splits = {"train": split(2, 1), "test": split(1, 2)}
    digests = {}
    for name, (images, coarse, fine) in splits.items():
        rows = images.transpose(0, 3, 1, 2).reshape(-1, 3072)  # red, then green, then blue
        python, binary = (tmp_path / folder for folder in FORMATS)
        python.mkdir(exist_ok=True)
        binary.mkdir(exist_ok=True)
        batch = {"data": rows, "fine_labels": fine.tolist(), "coarse_labels": coarse.tolist()}
        batch |= {"batch_label": name, "filenames": [f"{i}.png" for i in range(len(fine))]}
        blob = pickle.dumps({key.encode(): value for key, value in batch.items()}, protocol=2)
        (python / name).write_bytes(blob)
        digests[name] = hashlib.md5(blob).hexdigest()
        (binary / f"{name}.bin").write_bytes(
            b"".join(
                bytes([c, f]) + row.tobytes() for c, f, row in zip(coarse, fine, rows, strict=True)
            )
        )
    for folder in FORMATS:
        with tarfile.open(tmp_path / f"{folder}.tar.gz", "w:gz") as tar:
            tar.add(tmp_path / folder, folder)
    monkeypatch.setattr(official, "PYTHON_100", official.PYTHON_100._replace(md5=digests))
    monkeypatch.setattr(cifar100, "PER_CLASS", (2, 1))
    return tmp_path, splits


def load(place, **keys):
    return data.load_dataset("cifar100", str(place), **keys)


def check(dataset, splits, labels="fine"):
    """Asserts that the data set is that of the fixture with these labels."""
    for name, (images, coarse, fine) in splits.items():
        want = Split(images, (fine if labels == "fine" else coarse).astype(np.int32))
        assert_same(getattr(dataset, name), want)


@pytest.mark.parametrize("suffix", ["", ".tar.gz"])
@pytest.mark.parametrize("format", FORMATS)
def test_each_official_format_gives_the_same_arrays(home, format, suffix):
    folder, splits = home
    alone = folder / "alone"
    alone.mkdir()
    (folder / f"{format}{suffix}").rename(alone / f"{format}{suffix}")
    for place in (alone, alone / f"{format}{suffix}"):
        fine, coarse = load(place), load(place, labels="coarse")
        check(fine, splits)
        check(coarse, splits, "coarse")
        assert (len(fine.class_names), len(coarse.class_names)) == (100, 20)
        assert str(alone) in fine.origin
        assert fine.checksum != coarse.checksum


def test_tfds_makes_and_reads_a_copy_without_tensorflow(home, lenient_tfds):  # noqa: F811
    folder, splits = home
    manual = (backend.cache_folder() / "tfds" / tfds.MANUAL_TAR).parent
    manual.mkdir(parents=True)
    (folder / "cifar-100-binary.tar.gz").rename(manual / "cifar-100-binary.tar.gz")
    first = load("", labels="coarse")
    assert "cifar-100-binary.tar.gz through TFDS" in first.origin
    check(first, splits, "coarse")
    again = load("")
    assert again.origin.endswith("cifar100.npz")
    check(again, splits)
    copy = tfds.find_copy(backend.cache_folder() / "tfds", "cifar100")
    (backend.cache_folder() / "cifar100.npz").unlink()
    for place in (copy, copy.parent, copy.parent.parent):
        check(load(place), splits)
    info = (copy / "features.json").read_text() + (copy / "dataset_info.json").read_text()
    assert "coarse_label" in info
    assert (copy / "label.labels.txt").read_text().split() == list(cifar100.CLASS_NAMES["fine"])


@pytest.mark.parametrize("column", [0, 1])
def test_a_file_with_other_labels_is_refused(home, column):
    folder, _ = home
    path = folder / "cifar-100-binary" / "test.bin"
    blob = bytearray(path.read_bytes())
    blob[column] = (blob[column] + 1) % (20, 100)[column]
    path.write_bytes(blob)
    with pytest.raises(UserError) as raised:
        load(folder / "cifar-100-binary")
    assert_one_line(raised, folder, "is not CIFAR-100", "labels are not")


def test_empty_files_are_refused(home):
    folder, _ = home
    for name in ("train", "test"):
        (folder / "cifar-100-binary" / f"{name}.bin").write_bytes(b"")
    with pytest.raises(UserError) as raised:
        load(folder / "cifar-100-binary")
    assert_one_line(raised, folder)


@pytest.mark.parametrize("kind", ["PYTHON_100", "BINARY_100"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_file_is_named(home, kind, damage):
    folder, _ = home
    version = getattr(official, kind)
    path = folder / version.folder / next(iter(version.md5))
    blob = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(blob[:50_000])
    with pytest.raises(UserError) as raised:
        load(path.parent)
    assert_one_line(raised, path, "50,000 bytes" if damage == "truncated" else "missing; expected")


def test_the_names_are_those_of_the_official_files():
    """They are in alphabetical order."""
    fine, coarse = cifar100.CLASS_NAMES["fine"], cifar100.CLASS_NAMES["coarse"]
    assert (len(set(fine)), len(set(coarse))) == (100, 20)
    assert list(fine) == sorted(fine)
    assert list(coarse) == sorted(coarse)
    assert [fine[i] for i in (0, 1, 53, 87, 99)] == [
        *("apple", "aquarium_fish", "orange", "television", "worm")
    ]
    assert (coarse[9], coarse[19]) == ("large_man-made_outdoor_things", "vehicles_2")


def test_official_files_are_below_the_limits():
    assert official.MAX_FILE > 50_000 * 3074 + 2**20
    assert official.MAX_TAR > 60_000 * 3074 + 2**21


def test_resnet20_trains_on_it_and_one_key_sets_its_number_of_classes(home):
    text = (ROOT / "README.md").read_text().replace("\\\n", "")
    command = re.search(r"^    \S+ -m jaxcifar\.train (.*cifar100.*)$", text, re.MULTILINE)[1]
    known, words = train.parse([*shlex.split(command), f"--config.data.dir={home[0]}"])
    more = "--config.model.num_classes=100"
    words.remove(more)
    parts = experiment.build_experiment(overrides.load_config(known.config, words))
    with pytest.raises(UserError, match=r"100 classes: set --config\.model\.num_classes=100"):
        experiment.load_data(parts.config)
    more = "--config.model.num_classes=100"
    parts = experiment.build_experiment(
        overrides.load_config("configs/resnet20.py", [*words, more])
    )
    assert len(experiment.load_data(parts.config).class_names) == 100
    assert parts.abstract_model()["params"]["head"]["kernel"].shape == (64, 100)


def test_labels_are_a_choice_of_cifar100_alone():
    with pytest.raises(UserError, match=r"config\.data\.labels is 'coarse', but synthetic data"):
        data.load_dataset("synthetic", labels="coarse")
    config_of("resnet20.py", **{"data.labels": "coarse"})
