"""Data sets in memory: uint8 images and their labels, in up to three splits."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcifar.errors import UserError

SIZE = 32  # height and width of an image in pixels
# Sources whose images come in a random order; recorded runs depend on it.
MIXED = ("cifar10", "synthetic")


class Split(NamedTuple):
    """Images and labels of one part of a data set."""

    images: np.ndarray  # uint8 [N, 32, 32, 3]
    labels: np.ndarray  # int32 [N]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory; a split that does not exist has zero images."""

    source: str  # the config's data.source
    origin: str  # where the data were read from, as text
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    checksum: str  # first 16 digits of `content_sha256`, before any images are held out


def make_dataset(
    source: str, origin: str, class_names: tuple[str, ...], train: Split, test: Split, digest: str
) -> Dataset:
    """Returns a data set with nothing held out; `digest` is its `content_sha256`."""
    none = Split(train.images[:0], train.labels[:0])
    return Dataset(source, origin, class_names, train, none, test, digest[:16])


def content_sha256(train: Split, test: Split) -> str:
    """Returns the sha256 of all images and labels, the training split first."""
    digest = hashlib.sha256()
    for array in (*train, *test):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def compare_data(
    dataset: Dataset, run: object, checksum: str, class_names: Sequence[str], advice: str
) -> str:
    """Returns a line if the data set is not the one that `run` was trained on; "" if it is.

    `checksum` ("" if unknown) and `class_names` are those of the run. `advice` ends the error.

    Raises:
      UserError: the classes have other names, another order or another number.
    """
    if tuple(class_names) != dataset.class_names:
        raise UserError(
            f"{run} has other classes ({', '.join(class_names)}); expected"
            f" {', '.join(dataset.class_names)}, as in {dataset.origin}; {advice}"
        )
    if checksum in ("", dataset.checksum):
        return ""
    return (
        f"{run} was trained on other data: their checksum is {checksum}, and that of"
        f" {dataset.origin} is {dataset.checksum}"
    )


def hold_out(dataset: Dataset, validation: int, train_examples: int) -> Dataset:
    """Holds out the last `validation` training images, then keeps the first `train_examples`.

    `train_examples=0` keeps all. The user's own data, which may be sorted by class, are first put
    into an order in which both parts have the classes' proportions.

    Raises:
      UserError: there are too few training images.
    """
    images, labels = dataset.train
    total = len(labels)
    if not 0 <= validation < total:
        raise UserError(
            f"config.data.validation is {validation}; expected 0 to {total - 1}, because one of the"
            f" {total} training images must be left for config.data.train_examples"
        )
    rest = total - validation
    if not 0 <= train_examples <= rest:
        raise UserError(
            f"config.data.train_examples is {train_examples}; expected 0 (all) to {rest},"
            f" {total} training images less config.data.validation={validation}"
        )
    kept = train_examples or rest
    if dataset.source not in MIXED and (validation or train_examples):
        order = mixed_order(labels)
        images, labels = images[order], labels[order]
    return dataclasses.replace(
        dataset,
        train=Split(images[:kept], labels[:kept]),
        validation=Split(images[rest:], labels[rest:]),
    )


def mixed_order(labels: np.ndarray) -> np.ndarray:
    """Returns a random order, the same every time, that spreads each class evenly, int [N]."""
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = labels[order]
    place = np.empty(len(labels))  # of each image within its class, 0 to 1
    for label in np.unique(labels):
        count = np.count_nonzero(shuffled == label)
        place[shuffled == label] = (np.arange(count) + 0.5) / count
    return order[np.argsort(place, kind="stable")]
