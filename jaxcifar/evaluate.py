"""Evaluates the weights of a run on a split of its data."""

from jaxcifar.system import command

if __name__ == "__main__":
    command.start_command()  # the imports below take seconds

import argparse
import pathlib
import sys
import zlib
from typing import Any

import numpy as np

from jaxcifar.figures import heatmaps, png
from jaxcifar.run import workdir
from jaxcifar.stats.accuracy import p_text
from jaxcifar.system import backend, output
from jaxcifar.system.files import expand_home
from jaxcifar.training.views import VIEWS
from jaxcifar.weights.evaluation import evaluate_run

WIDTH = 80  # columns of the table


def format_result(result: dict[str, Any]) -> str:
    """Returns the result as text: accuracy and loss, then a line of predictions for each class.

    Accuracies have 95 % intervals. If a class's counts are too wide for a line, the line has the
    most frequent mistakes. Calibration and comparison follow if they are in the result.
    """
    names = list(result["class_accuracy"])
    width = max(map(len, names))
    title, cells = _format_predictions(result["confusion_matrix"], names, WIDTH - width - 27)
    lines = [
        *(f"note: {note}" for note in result["notes"]),
        f"{result['data']} data, {result['split']}, {result['examples']:,} images,"
        f" step {result['step']:,}" + VIEWS[result["views"]],
        f"accuracy {_format_accuracy(result)}  loss {result['loss']:.4f}",
        "",
        f"{'':{width}}  accuracy, 95 % interval  {title}",
    ]
    for name, cell in zip(names, cells, strict=True):
        low, high = result["class_interval"][name]
        own = result["class_accuracy"][name]
        accuracy = f"{'no images':>23}" if own is None else f"{own:8.4f}  {low:.4f}–{high:.4f}"
        lines.append(f"{name:{width}}  {accuracy}  {cell}")
    outside = result["examples"] - sum(map(sum, result["confusion_matrix"]))
    if outside:
        lines.append(f"{outside:,} images are predicted as a class that the data do not have")
    if "calibration" in result:
        lines += ["", *_format_calibration(result)]
    if "against" in result:
        lines += ["", *_format_comparison(result["against"])]
    return "\n".join(lines)


def _format_predictions(
    matrix: list[list[int]], names: list[str], room: int
) -> tuple[str, list[str]]:
    """Returns the title and the cells of a column with the predictions for each class."""
    digits = len(str(max(map(max, matrix))))
    if (digits + 1) * len(names) - 1 <= room:
        cells = [" ".join(f"{count:{digits}}" for count in row) for row in matrix]
        return "images by predicted class, in row order", cells
    cells = []
    for true, row in enumerate(matrix):
        wrong = sorted((-count, i) for i, count in enumerate(row) if count and i != true)
        texts = [f"{names[i]} {-count}" for count, i in wrong]
        while texts and len(", ".join(texts)) > room:
            texts.pop()
        cells.append(", ".join(texts))
    return "most frequent mistakes", cells


def _format_accuracy(result: dict[str, Any]) -> str:
    low, high = result["interval"]
    return f"{result['accuracy']:.4f}, 95 % interval {low:.4f}–{high:.4f}"


def _format_calibration(result: dict[str, Any]) -> list[str]:
    found = result["calibration"]
    scored_on = result["split"] if found["fitted_on"] == "validation" else "the other half"
    return [
        f"temperature {found['temperature']:.4f}, fitted on {found['fitted_on']},"
        f" {found['fitted_images']:,} images; scored on {scored_on}, {found['images']:,}",
        f"calibration error (ECE) {found['ece_before']:.4f} before, {found['ece_after']:.4f} after",
        f"cross entropy {found['cross_entropy_before']:.4f} before,"
        f" {found['cross_entropy_after']:.4f} after; the accuracy is the same",
    ]


def _format_comparison(other: dict[str, Any]) -> list[str]:
    return [
        f"against {other['checkpoint']}, step {other['step']:,}:"
        f" accuracy {_format_accuracy(other)}",
        f"this run alone is right on {other['right_alone']:,} images, the other alone on"
        f" {other['wrong_alone']:,}; McNemar's exact test: {p_text(other['p'])}",
    ]


def save_result(
    result: dict[str, Any], directory: pathlib.Path, options: str = ""
) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes the result as JSON and its confusion matrix as a PNG, and returns the two paths.

    The file names contain the split, step and `options`, so that no other evaluation is
    overwritten.
    """
    suffix = f"{result['split']}_step{result['step']}{options}"
    numbers, picture = (
        directory / f"evaluation_{suffix}.json",
        directory / f"confusion_{suffix}.png",
    )
    workdir.write_json(numbers, result)
    run = directory.resolve().name
    title = f"{run}\n{result['data']} {result['split']}, step {result['step']:,}"
    title += VIEWS[result["views"]]
    matrix = np.array(result["confusion_matrix"])
    confusion = heatmaps.confusion(matrix, list(result["class_accuracy"]), title)
    png.draw_heatmaps(picture, [confusion])
    return numbers, picture


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = command.command_parser(
        "evaluate",
        "Evaluates the weights of a run on a split of its data.",
        (
            "--checkpoint=checkpoints/quickstart",
            "--checkpoint=checkpoints/quickstart --step=best --views=6 --calibrate",
        ),
    )
    command.add_step_options(parser)
    parser.add_argument(
        "--split",
        default="test",
        choices=("test", "train", "validation"),
        help="images to evaluate on (default: test)",
    )
    parser.add_argument(
        "--views",
        type=int,
        choices=tuple(VIEWS),
        help="views of each image whose logits are averaged (default: as in the config)",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="fit a temperature on the validation images, or on half of the evaluated images if"
        " there are none, and report the calibration error on the others",
    )
    parser.add_argument(
        "--against",
        type=expand_home,
        metavar="DIR",
        help="folder of another run to compare with on the same images (default: none)",
    )
    command.add_data_options(parser)
    return parser


def main() -> None:
    """Runs the command: evaluates, saves the result, then prints it."""
    given = make_parser().parse_args()
    backend.configure(keep_memory=False)  # there are only a few large batches
    directory = given.checkpoint
    with output.busy(f"evaluating {directory}"):
        result = evaluate_run(
            directory,
            given.step,
            given.split,
            given.data_dir,
            views=given.views,
            calibrate=given.calibrate,
            against=given.against,
            other_classes=given.other_classes,
        )
    options = f"_views{given.views}" if given.views else ""
    options += "_calibrated" if given.calibrate else ""
    options += f"_data_{result['checksum'][:8]}" if given.data_dir else ""
    if given.against:
        other = given.against.resolve()
        options += f"_against_{other.name}_{zlib.crc32(str(other).encode()):08x}"
    # Save first: printing fails if the output is closed or cannot encode the text.
    try:
        with output.busy("saving the result"):
            numbers, picture = save_result(result, directory, options)
    except OSError as error:
        output.show(format_result(result))
        text = f"could not save the result in {directory}: {error.strerror or error}"
        output.show(text, sys.stderr)
    else:
        output.show(f"{format_result(result)}\n\nwrote {numbers} and {picture}")


if __name__ == "__main__":
    command.run_command(main)
