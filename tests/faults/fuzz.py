"""Gives mutated files to every reader; each must be read or refused in one line.

    python tests/faults/fuzz.py N [SEED]

N files in all, of each kind in turn: own images (.npz), official pickles and archives, configs,
records, metrics, image files. A reader must return, or raise a one-line UserError. Any other
outcome is printed, as is a file that took over 5 seconds. Some pickles try to run code, which must
fail.
"""

import collections
import gzip
import io
import json
import os
import pathlib
import pickle
import random
import resource
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import numpy as np
from PIL import ExifTags, Image

from jaxcifar.claims import (
    claim,
    records,
)
from jaxcifar.config import schema
from jaxcifar.data import (
    image_files,
    npz,
    official,
)
from jaxcifar.errors import UserError
from jaxcifar.run import (
    metrics,
    workdir,
)

SLOW = 5.0  # seconds
TOKENS = [
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"\0",
    b"\xff\xff",
    b"2" * 99,
]


class Hostile:
    """An object whose pickle creates a folder when it is loaded."""

    def __init__(self, marker: str):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def own_images() -> bytes:
    made = {name: np.zeros((6, 32, 32, 3), np.uint8) for name in ("train_images", "test_images")}
    made |= {name: np.arange(6) % 3 for name in ("train_labels", "test_labels")}
    file = io.BytesIO()
    np.savez_compressed(file, **made, class_names=np.array(["a", "b", "c"]))
    return file.getvalue()


MODES = {
    "PNG": ("RGB", "RGBA", "L", "P", "I;16"),
    "JPEG": ("RGB", "L"),
    "GIF": ("P", "RGBA"),
    "BMP": ("RGB", "P"),
    "TIFF": ("RGB", "RGBA", "P", "I;16"),
    "WEBP": ("RGB", "RGBA"),
}


def pictures(kind: str) -> list[bytes]:
    """Returns valid image files of a format, rotated by EXIF if it has that."""
    drawn = np.random.default_rng(0).integers(0, 256, (40, 50, 4), np.uint8)
    drawn[10:] = drawn[10, 10]  # compressible below, random above
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    files = [io.BytesIO() for _ in MODES[kind]]
    for file, mode in zip(files, MODES[kind], strict=True):
        Image.fromarray(drawn).convert(mode).save(file, kind, exif=turned)
    return [file.getvalue() for file in files]


def archive() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in official.BINARY_MD5:
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = 600
            tar.addfile(member, io.BytesIO(bytes(600)))
    return file.getvalue()


def kinds(
    folder: pathlib.Path, marker: str
) -> dict[str, tuple[list[bytes], Callable[[bytes], object]]]:
    """Returns valid files of each kind, and the function that reads them."""
    record = next(iter((ROOT / "results" / "runs").glob("*.json"))).read_bytes()
    lines = b"".join(json.dumps(x).encode() + b"\n" for x in json.loads(record)["epochs"][:5])
    batch = {b"labels": [1, 2], b"data": np.zeros((2, 3072), np.uint8)}

    def at(name: str, read: Callable[[pathlib.Path], object]) -> Callable[[bytes], object]:
        def written(content: bytes) -> object:
            (folder / name).write_bytes(content)
            return read(folder / name)

        return written

    def read_tar(file: pathlib.Path) -> object:
        return official.read_tar(official.BINARY, file)

    def read_record(file: pathlib.Path) -> object:
        return claim.column(records.read_record(file), "test_accuracy")

    def read_picture(content: bytes) -> object:
        return image_files.read_image(io.BytesIO(content), "image")

    def packed(content: bytes) -> object:
        return at("a.tar.gz", read_tar)(gzip.compress(content, 1))

    return {
        "own images": ([own_images()], at("own.npz", lambda file: npz.load(str(file)))),
        "pickle": (
            [pickle.dumps(x, p) for x in (batch, Hostile(marker)) for p in range(6)],
            official.unpickle,
        ),
        "archive": ([gzip.compress(archive())], at("a.tar.gz", read_tar)),
        "unpacked archive": ([archive()], packed),
        "config": (
            [json.dumps(json.loads(record)["config"]).encode()],
            at("config.json", lambda file: schema.to_json(workdir.load_config(file.parent))),
        ),
        "record": ([record], at("record.json", read_record)),
        "metrics": ([lines], at(metrics.FILE, lambda file: metrics.read(file.parent))),
        **{kind: (pictures(kind), read_picture) for kind in image_files.FORMATS},
    }


def mutated(content: bytes, choose: random.Random) -> bytes:
    """Returns the content with a few random changes."""
    for _ in range(choose.choice((1, 1, 2, 5))):
        at, length = choose.randrange(len(content) + 1), choose.choice((1, 1, 4, 50))
        before, part, after = content[:at], content[at : at + length], content[at + length :]
        bit = bytes([part[0] ^ 1 << choose.randrange(8)]) + part[1:] if part else b""
        part = choose.choice((bit, b"", part * 2, choose.choice(TOKENS), choose.randbytes(length)))
        content = before + part + (b"" if choose.random() < 0.02 else after)
    return content


def main(number: int, seed: int) -> int:
    """Runs the command; returns the number of files with a wrong outcome."""
    choose, counts, wrong = random.Random(seed), collections.Counter[tuple[str, str]](), 0
    with tempfile.TemporaryDirectory() as temporary:
        folder, marker = pathlib.Path(temporary, "files"), f"{temporary}/ran"
        folder.mkdir()
        found = kinds(folder, marker)
        for i in range(number):
            kind = list(found)[i % len(found)]
            whole, read = found[kind]
            content = mutated(choose.choice(whole), choose)
            began, problem = time.monotonic(), ""
            try:
                read(content)
                result = "read"
            except UserError as error:
                result = "refused"
                problem = str(error) if "\n" in str(error) else ""
            except Exception as error:
                result, problem = "WRONG", f"{type(error).__name__}: {error}"
            if (seconds := time.monotonic() - began) > SLOW:
                problem += f" it took {seconds:.0f} s"
            if os.path.exists(marker):
                problem += " it ran code"
                os.rmdir(marker)
            if problem:
                wrong += 1
                print(f"{kind} {i}: {problem[:300]}")
            counts[kind, result] += 1
    for (kind, result), count in sorted(counts.items()):
        print(f"{kind:18} {result:8} {count:6}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{wrong} of {number} files went wrong; at most {peak:.0f} MB of memory (seed {seed})")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 0)))
