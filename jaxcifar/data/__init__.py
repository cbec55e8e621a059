"""The data sets by name: config.data -> images and labels in memory."""

from collections.abc import Callable
from pathlib import Path

from jaxcifar.config.fields import check_choice
from jaxcifar.data import cifar10, npz, synthetic
from jaxcifar.data.split import Dataset, Split, hold_out
from jaxcifar.errors import UserError

__all__ = ["SOURCES", "Dataset", "Split", "load"]

# name -> (config.data.dir) -> the data set, nothing held out
SOURCES: dict[str, Callable[[str], Dataset]] = {
    "cifar10": cifar10.load,
    "synthetic": synthetic.load,
    "npz": npz.load,
}


def load(source: str, dir: str, validation: int, train_examples: int) -> Dataset:
    """Loads a data set; the arguments are the config's keys `data.*`.

    Args:
      source: one of `SOURCES`.
      dir: the file or folder that the source reads, or looks in first; "" for none.
      validation: how many training images, the last, are held out; 0 for none.
      train_examples: how many of the rest, the first, are kept; 0 for all.

    Raises UserError: an unknown source, no such `dir`, impossible numbers, damaged files, no data
    and no network.
    """
    check_choice("data.source", source, SOURCES)
    if dir and not Path(dir).expanduser().exists():
        raise UserError(f"config.data.dir: there is no {dir}; expected the data's file or folder")
    return hold_out(SOURCES[source](dir), validation, train_examples)
