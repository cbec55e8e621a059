"""The data sets by name: config.data -> images and labels in memory."""

from collections.abc import Callable

from jaxcifar.config import check_choice
from jaxcifar.data import cifar10, synthetic
from jaxcifar.data.split import Dataset, Split, divide

__all__ = ["SOURCES", "Dataset", "Split", "load"]

# name -> (config.data.dir) -> the data set, nothing held out
SOURCES: dict[str, Callable[[str], Dataset]] = {
    "cifar10": cifar10.load,
    "synthetic": synthetic.load,
}


def load(source: str, dir: str, validation: int, train_examples: int) -> Dataset:
    """Loads a data set; the arguments are the config's keys `data.*`.

    Args:
      source: one of `SOURCES`.
      dir: where the source looks for its files first; "" where it needs none.
      validation: how many training images, the last, are held out; 0 for none.
      train_examples: how many of the rest, the first, are kept; 0 for all.

    Raises UserError: an unknown source, impossible numbers, damaged files, no data and no network.
    """
    check_choice("data.source", source, SOURCES)
    return divide(SOURCES[source](dir), validation, train_examples)
