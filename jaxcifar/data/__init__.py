"""The data sets: `config.data` -> images and labels in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from jaxcifar.config.fields import Count, one_of
from jaxcifar.data import cifar10, npz, synthetic
from jaxcifar.data.split import Dataset, Split, compare_data, hold_out
from jaxcifar.errors import UserError

__all__ = ["SOURCES", "Dataset", "Split", "compare_data", "load_dataset"]

# name -> function of config.data.dir that returns the data set, nothing held out
SOURCES: dict[str, Callable[[str], Dataset]] = {
    "cifar10": cifar10.load,
    "synthetic": synthetic.load,
    "npz": npz.load,
}


def load_dataset(
    source: Annotated[str, one_of(SOURCES), "where the images come from"],
    dir: Annotated[
        str, 'the file or folder to read, or to search first; "" searches the default places'
    ] = "",
    validation: Annotated[
        Count, "training images to hold out for validation; 0 holds out none"
    ] = 0,
    train_examples: Annotated[
        Count, "training images to keep, counted without the validation images; 0 keeps all"
    ] = 0,
) -> Dataset:
    """Loads a data set; the arguments are the keys of `config.data`.

    Args:
      source: one of `SOURCES`.
      dir: the file or folder to read, or to search first; "" for the default places.
      validation: the number of training images to hold out; 0 for none. They are the last ones or,
        of the user's own data, a fixed random choice with the classes' proportions.
      train_examples: the number of remaining training images to keep, chosen likewise from the
        start; 0 for all.

    Raises:
      UserError: `dir` does not exist, there are too few images, a file is damaged, or the data
        can be neither found nor downloaded.
    """
    if dir and not Path(dir).expanduser().exists():
        raise UserError(f"config.data.dir: {dir} does not exist; expected a file or folder of data")
    return hold_out(SOURCES[source](dir), validation, train_examples)
