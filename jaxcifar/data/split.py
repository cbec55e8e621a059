"""Data sets in memory: uint8 images and their labels, in up to three splits."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcifar.errors import UserError, printable

SIZE = 32  # height and width of an image in pixels
# Sources whose images already come in a random order; recorded runs depend on this order.
SHUFFLED = ("cifar10", "cifar100", "synthetic")


class Split(NamedTuple):
    """Images and labels of one part of a data set."""

    images: np.ndarray  # uint8 [N, 32, 32, 3]
    labels: np.ndarray  # int32 [N]

    def take(self, which: np.ndarray | slice) -> "Split":
        """Returns the images that an index, a mask or a slice selects."""
        return Split(self.images[which], self.labels[which])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory; a split that does not exist has zero images."""

    source: str  # the config's data.source
    origin: str  # where the data were read from, as text
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    checksum: str  # first 16 digits of `content_sha256`, before validation images are held out


def make_dataset(
    source: str, origin: str, class_names: tuple[str, ...], train: Split, test: Split, digest: str
) -> Dataset:
    """Returns a data set without validation images; `digest` is its `content_sha256`."""
    names = tuple(map(printable, class_names))
    return Dataset(source, origin, names, train, train.take(slice(0)), test, digest[:16])


def content_sha256(*splits: Split) -> str:
    """Returns the sha256 of all images and labels, the training split first."""
    digest = hashlib.sha256()
    for split in splits:
        for array in split:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def compare_data(
    dataset: Dataset, run: object, checksum: str, class_names: Sequence[str], advice: str
) -> str:
    """Returns a line if `run` was trained on another data set; "" if on this one.

    `checksum` ("" if unknown) and `class_names` are those of the run. `advice` is added to the
    message of the error.

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


def choose_from_each_class(labels: np.ndarray, share: float) -> np.ndarray:
    """Returns a mask [N] that selects `share` of each class, at random by a fixed seed.

    If a class has at least two images, at least one is chosen and at least one is not.
    """
    ranks, counts = _ranks(labels), np.bincount(labels)[labels]
    return ranks < np.clip(np.rint(share * counts), 1, np.maximum(counts - 1, 0))


def hold_out(dataset: Dataset, validation: int, train_examples: int) -> Dataset:
    """Holds out the last `validation` training images, then keeps the first `train_examples`.

    `train_examples=0` keeps all. The user's own data may be sorted by class, so they are shuffled
    first, in a way that gives both parts the classes' proportions.

    Raises:
      UserError: there are too few training images, or `validation` is above 0 although the data
        have validation images of their own.
    """
    train = dataset.train
    total, own = len(train.labels), len(dataset.validation.labels)
    if validation and own:
        raise UserError(
            f"config.data.validation is {validation}, but the data have {own} validation images of"
            " their own; expected 0"
        )
    if not 0 <= validation < total:
        raise UserError(
            f"config.data.validation is {validation}; expected 0 to {total - 1}: at least one of"
            f" the {total} training images must remain for config.data.train_examples"
        )
    rest = total - validation
    if not 0 <= train_examples <= rest:
        raise UserError(
            f"config.data.train_examples is {train_examples}; expected 0 (all) to {rest},"
            f" {total} training images less config.data.validation={validation}"
        )
    kept = train_examples or rest
    if dataset.source not in SHUFFLED and (validation or train_examples):
        train = train.take(stratified_order(train.labels))
    held_out = dataset.validation if own else train.take(slice(rest, None))
    return dataclasses.replace(dataset, train=train.take(slice(kept)), validation=held_out)


def stratified_order(labels: np.ndarray) -> np.ndarray:
    """Returns a random order, the same every time, that spreads each class evenly, int [N]."""
    return np.argsort((_ranks(labels) + 0.5) / np.bincount(labels)[labels], kind="stable")


def _ranks(labels: np.ndarray) -> np.ndarray:
    """Returns each image's place, from 0, in a random order of the images of its class."""
    ranks = np.empty(len(labels), np.int64)
    rng = np.random.default_rng(0)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        ranks[of_class] = rng.permutation(len(of_class))
    return ranks
