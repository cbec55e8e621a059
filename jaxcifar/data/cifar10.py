"""Loads CIFAR-10 from the user's folders, the cache or the network, in this order."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

from jaxcifar.data import cache, official, tfds
from jaxcifar.data.split import Dataset, Split, content_sha256, make_dataset
from jaxcifar.errors import UserError
from jaxcifar.system.backend import cache_folder

CLASS_NAMES: tuple[str, ...] = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# `content_sha256` of the 60,000 official images and labels.
CIFAR10_SHA256 = "9bb26ea52d5b395389569734654d923ce7ba78a18a63b56115e3cecfb33f114d"

CACHED = ("train_images", "train_labels", "test_images", "test_labels")

Reader = Callable[[Path], tuple[Split, Split]]


def load(dir: str) -> Dataset:
    """Returns CIFAR-10 from `dir`, $JAXCIFAR_DATA, the cache or the network, in this order.

    Raises:
      UserError: no copy was found, or the one that was found is damaged.
    """
    train, test, origin = _find_and_read(dir)
    return make_dataset("cifar10", origin, CLASS_NAMES, train, test, CIFAR10_SHA256)


def _find_and_read(dir: str) -> tuple[Split, Split, str]:
    folders = [Path(name).expanduser() for name in (dir, os.environ.get("JAXCIFAR_DATA")) if name]
    cached_file = cache_folder() / "cifar10.npz"
    for folder in folders:
        try:
            found = find_copy(folder)
        except OSError as error:
            raise UserError(f"cannot read {folder}: {error}") from error
        if found:
            path, read, slow = found
            if slow and (cached := read_cache(cached_file)):
                return *cached, f"{cached_file}, a copy of {path}"
            train, test = read(path)
            if slow:
                write_cache(cached_file, train, test)
            return train, test, str(path)
    if cached := read_cache(cached_file):
        return *cached, str(cached_file)
    tfds_dir = cached_file.parent / "tfds"
    try:
        copy = tfds.find_copy(tfds_dir) or tfds.download(tfds_dir, CLASS_NAMES)
    except UserError as error:
        looked = ", ".join(map(str, [*folders, cached_file.parent]))
        raise UserError(
            f"no CIFAR-10 in {looked}, and {error}; set config.data.dir or JAXCIFAR_DATA to a"
            " folder with an official archive, unpacked or not, or use synthetic data:"
            " --config.data.source=synthetic"
        ) from error
    train, test = read_tfds(copy)
    write_cache(cached_file, train, test)
    return train, test, f"{tfds.URL} through TFDS, in {cached_file.parent}"


def find_copy(folder: Path) -> tuple[Path, Reader, bool] | None:
    """Returns the path of a copy of CIFAR-10, its reader, and whether reading it is slow.

    The copy is in `folder`, or is this folder or file itself; None if there is none.
    """
    for kind in (official.PYTHON, official.BINARY):
        for place in (folder / kind.folder, folder):
            if any((place / name).is_file() for name in kind.md5):
                return place, functools.partial(official.read_folder, kind), False
    for kind in (official.PYTHON, official.BINARY):
        for place in (folder / kind.tar, folder):
            if place.name == kind.tar and place.is_file():
                return place, functools.partial(official.read_tar, kind), True
    if copy := tfds.find_copy(folder):
        return copy, read_tfds, True
    return None


def read_cache(path: Path) -> tuple[Split, Split] | None:
    """Returns the training and test images in the cache; None if it is missing or damaged."""
    arrays = cache.read(path, CACHED)
    if arrays is None:
        return None
    train, test = Split(*arrays[:2]), Split(*arrays[2:])
    if content_sha256(train, test) != CIFAR10_SHA256:
        cache.warn_damaged(path, "its sha256 differs")
        return None
    return train, test


def write_cache(path: Path, train: Split, test: Split) -> None:
    """Writes the images to the cache."""
    cache.write(path, **dict(zip(CACHED, (*train, *test), strict=True)))


def read_tfds(copy: Path) -> tuple[Split, Split]:
    """Returns the training and test images of a TFDS copy after checking their sha256."""
    train, test = tfds.read(copy)
    found = content_sha256(train, test)
    if found != CIFAR10_SHA256:
        raise UserError(
            f"{copy} is not CIFAR-10: {len(train.labels):,} + {len(test.labels):,} images with"
            f" sha256 {found}; expected 50,000 + 10,000 with sha256 {CIFAR10_SHA256}"
        )
    return train, test
