"""Classifies image files with the weights of a run."""

from jaxcifar.system import command

if __name__ == "__main__":
    command.start_command()  # the imports below take seconds

import argparse
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
from jaxcifar.data.image_files import CroppedImage
from jaxcifar.errors import UserError, printable
from jaxcifar.figures import png
from jaxcifar.models.adaptive import branch_means
from jaxcifar.run import damage
from jaxcifar.system import atomic, backend, output
from jaxcifar.system.files import expand_home
from jaxcifar.weights import explain
from jaxcifar.weights.net import Net, load_net, name_outputs

MAX_STEM = 150  # bytes of an image's name in the name of its picture
MAX_PATH = 4096  # characters of a file's name that are shown
TOP = 5  # classes shown for each image, by default

RankedClasses = list[tuple[str, float]]  # classes and their probabilities, the most likely first


def rank_classes(net: Net, images: Sequence[CroppedImage], top: int = TOP) -> list[RankedClasses]:
    """Returns the `top` most likely classes of each image."""
    if not images:
        return []
    probabilities = net.predict(np.stack([image.pixels for image in images])).probabilities
    names = name_outputs(net.class_names, probabilities.shape[1])
    best = np.argsort(-probabilities, 1, kind="stable")[:, :top]
    return [
        [(names[i], float(row[i])) for i in order]
        for row, order in zip(probabilities, best, strict=True)
    ]


def open_images(words: Sequence[str]) -> Iterator[tuple[pathlib.Path | BinaryIO, str]]:
    """Yields the image files that command-line words name, each with its name for messages.

    A folder names the images in it, which are found by suffix and sorted; "-" names stdin. Missing
    files and folders without images are yielded too, so that reading them reports the error.
    """
    for word in words:
        path = expand_home(word)
        if word == "-":
            if sys.stdin is None:
                raise UserError("-: stdin is closed")
            yield io.BytesIO(sys.stdin.buffer.read(image_files.MAX_BYTES)), "stdin"
        elif path.is_dir():
            found = image_files.list_images(path) or [path]
            yield from ((file, str(file)) for file in found)
        else:
            yield path, word


def draw_explanations(
    net: Net, found: Sequence[tuple[CroppedImage, RankedClasses]], folder: pathlib.Path
) -> None:
    """Draws which parts of each image support its most likely class, as FOLDER/NUMBER_NAME.png.

    The weights of a gated net's branches are drawn beside it.
    """
    pixels = np.stack([image.pixels for image, _ in found])
    prediction = net.predict(pixels)
    maps = explain.grad_cam(net, pixels, prediction.probabilities.argmax(1))
    weights = {block: branch_means(gate) for block, gate in prediction.gates.items()}
    digits = len(str(len(found)))
    for i, (image, best) in enumerate(found):
        stem = printable(pathlib.Path(image.name).stem, 100).replace("/", "_")
        stem = stem.encode()[:MAX_STEM].decode(errors="ignore")
        title = "{}, {:.1%}".format(*best[0])
        gates = {block: weight[i] for block, weight in weights.items()}
        path = folder / f"{i + 1:0{digits}}_{stem}.png"
        png.draw_explanation(path, image.pixels, maps[i], title, gates)


def format_json(net: Net, found: Sequence[tuple[CroppedImage, RankedClasses]]) -> str:
    """Returns the predictions as a JSON object."""
    images = [
        {
            "image": image.name,
            "width": image.width,
            "height": image.height,
            "square": image.square,
            "predictions": [{"class": name, "probability": p} for name, p in best],
        }
        for image, best in found
    ]
    about = {"step": net.step, "data": net.parts.config.data.source}
    return json.dumps(about | {"images": images}, indent=2, allow_nan=False)


