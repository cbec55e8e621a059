"""The data sets by name: `config.data` -> images and labels in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from jaxcifar.config.fields import Count, one_of
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


def load(
    source: Annotated[str, one_of(SOURCES)],
    dir: str = "",
    validation: Count = 0,
    train_examples: Count = 0,
) -> Dataset:
    """Loads a data set; the arguments are the keys of `config.data`.

    Args:
      source: one of `SOURCES`.
      dir: the file or folder that the source reads, or looks in first; "" for none.
      validation: how many training images are held out, the last ones; 0 for none.
      train_examples: how many of the others are kept, the first ones; 0 for all.

    Raises:
      UserError: `dir` does not exist, there are too few images, a file is damaged, or the data
        are neither here nor on the network.
    """
    if dir and not Path(dir).expanduser().exists():
        raise UserError(f"config.data.dir: there is no {dir}; expected the data's file or folder")
    return hold_out(SOURCES[source](dir), validation, train_examples)
