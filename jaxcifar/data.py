"""Where the images come from, and in what order an epoch sees them.

CIFAR-10 is looked for in the user's folders, then our cache, then the net; images stay uint8.
"""

import dataclasses
import functools
import hashlib
import logging
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxcifar import official, synthetic, tfds_source
from jaxcifar.errors import UserError
from jaxcifar.synthetic import Split

if TYPE_CHECKING:
    import jax

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
# `content_sha256` of the 60,000 images and labels that those files hold.
CIFAR10_SHA256 = "9bb26ea52d5b395389569734654d923ce7ba78a18a63b56115e3cecfb33f114d"

SYNTHETIC_TRAIN = (0, 10_000)  # seed, images
SYNTHETIC_TEST = (1, 2_000)
ORDER_STREAM = 0x0E70C4  # keeps the order's random numbers apart from other uses of the seed


Reader = Callable[[Path], tuple[Split, Split]]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory; what a split does not have is an array of no images."""

    source: str  # "cifar10" or "synthetic"
    origin: str  # where it came from, in one line
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    checksum: str  # 16 digits of the sha256 of the whole: before `validation`, `train_examples`


def load(source: str, dir: str, validation: int, train_examples: int) -> Dataset:
    """Loads a data set; the arguments are the config's keys `data.*`.

    Args:
      source: "cifar10" or "synthetic".
      dir: where to look for CIFAR-10 first; "" for $JAXCIFAR_DATA alone.
      validation: how many training images, the last, are held out; 0 for none.
      train_examples: how many of the rest, the first, are kept; 0 for all.

    Raises UserError: an unknown source, impossible numbers, damaged files, no data and no network.
    """
    if source == "cifar10":
        train, test, origin = _cifar10(dir)
        names, digest = CLASS_NAMES, CIFAR10_SHA256
    elif source == "synthetic":
        train, test = synthetic.make(*SYNTHETIC_TRAIN), synthetic.make(*SYNTHETIC_TEST)
        names, digest = synthetic.CLASS_NAMES, content_sha256(train, test)
        origin = "drawn by jaxcifar/synthetic.py"
    else:
        raise UserError(f'config.data.source is {source!r}; choose "cifar10" or "synthetic"')
    train, held_out = _divide(train, validation, train_examples)
    return Dataset(source, origin, names, train, held_out, test, digest[:16])


def epoch_order(
    seed: "int | jax.Array", epoch: "int | jax.Array", num_examples: int
) -> "jax.Array":
    """Returns the order of an epoch: a permutation, int32 [num_examples], of (seed, epoch)."""
    import jax

    stream = jax.random.fold_in(jax.random.key(seed), ORDER_STREAM)
    return jax.random.permutation(jax.random.fold_in(stream, epoch), num_examples)


def content_sha256(train: Split, test: Split) -> str:
    """Returns the sha256 of images and labels, training then test."""
    digest = hashlib.sha256()
    for array in (*train, *test):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _divide(train: Split, validation: int, train_examples: int) -> tuple[Split, Split]:
    """Returns the first `train_examples` of what is left, and the last `validation` images."""
    total = len(train.labels)
    if not 0 <= validation < total:
        raise UserError(f"config.data.validation is {validation}; expected 0 to {total - 1}")
    rest = total - validation
    if not 0 <= train_examples <= rest:
        raise UserError(
            f"config.data.train_examples is {train_examples}; expected 0 (all) to {rest},"
            f" {total} training images less config.data.validation={validation}"
        )
    kept = train_examples or rest
    return (
        Split(train.images[:kept], train.labels[:kept]),
        Split(train.images[rest:], train.labels[rest:]),
    )


# Finding CIFAR-10


def _cifar10(dir: str) -> tuple[Split, Split, str]:
    """Returns training images, test images and origin: the user's folders, the cache, the net."""
    folders = [Path(name).expanduser() for name in (dir, os.environ.get("JAXCIFAR_DATA")) if name]
    cache = cache_folder() / "cifar10.npz"
    for folder in folders:
        try:
            found = find(folder)
        except OSError as error:
            raise UserError(f"{folder} cannot be read: {error}") from error
        if found:
            path, read, slow = found
            if slow and (cached := read_cache(cache)):
                return *cached, f"{cache}, a copy of {path}"
            train, test = read(path)
            if slow:
                write_cache(cache, train, test)
            return train, test, str(path)
    if cached := read_cache(cache):
        return *cached, str(cache)
    tfds_dir = cache.parent / "tfds"
    try:
        copy = tfds_source.find(tfds_dir) or tfds_source.download(
            tfds_dir, official.read_binary_tar, CLASS_NAMES
        )
    except UserError as error:
        looked = ", ".join(map(str, [*folders, cache.parent]))
        raise UserError(
            f"no CIFAR-10 in {looked}, and {error}; set config.data.dir or JAXCIFAR_DATA to a"
            " folder with an official archive, unpacked or not, or run without it:"
            " --config.data.source=synthetic"
        ) from error
    train, test = read_tfds(copy)
    write_cache(cache, train, test)
    return train, test, f"{tfds_source.URL} through TFDS, in {cache.parent}"


def find(folder: Path) -> tuple[Path, Reader, bool] | None:
    """Returns the first copy in a folder, or that is this folder or file: path, reader, slow."""
    for kind in (official.PYTHON, official.BINARY):
        for place in (folder / kind.folder, folder):
            if any((place / name).is_file() for name in kind.md5):
                return place, functools.partial(official.read_folder, kind), False
    for kind in (official.PYTHON, official.BINARY):
        for place in (folder / kind.tar, folder):
            if place.name == kind.tar and place.is_file():
                return place, functools.partial(official.read_tar, kind), True
    if copy := tfds_source.find(folder):
        return copy, read_tfds, True
    return None


def cache_folder() -> Path:
    """Returns the folder of what was slow to read or to get."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "jaxcifar"


def read_cache(path: Path) -> tuple[Split, Split] | None:
    """Returns training and test images, or None where there is no whole copy of CIFAR-10."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            train = Split(file["train_images"], file["train_labels"])
            test = Split(file["test_images"], file["test_labels"])
        problem = "" if content_sha256(train, test) == CIFAR10_SHA256 else "its sha256 differs"
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        logging.getLogger(__name__).warning(
            "%s is damaged (%s); reading CIFAR-10 anew", path, problem
        )
        return None
    return train, test


def write_cache(path: Path, train: Split, test: Split) -> None:
    """Writes the arrays, uncompressed, under a temporary name first; warns where it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            try:
                np.savez(
                    file,
                    train_images=train.images,
                    train_labels=train.labels,
                    test_images=test.images,
                    test_labels=test.labels,
                )
                file.close()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        logging.getLogger(__name__).warning("cannot keep a copy of CIFAR-10 in %s: %s", path, error)


# Reading what was found


def read_tfds(copy: Path) -> tuple[Split, Split]:
    """Returns training and test images of a TFDS copy, verified by their content."""
    train, test = tfds_source.read(copy)
    found = content_sha256(train, test)
    if found != CIFAR10_SHA256:
        raise UserError(
            f"{copy} is not CIFAR-10: {len(train.labels):,} + {len(test.labels):,} images of"
            f" sha256 {found}; expected 50,000 + 10,000 of sha256 {CIFAR10_SHA256}"
        )
    return train, test
