"""Anyone's own 32×32 images: one NumPy archive of labelled images, of any number of classes.

Nothing in the file is believed: no array is unpickled, and none is read before its header gives
the shape and the type that it must have, and the archive as many bytes as that takes.
"""

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from jaxcifar.data.split import Dataset, Split, content_sha256, make_dataset
from jaxcifar.errors import UserError, first_line

NEEDED = ("train_images", "train_labels", "test_images", "test_labels")
NAMES = "class_names"
EXPECTED = f"expected {', '.join(NEEDED)} and, if the classes have names, {NAMES}"
MAX_RATIO = 1_100  # deflate makes nothing smaller than by 1,032


def load(dir: str) -> Dataset:
    """Returns the images of `dir`, a file that `np.savez` or `np.savez_compressed` made.

    It has train_images and test_images, uint8 [N, 32, 32, 3], train_labels and test_labels,
    integers [N] from 0, and optionally class_names, text [C]. Without them each class is named by
    its number, and there must be an image of each.

    Raises:
      UserError: the file cannot be read, is damaged, or has other arrays than these.
    """
    if not dir:
        raise UserError(f"config.data.source=npz needs config.data.dir=FILE.npz; {EXPECTED}")
    path = Path(dir).expanduser()
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = _read(path, archive)
    except (OSError, MemoryError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} is no whole .npz: {first_line(error)}; make it again with np.savez"
        ) from error
    names = _class_names(path, arrays)
    train = Split(arrays["train_images"], arrays["train_labels"].astype(np.int32))
    test = Split(arrays["test_images"], arrays["test_labels"].astype(np.int32))
    return make_dataset("npz", str(path), names, train, test, content_sha256(train, test))


def _read(path: Path, archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """Returns the arrays by name, of the types and shapes that they must have."""
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    for name in NEEDED:
        if name not in members:
            raise UserError(f"{path} lacks the array {name}; {EXPECTED}")
    for name in members:
        if name not in (*NEEDED, NAMES):
            raise UserError(f"{path} has an array {name!r} that nothing reads; {EXPECTED}")
    arrays: dict[str, np.ndarray] = {}
    for name in (*NEEDED, NAMES)[: len(members)]:
        info = members[name]
        with archive.open(info) as file:
            shape, dtype = _header(file)
            start = file.tell()
        images = arrays.get(name.replace("labels", "images"), ())
        if wrong := _wrong(name, shape, dtype, len(images)):
            raise UserError(f"{path}: {name} is {_described(shape, dtype)}; expected {wrong}")
        size = start + dtype.itemsize * math.prod(shape)
        if info.file_size != size or size > MAX_RATIO * path.stat().st_size:
            raise ValueError(
                f"{name} should take {size:,} bytes, and the archive cannot unpack to these"
            )
        with archive.open(info) as file:
            arrays[name] = np.ascontiguousarray(np.lib.format.read_array(file, allow_pickle=False))
    return arrays


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Returns the shape and type that an array's header gives."""
    try:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):  # the others are longer, and for arrays of records
            raise ValueError(f"an array of format {version}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except OSError:
        raise
    except Exception as error:  # a damaged header is to NumPy a line of Python that can raise all
        raise ValueError(f"the header of an array: {first_line(error)}") from error
    return shape, dtype


def _wrong(name: str, shape: tuple[int, ...], dtype: np.dtype, images: int) -> str:
    """Returns what was expected of an array where it is something else, "" where it is right."""
    if name.endswith("images"):
        right = dtype == np.uint8 and shape[1:] == (32, 32, 3) and len(shape) == 4 and shape[0] > 0
        return "" if right else "uint8 [N, 32, 32, 3], values 0 to 255, channels last"
    if name == NAMES:
        right = dtype.kind == "U" and len(shape) == 1
        return "" if right else "text [C], np.array(['cat', 'dog', …])"
    right = dtype.kind in "iu" and shape == (images,)
    return "" if right else f"integers [{images:,}], one for each image"


def _described(shape: tuple[int, ...], dtype: np.dtype) -> str:
    type_name = (
        "pickled objects" if dtype.hasobject else "text" if dtype.kind == "U" else dtype.name
    )
    return f"{type_name} {list(shape)}"


def _class_names(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Returns a name for each class, having checked that the labels are of these."""
    found = set().union(*(np.unique(arrays[name]).tolist() for name in NEEDED[1::2]))
    if NAMES not in arrays:
        if found != set(range(len(found))):
            raise UserError(
                f"{path}: {len(found)} labels occur, from {min(found)} to {max(found)}; expected"
                f" each number from 0, or {NAMES}"
            )
        return tuple(map(str, range(len(found))))
    names = tuple(arrays[NAMES].tolist())
    if len(set(names)) < len(names) or "" in names:
        raise UserError(f"{path}: {NAMES} are {', '.join(names)}; expected another for each class")
    if not found <= set(range(len(names))):
        raise UserError(
            f"{path}: labels go from {min(found)} to {max(found)}; expected 0 to {len(names) - 1},"
            f" the places in {NAMES}"
        )
    return names
