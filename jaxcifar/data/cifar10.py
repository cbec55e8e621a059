"""Loads CIFAR-10 from the user's folders, the cache or the network, in this order."""

from jaxcifar.data import locate, official, tfds
from jaxcifar.data.split import Dataset, Split, content_sha256, make_dataset

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


def load(dir: str) -> Dataset:
    """Returns CIFAR-10 from `dir`, $JAXCIFAR_DATA, the cache or the network, in this order.

    Raises:
      UserError: no copy was found, or the one that was found is damaged.
    """
    train, test, origin = published().read(dir)
    return make_dataset("cifar10", origin, CLASS_NAMES, train, test, CIFAR10_SHA256)


def published() -> locate.Published:
    """Returns how CIFAR-10 is published and recognised."""
    spec = tfds.Spec("cifar10", official.BINARY, {"label": CLASS_NAMES})
    return locate.Published("CIFAR-10", (official.PYTHON, official.BINARY), spec, _find_problem)


def _find_problem(train: Split, test: Split) -> str:
    found = content_sha256(train, test)
    if found == CIFAR10_SHA256:
        return ""
    return f"with sha256 {found}; expected 50,000 + 10,000 with sha256 {CIFAR10_SHA256}"
