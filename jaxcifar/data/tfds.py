"""Downloads and reads CIFAR-10 with TensorFlow Datasets, without TensorFlow.

TFDS is imported inside the functions because it takes most of a second and few runs need it.
Its cifar10 builder needs TensorFlow to unpack, read and encode the images. Our subclass of the
builder takes arrays and encodes them with Pillow instead, and writes an ordinary TFDS copy in
array_record format.
"""

import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.data.official import BINARY_SHA256, read_binary_tar
from jaxcifar.data.split import Split
from jaxcifar.errors import UserError, first_line

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MANUAL_TAR = "downloads/manual/cifar-10-binary.tar.gz"  # TFDS looks there before it downloads


def find_copy(directory: Path) -> Path | None:
    """Returns the folder of the newest copy in a TFDS data_dir or one of its subfolders."""
    for folder in (directory / "cifar10", directory):
        copies = [path.parent for path in folder.glob("*/dataset_info.json")]
        if folder == directory and (directory / "dataset_info.json").exists():
            copies = [directory]
        copies = [copy for copy in copies if any(copy.glob("cifar10-train.array_record*"))]
        if copies:
            return max(copies, key=lambda copy: _version(copy.name))
    return None


def _version(name: str) -> tuple[int, ...]:
    parts = name.split(".")
    return tuple(int(part) for part in parts) if all(map(str.isdecimal, parts)) else ()


def read(copy: Path) -> tuple[Split, Split]:
    """Returns the training and test images of a copy in the official order.

    TFDS shuffles images when it writes them; their ids, such as "train_00001", give the official
    order.
    Reading takes about 0.2 ms per image.

    Raises:
      UserError: the copy cannot be read.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(copy)
        return _collect(builder, "train"), _collect(builder, "test")
    except Exception as error:  # array_record, protobuf and Pillow raise many kinds
        raise UserError(
            f"{copy} is not a complete TFDS copy of cifar10 in array_record format:"
            f" {first_line(error)}; delete it or make it again"
        ) from error


def _collect(builder: Any, split: str) -> Split:
    source = builder.as_data_source(split)
    images = np.empty((len(source), 32, 32, 3), np.uint8)
    labels = np.empty(len(source), np.int32)
    index = np.empty(len(source), np.int64)
    for i, example in enumerate(source):
        images[i], labels[i] = example["image"], example["label"]
        index[i] = int(example["id"].decode().removeprefix(f"{split}_"))
    order = np.argsort(index)
    return Split(images[order], labels[order])


def download(
    data_dir: Path,
    class_names: tuple[str, ...],
    max_examples: int | None = None,
) -> Path:
    """Downloads CIFAR-10 into a TFDS data_dir and returns the folder of the copy.

    An archive at MANUAL_TAR in `data_dir` is used instead of a download.

    Args:
      data_dir: where TFDS keeps its copies and `downloads`.
      class_names: the names of the classes, in the order of the labels.
      max_examples: the maximum number of examples per split; for tests.

    Raises:
      UserError: the download failed. The network is probed first, because TFDS would retry for
        minutes.
    """
    if not (data_dir / MANUAL_TAR).exists():
        probe(URL)
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    builder = _builder(data_dir, class_names)
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
            f"downloading {URL} (sha256 {BINARY_SHA256}) into {data_dir} failed:"
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
        raise UserError(f"{url} (sha256 {BINARY_SHA256}) cannot be reached: {problem}")


def _builder(
    data_dir: Path,
    class_names: tuple[str, ...],
) -> Any:
    """Returns the official cifar10 builder with its three TensorFlow steps replaced."""
    from PIL import Image
    from tensorflow_datasets.core import registered
    from tensorflow_datasets.image_classification import cifar

    def examples(prefix: str, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, format="png")
            name = f"{prefix}_{i:05d}"
            yield i, {"id": name, "image": png.getvalue(), "label": int(label)}

    with registered.skip_registration():  # the official builder has the same name

        class Cifar10(cifar.Cifar10):
            pkg_dir_path = None

            def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
                train, test = read_binary_tar(Path(dl_manager.download(URL)))
                self.info.features["label"].names = class_names
                return {"train": examples("train", train), "test": examples("test", test)}

    return Cifar10(data_dir=data_dir)
