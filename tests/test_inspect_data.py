"""`inspect_data`: its numbers are those of slow, obvious versions."""

import numpy as np
import pytest
from conftest import ROOT, random_images
from PIL import Image

from jaxcifar import inspect_data
from jaxcifar.data import official, summary
from jaxcifar.data.split import Split
from jaxcifar.figures import png

pytestmark = pytest.mark.usefixtures("nothing_outside")


def test_mean_and_std_are_numpys_in_double_precision():
    images = (random_images(50, 32, 32, 3) * np.array([1, 0.5, 0.1])).astype(np.uint8)
    mean, std = summary.channel_stats(images)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2), dtype=float), rtol=1e-12)
    np.testing.assert_allclose(std, images.std((0, 1, 2), dtype=float), rtol=1e-9)


def test_duplicates_are_found_as_by_comparing_every_pair():
    rng = np.random.default_rng(0)
    few = random_images(12, 32, 32, 3)  # drawn from with repetition
    splits = {
        name: Split(few[rng.integers(0, 12, n)], rng.integers(0, 3, n).astype(np.int32))
        for name, n in (("train", 15), ("validation", 4), ("test", 9))
    }
    names = list(splits)

    def slow(part, other):
        """Images of `part` that equal one of `other`, before it if that is the same split."""
        count, relabelled = 0, 0
        for i, image in enumerate(splits[part].images):
            before = splits[other].images[: i if part == other else None]
            equal = [j for j, x in enumerate(before) if (x == image).all()]
            count += bool(equal)
            relabelled += bool(equal) and splits[other].labels[equal[0]] != splits[part].labels[i]
        return summary.Duplicates(part, other, count, int(relabelled))

    want = [slow(part, other) for i, part in enumerate(names) for other in names[: i + 1]]
    assert summary.find_duplicates(splits) == want
    assert sum(x.images for x in want) > 10


def test_the_picture_shows_the_first_images_of_each_class(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(png, "save", lambda fig, path: figures.append(fig))
    images, labels = random_images(7, 32, 32, 3), np.array([1, 0, 1, 1, 0, 1, 1])
    shown = summary.samples(Split(images, labels), 3, 4)
    png.draw_samples(tmp_path / "a.png", shown, ("a", "b", "c"), "")
    axis = figures[0].axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b", "c"]
    tiles = axis.images[0].get_array().reshape(3, 34, 4, 34, 3)[:, 1:-1, :, 1:-1].swapaxes(1, 2)
    np.testing.assert_array_equal(tiles[0, :2], images[[1, 4]])
    np.testing.assert_array_equal(tiles[1], images[[0, 2, 3, 5]])
    assert (tiles[0, 2:] == 255).all()
    assert (tiles[2] == 255).all()


@pytest.fixture
def npz(tmp_path):
    """A .npz file of two classes in which the test set repeats two training images."""
    images = random_images(20, 32, 32, 3)
    labels = np.arange(20) % 2
    test_labels = np.array([0, 0, 1])  # the second repetition has another label
    np.savez(
        tmp_path / "own.npz",
        train_images=images,
        train_labels=labels,
        test_images=np.concatenate([images[:2], random_images(1, 32, 32, 3, seed=1)]),
        test_labels=test_labels,
        class_names=["cat", "a long name"],
    )
    return tmp_path / "own.npz"


def test_the_command_describes_a_file(npz, run, tmp_path):
    status, out, err = run(inspect_data.main, [npz, f"--out={tmp_path / 'sheet.png'}"])
    assert (status, err) == (0, "")
    assert out.startswith("npz: 20 train, 3 test images; 2 classes\n")
    assert "\na long name         10          1\n" in out
    assert "\n  2 test images that are also in train, 1 of them with another label\n" in out
    mean = np.load(npz)["train_images"].mean((0, 1, 2)) / 255
    assert "\n--config.augment.mean=" + ",".join(f"{m:.4f}" for m in mean) + "\n" in out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 300


def test_a_path_is_read_as_what_it_is(npz, tmp_path):
    for archive, source in (
        (official.PYTHON, "cifar10"),
        (official.BINARY, "cifar10"),
        (official.PYTHON_100, "cifar100"),
        (official.BINARY_100, "cifar100"),
    ):
        home = tmp_path / archive.folder / "home"
        (home / archive.folder).mkdir(parents=True)
        (home / archive.folder / next(iter(archive.md5))).touch()
        (tmp_path / archive.tar).touch()
        for place in (home, home / archive.folder, tmp_path / archive.tar):
            assert inspect_data.find_source(str(place), "") == (source, str(place))
    (tmp_path / "photos" / "train" / "cat").mkdir(parents=True)
    photos = str(tmp_path / "photos")
    assert inspect_data.find_source(photos, "") == ("folder", photos)
    assert inspect_data.find_source(str(npz), "") == ("npz", str(npz))
    assert inspect_data.find_source("cifar10", "here") == ("cifar10", "here")


def test_a_path_and_a_folder_to_search_are_refused(run, npz):
    status, out, err = run(inspect_data.main, [npz, "--dir=here"])
    assert (status, out) == (2, "")
    assert err == f"error: {npz} is a path, so --dir=here has no effect; leave --dir out\n"


@pytest.mark.parametrize("word", ["nowhere", "LICENSE"])
def test_anything_else_is_refused_in_one_line(run, word, monkeypatch):
    monkeypatch.chdir(ROOT)
    status, out, err = run(inspect_data.main, [word])
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {word} is neither a source of data (cifar10, cifar100,")
