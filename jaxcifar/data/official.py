"""Reads the official python and binary versions of CIFAR-10 and CIFAR-100, packed or unpacked.

A file is checked by its MD5 if that is published, and pickles are read by an unpickler that runs no
code. Source: https://www.cs.toronto.edu/~kriz/cifar.html (Krizhevsky, 2009).
"""

import codecs
import gzip
import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcifar.data.split import Split
from jaxcifar.errors import UserError, first_line
from jaxcifar.system import files

MAX_FILE = 2**28  # bytes; official files are smaller
MAX_TAR = 2**28  # bytes; official archives unpack to less

# The MD5 of each file of each official archive, in the official order.
PYTHON_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
BINARY_MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
# The files of CIFAR-100. No MD5 of the two binary files is published.
PYTHON_100_MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}
BINARY_100_MD5 = {"train.bin": "", "test.bin": ""}


class Archive(NamedTuple):
    """An official version of a data set; the last of its files holds the test images."""

    folder: str  # that the archive unpacks to
    tar: str
    tar_digest: str  # as text, with the name of the algorithm
    md5: dict[str, str]  # by file; "" if it is not known
    # labels [N] or, of CIFAR-100, coarse and fine labels [N, 2]; pixels [N, 3·32·32]
    decode: Callable[[bytes], tuple[np.ndarray, np.ndarray]]


def read_folder(archive: Archive, folder: Path) -> tuple[Split, Split]:
    """Returns the training and test images of an unpacked archive."""

    def blobs() -> Iterator[tuple[str, bytes]]:
        for name in archive.md5:
            if (folder / name).exists():
                yield name, files.read_bytes(folder / name, MAX_FILE, follow=True)

    try:
        return _assemble(archive, folder, blobs())
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error}") from error


def read_tar(archive: Archive, path: Path) -> tuple[Split, Split]:
    """Returns the training and test images of an archive without unpacking it to disk.

    The files are verified, not the archive itself, so a repacked archive is accepted.
    """

    def blobs(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
        for member in tar:
            name = Path(member.name).name
            if name in archive.md5 and (file := tar.extractfile(member)):
                yield name, file.read(MAX_FILE)

    try:
        # as a stream, so that no read is large
        with (
            files.open_plain(path, follow=True) as file,
            _Bounded(fileobj=file) as unpacked,
            tarfile.open(fileobj=unpacked, mode="r|") as tar,
        ):
            return _assemble(archive, path, blobs(tar))
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(
            f"{path} is damaged or truncated ({error}); expected the official {archive.tar},"
            f" {archive.tar_digest}"
        ) from error


class _Bounded(gzip.GzipFile):
    """A gzip file that raises an OSError if it unpacks to more than an official archive."""

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        if self.tell() > MAX_TAR:
            raise OSError(f"it unpacks to more than {MAX_TAR:,} bytes")
        return content


def _assemble(
    archive: Archive, where: Path, blobs: Iterable[tuple[str, bytes]]
) -> tuple[Split, Split]:
    """Verifies the files, given in any order, and returns their images in the official order."""
    names = list(archive.md5)
    splits: dict[str, Split] = {}
    for name, blob in blobs:
        found = hashlib.md5(blob, usedforsecurity=False).hexdigest()
        if archive.md5[name] not in ("", found):
            raise UserError(
                f"{where / name} is damaged or truncated: {len(blob):,} bytes with MD5 {found};"
                f" expected MD5 {archive.md5[name]}; download the official {archive.tar} again"
            )
        try:
            labels, pixels = archive.decode(blob)
        except ValueError as error:
            raise UserError(
                f"{where / name} is damaged or truncated: {len(blob):,} bytes; download the"
                f" official {archive.tar} again"
            ) from error
        images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        splits[name] = Split(np.ascontiguousarray(images), labels)
    if missing := set(names) - splits.keys():
        first = min(missing)
        digest = f" (MD5 {archive.md5[first]})" if archive.md5[first] else ""
        raise UserError(f"{where / first}{digest} is missing; expected {', '.join(names)}")
    *train, test = (splits[name] for name in names)
    return Split(*map(np.concatenate, zip(*train, strict=True))), test


class _Unpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and plain containers; refuses every other type."""

    def find_class(self, module: str, name: str) -> Any:
        # The array names its own rebuild function, which has moved between versions of NumPy.
        rebuild = np.empty(0).__reduce__()[0]
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): rebuild,
            ("numpy._core.multiarray", "_reconstruct"): rebuild,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): codecs.encode,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return allowed[module, name]


def unpickle(blob: bytes) -> Any:
    """Returns the content of an official pickle; raises a UserError instead of running code."""
    try:
        return _Unpickler(io.BytesIO(blob), encoding="bytes").load()
    except Exception as error:  # a hostile pickle can raise anything
        why = first_line(error)
        raise UserError(f"refused to unpickle: {why}; expected only arrays and lists") from error


def _decode_python(blob: bytes) -> tuple[np.ndarray, np.ndarray]:
    batch = unpickle(blob)
    return np.array(batch[b"labels"], np.int32), batch[b"data"]


def _decode_python_100(blob: bytes) -> tuple[np.ndarray, np.ndarray]:
    batch = unpickle(blob)
    labels = np.array([batch[b"coarse_labels"], batch[b"fine_labels"]], np.int32)
    return np.ascontiguousarray(labels.T), batch[b"data"]


def _decode_binary(blob: bytes) -> tuple[np.ndarray, np.ndarray]:
    rows = np.frombuffer(blob, np.uint8).reshape(-1, 1 + 3072)
    return rows[:, 0].astype(np.int32), rows[:, 1:]


def _decode_binary_100(blob: bytes) -> tuple[np.ndarray, np.ndarray]:
    rows = np.frombuffer(blob, np.uint8).reshape(-1, 2 + 3072)
    return rows[:, :2].astype(np.int32), rows[:, 2:]


PYTHON = Archive(
    "cifar-10-batches-py",
    "cifar-10-python.tar.gz",
    "MD5 c58f30108f718f92721af3b95e74349a",
    PYTHON_MD5,
    _decode_python,
)
BINARY = Archive(
    "cifar-10-batches-bin",
    "cifar-10-binary.tar.gz",
    "sha256 c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    BINARY_MD5,
    _decode_binary,
)
PYTHON_100 = Archive(
    "cifar-100-python",
    "cifar-100-python.tar.gz",
    "MD5 eb9058c3a382ffc7106e4002c42a8d85",
    PYTHON_100_MD5,
    _decode_python_100,
)
BINARY_100 = Archive(
    "cifar-100-binary",
    "cifar-100-binary.tar.gz",
    "sha256 58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    BINARY_100_MD5,
    _decode_binary_100,
)