def format_csv(found: Sequence[tuple[CroppedImage, RankedClasses]]) -> str:
    """Returns the predictions as CSV, with a row per image and class."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["image", "left", "top", "right", "bottom", "rank", "class", "probability"])
    for image, best in found:
        for rank, (name, probability) in enumerate(best, 1):
            texts = [output.csv_cell(printable(text, MAX_PATH)) for text in (image.name, name)]
            rows.writerow([texts[0], *image.square, rank, texts[1], f"{probability:.6f}"])
    return file.getvalue().rstrip("\n")


def format_text(image: CroppedImage, best: RankedClasses, in_colour: bool) -> str:
    """Returns a prediction as lines of text; `in_colour` draws the net's pixels beside them.

    A character shows two pixels, the upper one as its upper half and the lower one behind it.
    """
    width = max(len(name) for name, _ in best)
    lines = [printable(image.name, MAX_PATH), f"({image.describe_crop()})"]
    lines += [f"{p:6.1%}  {name:{width}}  {'█' * round(20 * p)}".rstrip() for name, p in best]
    if not in_colour:
        return "\n  ".join(lines)
    drawn = [
        "".join(
            f"\033[38;2;{r};{g};{b}m\033[48;2;{under[0]};{under[1]};{under[2]}m▀"
            for (r, g, b), under in zip(*two, strict=True)
        )
        + "\033[0m"
        for two in image.pixels.reshape(-1, 2, *image.pixels.shape[1:]).tolist()
    ]
    lines += [""] * (len(drawn) - len(lines))
    return "\n".join(f"{a}  {b}".rstrip() for a, b in zip(drawn, lines, strict=True))


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = command.command_parser(
        "predict",
        "Classifies images with the weights of a run.",
        (
            "--checkpoint=checkpoints/released/simple_cnn_batchnorm docs/demo",
            "--checkpoint=checkpoints/quickstart --step=best --csv docs/demo/cat.png",
        ),
    )
    command.add_step_options(parser)
    text = f"classes to print for each image, the most likely first (default: {TOP})"
    parser.add_argument("--top", type=int, default=TOP, metavar="K", help=text)
    form = parser.add_mutually_exclusive_group()
    text = (
        "print a JSON object instead of text; the square of an image that the net sees is given as"
        " [left, top, right, bottom] in pixels"
    )
    form.add_argument("--json", action="store_true", help=text)
    form.add_argument("--csv", action="store_true", help="print a CSV row per image and class")
    text = (
        "folder for a picture of each image that shows which parts support its most likely class"
        " (Grad-CAM) and the weights of gated branches (default: none)"
    )
    parser.add_argument("--explain", type=expand_home, metavar="DIR", help=text)
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="image file, folder of images, or - for stdin"
    )
    return parser


def main() -> None:
    """Runs the command, which exits with status 1 if an image could not be read."""
    arguments = make_parser().parse_args()
    if arguments.top < 1:
        raise UserError(f"--top={arguments.top}; expected at least 1")
    backend.configure()
    if arguments.explain:
        atomic.check_writable(arguments.explain, "--explain")
    with output.busy(f"loading {arguments.checkpoint}"):
        net = load_net(arguments.checkpoint, arguments.step)
    images, failures = [], 0
    for file, name in open_images(arguments.images):
        try:
            images.append(image_files.read_image(file, name))
        except UserError as error:
            failures += 1
            print(f"error: {error}", file=sys.stderr)
    with output.busy(f"classifying {len(images):,} images"):
        found = list(zip(images, rank_classes(net, images, arguments.top), strict=True))
    if arguments.json:
        print(format_json(net, found))
    elif arguments.csv:
        print(format_csv(found))
    elif found:
        print(f"a net trained on {net.parts.config.data.source} data, step {net.step:,}\n")
        in_colour = os.environ.get("COLORTERM") in ("truecolor", "24bit") and sys.stdout.isatty()
        print("\n\n".join(format_text(*each, in_colour) for each in found))
    if arguments.explain and found:
        with (
            output.busy("explaining"),
            damage.reporting(f"cannot write to {arguments.explain}"),
        ):
            draw_explanations(net, found, arguments.explain)
        output.show(
            f"wrote {len(found):,} picture{'s' * (len(found) > 1)} to {arguments.explain}",
            sys.stderr,
        )
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    command.run_command(main)
