"""The data sets: `config.data` -> images and labels in memory."""

import inspect
from collections.abc import Callable
from typing import Annotated

from jaxcifar.config.fields import Constraint, Count, one_of
from jaxcifar.data import cifar10, cifar100, folder, npz, synthetic
from jaxcifar.data.split import Dataset, Split, compare_data, hold_out
from jaxcifar.errors import UserError
from jaxcifar.system import files

__all__ = ["SOURCES", "Dataset", "Split", "compare_data", "load_dataset"]

# source -> the function that loads it, without holding out validation images. Its arguments are
# config.data.dir and the keys of `config.data` that only this source has.
SOURCES: dict[str, Callable[..., Dataset]] = {
    "cifar10": cifar10.load,
    "cifar100": cifar100.load,
    "synthetic": synthetic.load,
    "npz": npz.load,
    "folder": folder.load,
}
BelowOne = Annotated[float, Constraint(lambda x: 0 < x < 1, "above 0 and below 1")]


def load_dataset(
    source: Annotated[str, one_of(SOURCES), "where the images come from"],
    dir: Annotated[
        str,
        'the file or folder to read, or to search first; "" searches $JAXCIFAR_DATA and the cache',
    ] = "",
    validation: Annotated[
        Count, "training images to hold out for validation; 0 holds out none"
    ] = 0,
    train_examples: Annotated[
        Count, "training images to keep, counted without the validation images; 0 keeps all"
    ] = 0,
    labels: Annotated[
        str, one_of(cifar100.CLASS_NAMES), "cifar100 only: its 100 classes or its 20 superclasses"
    ] = "fine",
    test_share: Annotated[
        BelowOne,
        "folder only: share of each class that becomes the test set if the folder has none",
    ] = 0.2,
) -> Dataset:
    """Loads a data set; the arguments are the keys of `config.data`.

    The last training images become the validation images, and `train_examples` keeps the first of
    the others. The user's own data may be sorted by class, so both are then a fixed random choice
    with the classes' proportions.

    Raises:
      UserError: `dir` does not exist, there are too few images, a file is damaged, or the data
        can be neither found nor downloaded.
    """
    if dir and not files.expand_home(dir).exists():
        raise UserError(f"config.data.dir: {dir} does not exist; expected a file or folder of data")
    own = {"labels": labels, "test_share": test_share}
    read = inspect.signature(SOURCES[source]).parameters
    for key, value in own.items():
        if key not in read and value != inspect.signature(load_dataset).parameters[key].default:
            raise UserError(
                f"config.data.{key} is {value!r}, but {source} data have no such key; remove it"
            )
    dataset = SOURCES[source](dir, **{key: own[key] for key in own if key in read})
    return hold_out(dataset, validation, train_examples)
