"""Downloads and reads CIFAR-10 and CIFAR-100 with TensorFlow Datasets, without TensorFlow.

TFDS is imported inside the functions because it takes most of a second and few runs need it.
Its builders need TensorFlow to unpack, read and encode the images. Our subclass of the
builder takes arrays and encodes them with Pillow instead, and writes an ordinary TFDS copy in
array_record format.
"""

import io
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcifar.data import official
from jaxcifar.data.split import Split
from jaxcifar.errors import UserError, first_line

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MOST_IMAGES = 50_000  # of a split
MANUAL_TAR = "downloads/manual/cifar-10-binary.tar.gz"  # TFDS looks there before it downloads


class Spec(NamedTuple):
    """What TFDS needs to know to make copies of a data set."""

    name: str  # of the data set in TFDS
    archive: official.Archive  # from which copies are made
    class_names: Mapping[str, tuple[str, ...]]  # by feature; with several, labels are [N, features]

    def url(self) -> str:
        """Returns the address of the archive."""
        return f"{URL.rpartition('/')[0]}/{self.archive.tar}"


def find_copy(
    directory: Path, name: str = "cifar10", file_format: str = "array_record"
) -> Path | None:
    """Returns the folder of the newest copy in a TFDS data_dir or one of its subfolders.

    Only copies in array_record format can be read without TensorFlow.
    """
    for folder in (directory / name, directory):
        copies = [path.parent for path in folder.glob("*/dataset_info.json")]
        if folder == directory and (directory / "dataset_info.json").exists():
            copies = [directory]
        copies = [copy for copy in copies if any(copy.glob(f"{name}-train.{file_format}*"))]
        if copies:
            return max(copies, key=lambda copy: _version(copy.name))
    return None


def _version(name: str) -> tuple[int, ...]:
    parts = name.split(".")
    return tuple(int(part) for part in parts) if all(map(str.isdecimal, parts)) else ()


def read(copy: Path, spec: Spec) -> tuple[Split, Split]:
    """Returns the training and test images of a copy in the official order.

    TFDS shuffles images when it writes them; their ids, such as "train_00001", give the official
    order. Reading takes about 0.2 ms per image.

    Raises:
      UserError: the copy cannot be read.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(copy)
        features = list(spec.class_names)
        return _collect(builder, "train", features), _collect(builder, "test", features)
    except Exception as error:  # array_record, protobuf and Pillow raise many kinds
        raise UserError(
            f"{copy} is not a complete TFDS copy of {spec.name} in array_record format:"
            f" {first_line(error)}; delete it or make it again"
        ) from error


def _collect(builder: Any, split: str, features: list[str]) -> Split:
    source = builder.as_data_source(split)
    if len(source) > MOST_IMAGES:
        raise ValueError(f"it has {len(source):,} {split} images")
    images = np.empty((len(source), 32, 32, 3), np.uint8)
    labels = np.empty((len(source), len(features)), np.int32)
    index = np.empty(len(source), np.int64)
    for i, example in enumerate(source):
        images[i], labels[i] = example["image"], [example[name] for name in features]
        index[i] = int(example["id"].decode().removeprefix(f"{split}_"))
    order = np.argsort(index)
    return Split(images[order], labels[order] if len(features) > 1 else labels[order, 0])


def download(data_dir: Path, spec: Spec, max_examples: int | None = None) -> Path:
    """Downloads a data set into a TFDS data_dir and returns the folder of the copy.

    An archive beside MANUAL_TAR in `data_dir` is used instead of a download.

    Args:
      data_dir: where TFDS keeps its copies and `downloads`.
      spec: the data set.
      max_examples: the maximum number of examples per split; for tests.

    Raises:
      UserError: the download failed. The network is probed first, because TFDS would retry for
        minutes.
    """
    if not (data_dir / MANUAL_TAR).with_name(spec.archive.tar).exists():
        probe(spec.url())
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    builder = _builder(data_dir, spec)
    config = tfds.download.DownloadConfig(
        force_checksums_validation=True,
        try_download_gcs=False,
        max_examples_per_split=max_examples,
    )
    try:
        builder.download_and_prepare(
            download_dir=data_dir / "downloads", download_config=config, file_format="array_record"
        )
    except UserError:
        raise
    except Exception as error:  # from requests, TFDS or the file system
        raise UserError(
            f"downloading {spec.url()} ({spec.archive.tar_digest}) into {data_dir} failed:"
            f" {first_line(error)}"
        ) from error
    return Path(builder.data_dir)


def probe(url: str, seconds: float = 6.0) -> None:
    """Raises a UserError unless the server answers for `url` within `seconds`.

    Uses requests, as TFDS does, so that the same proxy applies; runs in a thread because a DNS
    lookup has no time limit.
    """
    import requests

    outcome: list[str] = []

    def ask() -> None:
        try:
            with requests.get(url, stream=True, timeout=seconds / 2) as response:
                outcome.append("" if response.ok else f"HTTP status {response.status_code}")
        except requests.RequestException as error:
            outcome.append(type(error).__name__)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    problem = outcome[0] if outcome else f"no answer within {seconds:g} s"
    if problem:
        raise UserError(f"{url} cannot be reached: {problem}")


def _builder(data_dir: Path, spec: Spec) -> Any:
    """Returns the official builder with its three TensorFlow steps replaced."""
    from PIL import Image
    from tensorflow_datasets.core import registered
    from tensorflow_datasets.image_classification import cifar

    def examples(prefix: str, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, format="png")
            name = f"{prefix}_{i:05d}"
            classes = dict(zip(spec.class_names, np.ravel(label).tolist(), strict=True))
            yield i, {"id": name, "image": png.getvalue(), **classes}

    with registered.skip_registration():  # the official builder has the same name

        class Builder(getattr(cifar, spec.name.capitalize())):  # type: ignore[misc]
            name = spec.name
            pkg_dir_path = None

            def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
                tar = Path(dl_manager.download(spec.url()))
                train, test = official.read_tar(spec.archive, tar)
                for feature, names in spec.class_names.items():
                    self.info.features[feature].names = names
                return {"train": examples("train", train), "test": examples("test", test)}

    return Builder(data_dir=data_dir)
