"""Loads the user's own 32×32 images from a NumPy archive, with any number of classes.

The file is not trusted. Nothing is unpickled, and an array is read only if its header has a valid
shape and type and its size in the archive matches them.
"""

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from jaxcifar.data.split import Dataset, Split, content_sha256, make_dataset
from jaxcifar.errors import UserError, first_line, printable
from jaxcifar.system import files

NEEDED = ("train_images", "train_labels", "test_images", "test_labels")
NAMES = "class_names"
EXPECTED = f"expected {', '.join(NEEDED)} and, if the classes have names, {NAMES}"


def load(dir: str) -> Dataset:
    """Returns the data set in `dir`, a file written by `np.savez` or `np.savez_compressed`.

    The file holds train_images and test_images, uint8 [N, 32, 32, 3], train_labels and
    test_labels, integers [N] from 0, and optionally class_names, text [C]. Without class_names,
    classes are named by their number and each needs at least one image.

    Raises:
      UserError: the file cannot be read, is damaged, or holds other arrays.
    """
    if not dir:
        raise UserError(f"config.data.source=npz needs config.data.dir=FILE.npz; {EXPECTED}")
    path = files.expand_home(dir)
    try:
        with files.open_plain(path, follow=True) as file, zipfile.ZipFile(file) as archive:
            arrays = _read(path, archive)
    except (OSError, MemoryError) as error:
        raise UserError(f"cannot read {path}: {first_line(error)}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} is not a complete .npz file: {first_line(error)}; write it again with np.savez"
        ) from error
    names = _class_names(path, arrays)
    train = Split(arrays["train_images"], arrays["train_labels"].astype(np.int32))
    test = Split(arrays["test_images"], arrays["test_labels"].astype(np.int32))
    return make_dataset("npz", str(path), names, train, test, content_sha256(train, test))


def _read(path: Path, archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """Returns the arrays by name after checking their names, types and shapes."""
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    for name in NEEDED:
        if name not in members:
            raise UserError(f"{path} lacks the array {name}; {EXPECTED}")
    for name in members:
        if name not in (*NEEDED, NAMES):
            raise UserError(f"{path} has an unknown array {name!r}; {EXPECTED}")
    held = path.stat().st_size
    files.check_claim(path, sum(info.file_size for info in archive.infolist()), held)
    arrays: dict[str, np.ndarray] = {}
    for name in (*NEEDED, NAMES)[: len(members)]:
        info = members[name]
        with archive.open(info) as file:
            shape, dtype = _header(file)
            start = file.tell()
        images = arrays.get(name.replace("labels", "images"), ())
        if expected := _mismatch(name, shape, dtype, len(images)):
            found = _describe_array(shape, dtype)
            raise UserError(f"{path}: {name} is {found}; expected {expected}")
        size = start + dtype.itemsize * math.prod(shape)
        if info.file_size != size:
            raise ValueError(
                f"{name} needs {size:,} bytes, but the archive does not unpack to that size"
            )
        with archive.open(info) as file:
            arrays[name] = np.ascontiguousarray(np.lib.format.read_array(file, allow_pickle=False))
    return arrays


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Returns the shape and type that the header of an array states."""
    try:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):  # newer formats are for structured arrays
            raise ValueError(f"array format {version} is not supported")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except OSError:
        raise
    except Exception as error:  # NumPy evaluates the header as Python, which can raise anything
        raise ValueError(f"bad array header: {first_line(error)}") from error
    return shape, dtype


def _mismatch(name: str, shape: tuple[int, ...], dtype: np.dtype, images: int) -> str:
    """Returns a description of the expected array; "" if the shape and type are right."""
    if name.endswith("images"):
        right = dtype == np.uint8 and shape[1:] == (32, 32, 3) and len(shape) == 4 and shape[0] > 0
        return "" if right else "uint8 [N, 32, 32, 3], values 0 to 255, channels last"
    if name == NAMES:
        right = dtype.kind == "U" and len(shape) == 1
        return "" if right else "text [C], np.array(['cat', 'dog', …])"
    right = dtype.kind in "iu" and shape == (images,)
    return "" if right else f"integers [{images:,}], one for each image"


def _describe_array(shape: tuple[int, ...], dtype: np.dtype) -> str:
    type_name = (
        "pickled objects" if dtype.hasobject else "text" if dtype.kind == "U" else dtype.name
    )
    return f"{type_name} {list(shape)}"


def _class_names(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Returns the names of the classes after checking that they match the labels."""
    found = set().union(*(np.unique(arrays[name]).tolist() for name in NEEDED[1::2]))
    if NAMES not in arrays:
        if found != set(range(len(found))):
            raise UserError(
                f"{path} has {len(found)} labels from {min(found)} to {max(found)}; expected every"
                f" number from 0 to {max(found)}, or {NAMES}"
            )
        return tuple(map(str, range(len(found))))
    names = tuple(map(printable, arrays[NAMES].tolist()))
    if len(set(names)) < len(names) or "" in names:
        raise UserError(
            f"{path}: {NAMES} are {', '.join(names)}; expected a different name for each class"
        )
    if not found <= set(range(len(names))):
        raise UserError(
            f"{path}: labels go from {min(found)} to {max(found)}; expected 0 to {len(names) - 1},"
            f" the indices of {NAMES}"
        )
    return names
