"""Loads image files of any size from a folder with one subfolder per class.

The folder holds either train/ and test/ (or val/), each with a subfolder per class, or the
subfolders of the classes themselves, as for torchvision's ImageFolder.
"""

import dataclasses
import hashlib
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL

from jaxcifar.data import cache
from jaxcifar.data.image_files import SUFFIXES, read_image
from jaxcifar.data.split import (
    Dataset,
    Split,
    choose_from_each_class,
    content_sha256,
    make_dataset,
    stratified_order,
)
from jaxcifar.errors import UserError, printable
from jaxcifar.system import files, output
from jaxcifar.system.backend import cache_folder

TRAIN, TEST, VALIDATION = "train", "test", ("val", "valid", "validation")
EXPECTED = "expected one subfolder of images per class, or train/ and test/ with such subfolders"


class Listing(NamedTuple):
    """The image files of a split with their labels, and the files that are ignored."""

    files: list[Path]
    labels: np.ndarray  # int32 [N]
    others: list[Path]


def load(dir: str, test_share: float) -> Dataset:
    """Returns the images below `dir`, each cropped to its central square and resized to 32×32.

    The classes have the names of their folders, in sorted order. Without test/ or val/,
    `test_share` of each class becomes the test images. The split depends only on the names of the
    files.

    Raises:
      UserError: the folder has another layout, a class has no image, or a file cannot be read.
    """
    if not dir:
        raise UserError(f"config.data.source=folder needs config.data.dir=FOLDER; {EXPECTED}")
    folder = files.expand_home(dir)
    try:
        parts, names, others = _list_parts(folder)
        images, about = _read_all(folder, [file for part in parts.values() for file in part.files])
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}") from error
    splits, start = {}, 0
    for part, listing in parts.items():
        stop = start + len(listing.files)
        splits[part], start = Split(images[start:stop], listing.labels), stop
    train = splits["train"]
    held_out = splits.get("test")
    if held_out is None:
        chosen = choose_from_each_class(train.labels, test_share)
        if not chosen.any():
            raise UserError(
                f"{folder} has one image per class; expected at least two, one of them for testing"
            )
        held_out, train = train.take(chosen), train.take(~chosen)
    # the checksum of a run depends on this order
    train = train.take(stratified_order(train.labels))
    validation = splits.get("validation", train.take(slice(0)))
    if others:
        listed = ", ".join(str(path.relative_to(folder)) for path in others[:3])
        paths = "path" if len(others) == 1 else "paths"
        about += f"; ignored {len(others)} {paths} with no image of a class: {listed}"
        about += ", …" if len(others) > 3 else ""
    digest = content_sha256(train, held_out, validation)
    shown = tuple(map(printable, names))
    dataset = make_dataset("folder", f"{folder}, {about}", shown, train, held_out, digest)
    return dataclasses.replace(dataset, validation=validation)


def _list_parts(folder: Path) -> tuple[dict[str, Listing], tuple[str, ...], list[Path]]:
    """Returns the listing of each split, the names of the classes, and the ignored paths.

    The splits are "train" and, if they have folders of their own, "test" and "validation".
    """
    if not folder.is_dir():
        raise UserError(f"config.data.dir: {folder} is not a folder; {EXPECTED}")
    inside = sorted(path for path in folder.iterdir())
    found = {path.name: path for path in inside if path.is_dir()}
    folders, others = {"train": folder}, []
    own = [name for name in (TEST, *VALIDATION) if name in found]
    if TRAIN in found and own:
        if len(own) > 1 + (own[0] == TEST):
            raise UserError(f"{folder} has {', '.join(own)}; keep only one of them besides test")
        folders = {"train": found[TRAIN], "test": found[own[0]]}
        if len(own) == 2:
            folders["validation"] = found[own[1]]
        others = [path for path in inside if path not in folders.values()]
    elif found.keys() <= {TRAIN, TEST, *VALIDATION}:
        only = " and ".join(f"{name}/" for name in found)
        has = f"has only {only}" if found else "has no subfolder"
        raise UserError(f"{folder} {has}; {EXPECTED}")
    names = _class_names(folders["train"])
    parts = {part: _list_classes(place, names) for part, place in folders.items()}
    train = parts["train"]
    for label, name in enumerate(names):
        if not np.any(train.labels == label):
            raise UserError(
                f"{folders['train'] / name} holds no image ({', '.join(SUFFIXES)}); add images or"
                " remove the folder"
            )
    for part, listing in parts.items():
        if not listing.files:
            raise UserError(f"{folders[part]} holds no image in the folders of {', '.join(names)}")
        others += listing.others
    return parts, names, others


def _class_names(folder: Path) -> tuple[str, ...]:
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    return tuple(sorted(name for name in names if not name.startswith(".")))


def _list_classes(folder: Path, names: tuple[str, ...]) -> Listing:
    """Lists the images of each class, at any depth, except hidden files."""
    if unknown := set(_class_names(folder)) - set(names):
        raise UserError(
            f"{folder / min(unknown)} is not a class of the training images; expected the folders"
            f" {', '.join(names)}"
        )
    files: list[Path] = []
    labels: list[int] = []
    others = [path for path in sorted(folder.iterdir()) if path.name not in names]
    for label, name in enumerate(names):
        for path in sorted((folder / name).rglob("*")):
            if path.is_dir() and not path.is_symlink():
                continue
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if hidden or path.suffix.lower() not in SUFFIXES:
                others.append(path)
            else:
                files.append(path)
                labels.append(label)
    return Listing(files, np.array(labels, np.int32), others)


def _read_all(folder: Path, files: list[Path]) -> tuple[np.ndarray, str]:
    """Returns the pixels of the files, uint8 [N, 32, 32, 3], and a description of the images.

    The pixels come from the cache if no file's name, size or time has changed since it was written.
    """
    stats = [(str(file.relative_to(folder)), file.stat()) for file in files]
    listed = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    key = hashlib.sha256(repr((PIL.__version__, listed)).encode()).hexdigest()
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    kept = cache_folder() / "folders" / f"{place}.npz"
    cached = cache.read(kept, ("key", "images", "sizes"))
    if cached and str(cached[0]) == key:
        _, images, sizes = cached
    else:
        output.say(f"reading {len(files):,} images in {folder}; later runs use {kept}", sys.stderr)
        read = [read_image(file, str(file)) for file in files]
        images = np.stack([image.pixels for image in read])
        sizes = np.array([(image.width, image.height) for image in read])
        cache.write(kept, key=np.array(key), images=images, sizes=sizes)
    return images, _describe_sizes(sizes)


def _describe_sizes(sizes: np.ndarray) -> str:
    """Returns what was done to images of these widths and heights, [N, 2]."""
    kinds = sorted(set(map(tuple, sizes.tolist())), key=lambda size: (size[0] * size[1], size))
    (first, last), count = (kinds[0], kinds[-1]), len(sizes)
    span = f"{first[0]}×{first[1]}"
    if len(kinds) > 1:
        span += f" to {last[0]}×{last[1]}"
    done = "" if kinds == [(32, 32)] else ", cropped to a square and resized to 32×32"
    return f"{count:,} images of {span} pixels{done}"
