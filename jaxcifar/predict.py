"""A run's weights, restored, and what they say of images; as a command, of image files.

python -m jaxcifar.predict --checkpoint=DIR [--step=N|best|latest] [--json|--csv] IMAGE…|FOLDER|-
"""

from jaxcifar.system import command

if __name__ == "__main__":
    command.leave_on_interrupt()  # what follows takes seconds to import

import csv
import io
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from jaxcifar.data import image_files
from jaxcifar.errors import UserError
from jaxcifar.system import backend
from jaxcifar.weights.net import Net, load_net

TOP = 5  # classes told of each image
MOST_OF_STDIN = 2**28  # bytes: of a stream without an end the first, which then is no image


Ranked = list[tuple[str, float]]  # classes and their probabilities, the likeliest first


def ranked(net: Net, pictures: Sequence[image_files.Picture]) -> list[Ranked]:
    """Returns of each picture its `TOP` classes with their probabilities."""
    if not pictures:
        return []
    probabilities = net.predict(np.stack([picture.pixels for picture in pictures])).probabilities
    of_data = len(net.class_names)  # a model may have classes that the data have not
    names = [*net.class_names, *map("class {}".format, range(of_data, probabilities.shape[1]))]
    best = np.argsort(-probabilities, 1, kind="stable")[:, :TOP]
    return [
        [(names[i], float(row[i])) for i in order]
        for row, order in zip(probabilities, best, strict=True)
    ]


def find(words: Sequence[str]) -> Iterator[tuple[pathlib.Path | BinaryIO, str]]:
    """Yields the files that the words of a command line name, each with its name to be told.

    Of a folder, its images by their suffixes, in order; of "-", what is read from stdin. What
    cannot be read is for who opens it to say: also a folder without images.
    """
    for word in words:
        path = pathlib.Path(word)
        if word == "-":
            yield io.BytesIO(sys.stdin.buffer.read(MOST_OF_STDIN)), "stdin"
        elif path.is_dir():
            inside = image_files.inside(path) or [path]
            yield from ((file, _printable(str(file))) for file in inside)
        else:
            yield path, _printable(word)


def _printable(name: str) -> str:
    """Returns a file's name with what no terminal should be sent, or cannot print, escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def as_json(net: Net, found: Sequence[tuple[image_files.Picture, Ranked]]) -> str:
    """Returns the predictions as a JSON object."""
    told = [
        {
            "image": picture.name,
            "width": picture.width,
            "height": picture.height,
            "square": picture.square,
            "predictions": [{"class": name, "probability": p} for name, p in best],
        }
        for picture, best in found
    ]
    about = {"step": net.step, "data": net.parts.config.data.source}
    return json.dumps(about | {"images": told}, indent=2)


def as_csv(found: Sequence[tuple[image_files.Picture, Ranked]]) -> str:
    """Returns the predictions as CSV, a row for each image and class."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["image", "left", "top", "right", "bottom", "rank", "class", "probability"])
    for picture, best in found:
        for rank, (name, probability) in enumerate(best, 1):
            rows.writerow([picture.name, *picture.square, rank, name, f"{probability:.6f}"])
    return file.getvalue().rstrip("\n")


def as_text(picture: image_files.Picture, best: Ranked, shown: bool) -> str:
    """Returns a prediction as lines; with the picture, as the net sees it, where that is `shown`.

    Two pixels of it are one character: the upper half in one colour on a ground of the other.
    """
    width = max(len(name) for name, _ in best)
    lines = [picture.name, f"({picture.looked_at()})"]
    lines += [f"{p:6.1%}  {name:{width}}  {'█' * round(20 * p)}".rstrip() for name, p in best]
    if not shown:
        return "\n  ".join(lines)
    drawn = [
        "".join(
            f"\033[38;2;{r};{g};{b}m\033[48;2;{under[0]};{under[1]};{under[2]}m▀"
            for (r, g, b), under in zip(*two, strict=True)
        )
        + "\033[0m"
        for two in picture.pixels.reshape(-1, 2, *picture.pixels.shape[1:]).tolist()
    ]
    lines += [""] * (len(drawn) - len(lines))
    return "\n".join(f"{a}  {b}".rstrip() for a, b in zip(drawn, lines, strict=True))


def main() -> None:
    """Runs the command; where some images cannot be read it ends with status 1."""
    parser = command.command_parser("predict", "Says what is in images.")
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="the run's workdir")
    parser.add_argument("--step", default="latest", help="N, best or latest (default: latest)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as a JSON object")
    form.add_argument("--csv", action="store_true", help="as CSV, a row for each image and class")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders, - for stdin")
    arguments = parser.parse_args()
    backend.configure()
    net = load_net(arguments.checkpoint, arguments.step)
    pictures, unread = [], 0
    for file, name in find(arguments.images):
        try:
            pictures.append(image_files.read(file, name))
        except UserError as error:
            unread += 1
            print(f"error: {error}", file=sys.stderr)
    found = list(zip(pictures, ranked(net, pictures), strict=True))
    if arguments.json:
        print(as_json(net, found))
    elif arguments.csv:
        print(as_csv(found))
    elif found:
        print(f"a net trained on {net.parts.config.data.source} data, step {net.step:,}\n")
        colours = os.environ.get("COLORTERM") in ("truecolor", "24bit") and sys.stdout.isatty()
        print("\n\n".join(as_text(*each, shown=colours) for each in found))
    if unread:
        sys.exit(1)


if __name__ == "__main__":
    command.run_command(main)
