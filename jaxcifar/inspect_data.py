"""Describes a data set: classes, mean, std, duplicates, pictures.

python -m jaxcifar.inspect_data SOURCE [--dir=DIR] [--labels=fine|coarse] [--out=FILE.png]
"""

from jaxcifar.system import command

if __name__ == "__main__":
    command.start_command()  # the imports below take seconds

import argparse
import pathlib

from jaxcifar import data
from jaxcifar.data import cifar10, cifar100, summary
from jaxcifar.errors import UserError
from jaxcifar.figures import png
from jaxcifar.run import damage
from jaxcifar.system import output
from jaxcifar.system.files import expand_home

SAMPLES = 10  # of each class
MAX_ROWS = 100  # classes in the picture


def find_source(word: str, dir: str) -> tuple[str, str]:
    """Returns the values of `config.data.source` and `dir` for a word on the command line.

    The word is a source itself, or the path of a .npz file, an official archive, its folder, a TFDS
    copy, or a folder with one subfolder per class.

    Raises:
      UserError: the word is none of these, or it is a path and `dir` is given too.
    """
    if word in data.SOURCES:
        return word, dir
    path = expand_home(word)
    if path.exists():
        if dir:
            raise UserError(f"{word} is a path, so --dir={dir} has no effect; leave --dir out")
        if path.suffix == ".npz":
            return "npz", word
        for source, module in (("cifar10", cifar10), ("cifar100", cifar100)):
            if module.published().find_copy(path):
                return source, word
        if path.is_dir():
            return "folder", word
    raise UserError(
        f"{word} is neither a source of data ({', '.join(data.SOURCES)}) nor a folder, a .npz file"
        " or an official archive"
    )


def describe(dataset: data.Dataset) -> str:
    """Returns the description of a data set as text."""
    splits = summary.named_splits(dataset)
    sizes = ", ".join(f"{len(split.labels):,} {name}" for name, split in splits.items())
    width = max(len("class"), *map(len, dataset.class_names))
    lines = [
        f"{dataset.source}: {sizes} images; {len(dataset.class_names)} classes",
        f"from {dataset.origin}",
        "",
        f"{'class':{width}} " + " ".join(f"{name:>10}" for name in splits),
    ]
    for label, name in enumerate(dataset.class_names):
        counts = " ".join(f"{(split.labels == label).sum():10,}" for split in splits.values())
        lines.append(f"{name:{width}} {counts}")
    mean, std = summary.channel_stats(dataset.train.images)
    lines += ["", "training images  mean, std 0 to 1  mean, std 0 to 255"]
    for name, m, s in zip(("red", "green", "blue"), mean, std, strict=True):
        lines.append(f"{name:15}  {m / 255:.4f}   {s / 255:.4f}  {m:8.2f}  {s:8.2f}")
    words = [
        f"--config.augment.{key}=" + ",".join(f"{x / 255:.4f}" for x in values)
        for key, values in (("mean", mean), ("std", std))
    ]
    lines += ["options that normalise by them:", *words, "", "duplicates, equal in every byte:"]
    for part, other, count, relabelled in summary.find_duplicates(splits):
        where = "" if part == other else f" that are also in {other}"
        again = " that repeat an earlier one" if part == other else ""
        labels = f", {relabelled:,} of them with another label" if count else ""
        lines.append(f"  {count:,} {part} images{again}{where}{labels}")
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = command.command_parser(
        "inspect_data",
        "Describes a data set by its classes, mean, std, duplicates and sample images.",
        ("synthetic", "cifar100 --labels=coarse --out=cifar100.png"),
    )
    text = f"a source ({', '.join(data.SOURCES)}), or the path of a folder, archive or .npz file"
    parser.add_argument("source", metavar="SOURCE", help=text)
    text = "folder to search for a source that is given by its name (default: as in training)"
    parser.add_argument("--dir", default="", metavar="DIR", help=text)
    text = "classes of cifar100 (default: fine)"
    parser.add_argument("--labels", default="fine", choices=("fine", "coarse"), help=text)
    text = "picture of the first images of each class (default: contact_sheet.png)"
    out = pathlib.Path("contact_sheet.png")
    parser.add_argument("--out", type=expand_home, default=out, metavar="FILE.png", help=text)
    return parser


def main() -> None:
    """Runs the command."""
    given = make_parser().parse_args()
    source, dir = find_source(given.source, given.dir)
    with output.busy(f"reading {given.source}"):
        dataset = data.load_dataset(source, dir, labels=given.labels)
        text = describe(dataset)
    output.show(text)
    names = dataset.class_names[:MAX_ROWS]
    images = summary.samples(dataset.train, len(names), SAMPLES)
    with damage.reporting(f"cannot write to --out {given.out}"):
        png.draw_samples(given.out, images, names, f"{source}, training images")
    output.show(f"\nwrote {given.out}, the first {SAMPLES} training images of each class")


if __name__ == "__main__":
    command.run_command(main)
