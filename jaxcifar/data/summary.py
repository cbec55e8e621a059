"""Describes a data set by the statistics of its channels, its duplicates and sample images."""

import hashlib
from typing import NamedTuple

import numpy as np

from jaxcifar.data.split import Dataset, Split


class Duplicates(NamedTuple):
    """The number of images of `part` that equal an earlier image of `other`, which may be `part`.

    `relabelled` counts the duplicates whose label differs from that of the first equal image.
    """

    part: str
    other: str
    images: int
    relabelled: int


def named_splits(dataset: Dataset) -> dict[str, Split]:
    """Returns the splits that have images."""
    splits = {name: getattr(dataset, name) for name in ("train", "validation", "test")}
    return {name: split for name, split in splits.items() if len(split.labels)}


def channel_stats(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean and standard deviation, 0 to 255, of each channel of images [N, H, W, C]."""
    values = np.arange(256)
    counts = np.array([np.bincount(images[..., c].ravel(), minlength=256) for c in range(3)])
    mean = counts @ values / counts.sum(1)
    return mean, np.sqrt(counts @ values**2 / counts.sum(1) - mean**2)


def find_duplicates(splits: dict[str, Split]) -> list[Duplicates]:
    """Counts images that equal an earlier one in every byte, within and between splits."""
    found: list[Duplicates] = []
    seen: dict[str, dict[bytes, int]] = {}  # split -> image -> label
    for part, split in splits.items():
        own: dict[bytes, int] = {}
        pairs: dict[str, list[bool]] = {other: [] for other in (*seen, part)}
        for image, label in zip(split.images, split.labels.tolist(), strict=True):
            key = hashlib.sha256(image.tobytes()).digest()
            for other, labels in (*seen.items(), (part, own)):
                if key in labels:
                    pairs[other].append(labels[key] != label)
            own.setdefault(key, label)
        seen[part] = own
        found += [Duplicates(part, other, len(x), sum(x)) for other, x in pairs.items()]
    return found


def samples(split: Split, num_classes: int, each: int) -> np.ndarray:
    """Returns the first `each` images of every class, uint8 [num_classes, each, H, W, 3].

    Places without an image are white.
    """
    out = np.full((num_classes, each, *split.images.shape[1:]), 255, np.uint8)
    for label in range(num_classes):
        chosen = split.images[np.flatnonzero(split.labels == label)[:each]]
        out[label, : len(chosen)] = chosen
    return out
