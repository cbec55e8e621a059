"""Folders of images: every image is read once, with the label of its folder, or named."""

import os
import shutil

import numpy as np
import pytest
from conftest import random_images
from PIL import Image
from reading import assert_one_line

from jaxcifar import data
from jaxcifar.data import folder, image_files, split
from jaxcifar.errors import UserError
from jaxcifar.system import backend

pytestmark = pytest.mark.usefixtures("nothing_outside")
SIZES = [(32, 32), (40, 30), (64, 100)]  # width, height
MODES = ["RGB", "L", "RGBA", "P"]


def write(place, classes):
    """Writes {class: number} images of several sizes, modes and formats below `place`."""
    for number, (name, count) in enumerate(classes.items()):
        (place / name).mkdir(parents=True)
        for i in range(count):
            width, height = SIZES[i % len(SIZES)]
            pixels = random_images(height, width, 3, seed=1000 * number + i)
            suffix = ".png" if i % 2 else ".BMP"
            mode = MODES[i % len(MODES)] if i % 2 else "RGB"
            Image.fromarray(pixels).convert(mode).save(place / name / f"{i:03d}{suffix}")
    return place


def load(place, **keys):
    return data.load_dataset("folder", str(place), **keys)


def seen(*splits):
    """The images of splits with their labels, in no order."""
    pairs = [(x.tobytes(), int(y)) for part in splits for x, y in zip(*part, strict=True)]
    return sorted(pairs)


def expected(place, names):
    """Every file below the folders `names`, read by itself."""
    files = [(f, y) for y, name in enumerate(names) for f in (place / name).rglob("*.*")]
    return sorted((image_files.read_image(f, "").pixels.tobytes(), y) for f, y in files)


def test_train_and_test_folders_give_each_image_with_the_label_of_its_folder(tmp_path):
    write(tmp_path / "train", {"dog": 9, "Cat": 4, "ant": 6})
    write(tmp_path / "test", {"ant": 3, "dog": 2})
    (tmp_path / "train" / "dog" / "more").mkdir()
    (tmp_path / "train" / "dog" / "001.png").rename(tmp_path / "train" / "dog" / "more" / "1.png")
    got = load(tmp_path)
    assert got.class_names == ("Cat", "ant", "dog")
    assert seen(got.train) == expected(tmp_path / "train", got.class_names)
    assert seen(got.test) == expected(tmp_path / "test", got.class_names)
    assert "24 images of 32×32 to 64×100 pixels, cropped to a square and resized" in got.origin
    assert "ignored" not in got.origin
    # any part of the training images holds all classes
    assert set(got.train.labels[:5]) == {0, 1, 2}
    held = load(tmp_path, validation=9)
    assert np.bincount(held.validation.labels).tolist() == [2, 3, 4]
    assert seen(held.train, held.validation) == seen(got.train)
    assert held.checksum == got.checksum


def test_class_folders_alone_are_split_by_class_in_the_same_way_each_time(tmp_path):
    write(tmp_path / "a", counts := {"big": 40, "small": 10, "tiny": 2})
    got = load(tmp_path / "a")
    assert np.bincount(got.test.labels).tolist() == [8, 2, 1]
    assert np.bincount(got.train.labels).tolist() == [32, 8, 1]
    assert seen(got.train, got.test) == expected(tmp_path / "a", tuple(counts))
    shutil.copytree(tmp_path / "a", tmp_path / "b")  # another place, other times
    assert load(tmp_path / "b").checksum == got.checksum
    half = load(tmp_path / "a", test_share=0.5)
    assert np.bincount(half.test.labels).tolist() == [20, 5, 1]


@pytest.mark.parametrize("name", folder.VALIDATION)
def test_a_validation_folder_is_the_test_set_unless_there_is_another(tmp_path, name):
    write(tmp_path / "train", {"a": 6, "b": 6})
    write(tmp_path / name, {"a": 3, "b": 2})
    got = load(tmp_path)
    assert (len(got.test.labels), len(got.validation.labels)) == (5, 0)
    write(tmp_path / "test", {"a": 1, "b": 3})
    got = load(tmp_path)
    assert seen(got.test) == expected(tmp_path / "test", "ab")
    assert seen(got.validation) == expected(tmp_path / name, "ab")
    with pytest.raises(UserError) as raised:
        load(tmp_path, validation=3)
    assert_one_line(raised, "5 validation images of their own", "expected 0")


