"""Finds a published data set in the user's folders, the cache or the network, in this order."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxcifar.data import cache, official, tfds
from jaxcifar.data.split import Split
from jaxcifar.errors import UserError
from jaxcifar.system import files
from jaxcifar.system.backend import cache_folder

CACHED = ("train_images", "train_labels", "test_images", "test_labels")

Reader = Callable[[Path], tuple[Split, Split]]


class Published(NamedTuple):
    """A data set that is published in two official versions and in TFDS."""

    title: str
    archives: tuple[official.Archive, ...]
    tfds_spec: tfds.Spec
    find_problem: Callable[[Split, Split], str]  # what differs from the official data; "" if none

    def read_tfds(self, copy: Path) -> tuple[Split, Split]:
        """Returns the training and test images of a TFDS copy after checking them."""
        train, test = tfds.read(copy, self.tfds_spec)
        if problem := self.find_problem(train, test):
            raise UserError(
                f"{copy} is not {self.title}: {len(train.labels):,} + {len(test.labels):,} images"
                f" {problem}"
            )
        return train, test

    def find_copy(self, folder: Path) -> tuple[Path, Reader, bool] | None:
        """Returns the path of a copy of the data, its reader, and whether reading it is slow.

        `folder` may contain the copy or be the copy itself. Returns None if there is no copy.
        """
        for archive in self.archives:
            for place in (folder / archive.folder, folder):
                if any((place / name).is_file() for name in archive.md5):
                    return place, functools.partial(official.read_folder, archive), False
        for archive in self.archives:
            for place in (folder / archive.tar, folder):
                if place.name == archive.tar and place.is_file():
                    return place, functools.partial(official.read_tar, archive), True
        if copy := tfds.find_copy(folder, self.tfds_spec.name):
            return copy, self.read_tfds, True
        return None

    def read(self, dir: str) -> tuple[Split, Split, str]:
        """Returns the training and test images and where they came from, as text.

        They come from `dir` or, if it is "", from $JAXCIFAR_DATA, the cache or the network, in this
        order.

        Raises:
          UserError: no copy was found, or the one that was found is damaged.
        """
        places = filter(None, (dir, os.environ.get("JAXCIFAR_DATA")))
        folders = [files.expand_home(name) for name in places]
        for folder in folders:
            try:
                found = self.find_copy(folder)
            except OSError as error:
                raise UserError(f"cannot read {folder}: {error}") from error
            if found:
                path, read, slow = found
                if not slow:
                    return *read(path), str(path)
                cached_file = self.cached_file()
                if cached := self.read_cache(cached_file):
                    return *cached, f"{cached_file}, a copy of {path}"
                train, test = read(path)
                write_cache(cached_file, train, test)
                return train, test, str(path)
            if dir and folder is folders[0]:
                raise UserError(
                    f"there is no {self.title} in {folder}{self._name_unread([folder])}; choose"
                    " another folder, or none to search $JAXCIFAR_DATA and the cache"
                )
        cached_file = self.cached_file()
        if cached := self.read_cache(cached_file):
            return *cached, str(cached_file)
        return self._download(folders, cached_file)

    def cached_file(self) -> Path:
        """Returns the file in the cache that a copy of the data is kept in."""
        return cache_folder() / f"{self.tfds_spec.name}.npz"

    def _download(self, folders: list[Path], cached_file: Path) -> tuple[Split, Split, str]:
        tfds_dir = cached_file.parent / "tfds"
        try:
            copy = tfds.find_copy(tfds_dir, self.tfds_spec.name) or tfds.download(
                tfds_dir, self.tfds_spec
            )
        except UserError as error:
            looked = ", ".join(map(str, [*folders, cached_file.parent]))
            raise UserError(
                f"no {self.title} in {looked}, and {error}{self._name_unread(folders)}; set"
                " JAXCIFAR_DATA, --config.data.dir or, in evaluate and report, --data_dir to a"
                f" folder with an official archive ({self.tfds_spec.archive.tar_digest}), unpacked"
                " or not, or train on synthetic images with --config.data.source=synthetic"
            ) from error
        train, test = self.read_tfds(copy)
        write_cache(cached_file, train, test)
        return train, test, f"{self.tfds_spec.url()} through TFDS, in {cached_file.parent}"

    def _name_unread(self, folders: list[Path]) -> str:
        """Returns a clause for each folder with a copy in TFDS's default format."""
        found = [tfds.find_copy(folder, self.tfds_spec.name, "tfrecord") for folder in folders]
        return "".join(
            f"; {copy} is a TFDS copy in tfrecord format, which needs TensorFlow: make it again"
            " with file_format=array_record"
            for copy in filter(None, found)
        )

    def read_cache(self, path: Path) -> tuple[Split, Split] | None:
        """Returns the training and test images in the cache; None if it is missing or damaged."""
        arrays = cache.read(path, CACHED)
        if arrays is None:
            return None
        train, test = Split(*arrays[:2]), Split(*arrays[2:])
        if problem := self.find_problem(train, test):
            cache.warn_damaged(path, problem)
            return None
        return train, test


def write_cache(path: Path, train: Split, test: Split) -> None:
    """Writes the images to the cache."""
    cache.write(path, **dict(zip(CACHED, (*train, *test), strict=True)))