def test_the_cache_is_used_until_a_file_changes(tmp_path, monkeypatch, capfd, caplog):
    place = write(tmp_path / "own", {"a": 5, "b": 5})
    first = load(place)
    assert "reading 10 images" in capfd.readouterr().err
    calls = []

    def read(file, name):
        calls.append(file)
        return image_files.read_image(file, name)

    monkeypatch.setattr(folder, "read_image", read)

    def reads():
        """How many files the next load reads; its images are right in any case."""
        calls.clear()
        got = load(place)
        assert seen(got.train, got.test) == expected(place, "ab")
        return len(calls)

    assert reads() == 0
    assert load(place).checksum == first.checksum
    changed = place / "a" / "000.BMP"
    old = changed.stat()
    Image.fromarray(random_images(32, 32, 3, seed=99)).save(changed)
    assert changed.stat().st_size == old.st_size
    os.utime(changed, ns=(old.st_atime_ns, old.st_mtime_ns + 1))
    assert reads() == 10
    assert reads() == 0
    changed.rename(place / "b" / "new.bmp")
    assert reads() == 10
    (place / "b" / "new.bmp").unlink()
    assert reads() == 9
    (kept,) = (backend.cache_folder() / "folders").iterdir()
    blob = bytearray(kept.read_bytes())
    blob[len(blob) // 2] ^= 1
    for damaged in (blob, blob[:1000], b""):
        kept.write_bytes(damaged)
        assert reads() == 9
        assert f"{kept} is damaged" in caplog.text


def test_every_ignored_file_is_reported(tmp_path):
    write(tmp_path / "train", {"a": 3, "b": 3})
    write(tmp_path / "test", {"a": 3, "b": 3})
    for name in ("notes.txt", "train/a/.b.png", "train/c.png", "test/b/x.heic"):
        (tmp_path / name).write_bytes(b"x")
    origin = load(tmp_path).origin
    assert "ignored 4 paths with no image of a class: notes.txt, " in origin
    assert origin.endswith(", …")


@pytest.mark.parametrize("content", [b"", b"no image", "half"])
def test_an_unreadable_image_is_named(tmp_path, content):
    write(tmp_path, {"a": 4, "b": 4})
    bad = tmp_path / "b" / "001.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(UserError) as raised:
        load(tmp_path)
    assert_one_line(raised, bad)


WRONG = [
    ({}, "has no subfolder; expected one subfolder of images per class"),
    ({"train/a": 1, "train/b": 1}, "has only train/; expected one subfolder"),
    ({"test/a": 1, "val/a": 1}, "has only test/ and val/; expected one subfolder"),
    ({"a": 3, "b": 0}, "b holds no image (.png, .jpg"),
    ({"train/a": 2, "test/b": 2}, "test/b is not a class of the training images; expected the"),
    ({"train/a": 2, "test/a": 0}, "test holds no image in the folders of a"),
    ({"train/a": 2, "val/a": 2, "valid/a": 1}, "has val, valid; keep only one"),
    ({"a": 1, "b": 1}, "has one image per class"),
]


@pytest.mark.parametrize(("classes", "line"), WRONG, ids=[line[:30] for _, line in WRONG])
def test_another_layout_is_refused_in_one_line(tmp_path, classes, line):
    with pytest.raises(UserError) as raised:
        load(write(tmp_path, classes))
    assert_one_line(raised, tmp_path, line)


def test_a_missing_folder_or_a_key_of_another_source_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"needs config\.data\.dir=FOLDER; expected one subfolder"):
        data.load_dataset("folder")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is not a folder"):
        load(tmp_path / "file")
    with pytest.raises(UserError, match=r"data\.test_share is 0\.3, but synthetic data have no"):
        data.load_dataset("synthetic", test_share=0.3)


def test_every_part_of_a_stratified_order_has_the_classes_proportions():
    labels = np.random.default_rng(0).choice(3, 500, p=[0.7, 0.25, 0.05])
    ordered = labels[split.stratified_order(labels)]
    shares = np.bincount(labels) / 500
    for start, stop in ((0, 20), (0, 333), (100, 200), (450, 500)):
        counts = np.bincount(ordered[start:stop], minlength=3)
        assert abs(counts - shares * (stop - start)).max() < 2


def test_a_stratified_order_stays_the_same():
    """The checksums of runs on folders of images depend on it."""
    order = split.stratified_order(np.repeat([0, 1, 2], [5, 3, 2]))
    assert order.tolist() == [3, 6, 8, 4, 0, 7, 2, 9, 5, 1]
