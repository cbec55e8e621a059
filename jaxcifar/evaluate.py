"""Restores a run's weights and scores them.

python -m jaxcifar.evaluate --checkpoint=DIR [--step=N|best|latest] [--split=test|train|validation]
    [--data_dir=DIR] [--views=1|2|6] [--calibrate] [--against=DIR]
"""

from jaxcifar.system import command

if __name__ == "__main__":
    command.leave_on_interrupt()  # what follows takes seconds to import

import pathlib
import sys
from typing import Any

import numpy as np

from jaxcifar.figures import heatmaps, png
from jaxcifar.run import workdir
from jaxcifar.system import backend
from jaxcifar.training.evaluation import VIEWS
from jaxcifar.weights.evaluation import evaluate


def report(result: dict[str, Any]) -> str:
    """Returns the result as text: accuracy and loss, a line per class, the confusion matrix.

    Accuracies have their 95 % intervals, and what else was asked for comes last.
    """
    names = list(result["class_accuracy"])
    width = max(map(len, names))
    lines = [
        f"{result['data']} data, {result['split']}, {result['examples']:,} images,"
        f" step {result['step']:,}" + VIEWS[result["views"]],
        f"accuracy {_known(result)}  loss {result['loss']:.4f}",
        "",
        f"{'':{width}}  accuracy, 95 % interval  predicted, by column in the same order",
    ]
    for name, row in zip(names, result["confusion_matrix"], strict=True):
        counts = " ".join(f"{count:5}" for count in row)
        low, high = result["class_interval"][name]
        known = f"{result['class_accuracy'][name]:8.4f}  {low:.4f}–{high:.4f}"
        lines.append(f"{name:{width}}  {known}  {counts}")
    outside = result["examples"] - sum(map(sum, result["confusion_matrix"]))
    if outside:
        lines.append(f"{outside:,} images are predicted as a class that the data do not have")
    if "calibration" in result:
        lines += ["", *_told_of_calibration(result)]
    if "against" in result:
        lines += ["", *_told_of_comparison(result)]
    return "\n".join(lines)


def _known(result: dict[str, Any]) -> str:
    low, high = result["interval"]
    return f"{result['accuracy']:.4f}, 95 % interval {low:.4f}–{high:.4f}"


def _told_of_calibration(result: dict[str, Any]) -> list[str]:
    found = result["calibration"]
    where = result["split"] if found["fitted_on"] == "validation" else "the other half"
    return [
        f"temperature {found['temperature']:.4f}, fitted on {found['fitted_on']},"
        f" {found['fitted_images']:,} images; scored on {where}, {found['images']:,}",
        f"calibration error (ECE) {found['ece_before']:.4f} before, {found['ece_after']:.4f} after",
        f"cross entropy {found['cross_entropy_before']:.4f} before,"
        f" {found['cross_entropy_after']:.4f} after; the accuracy is the same",
    ]


def _told_of_comparison(result: dict[str, Any]) -> list[str]:
    found = result["against"]
    return [
        f"against {found['checkpoint']}, step {found['step']:,}: accuracy {_known(found)}",
        f"{found['right_alone']:,} images are right here alone, {found['wrong_alone']:,} there"
        f" alone; McNemar's exact test: p = {found['p']:.2g}",
    ]


def keep(
    result: dict[str, Any], directory: pathlib.Path, asked: str = ""
) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes the result and a picture of its confusion matrix.

    The names say split and step, and what else was asked for, so that neither replaces the other.
    """
    which = f"{result['split']}_step{result['step']}{asked}"
    numbers, picture = directory / f"evaluation_{which}.json", directory / f"confusion_{which}.png"
    workdir.write_json(numbers, result)
    title = f"{directory.name}, {result['data']} {result['split']}, step {result['step']:,}"
    matrix = np.array(result["confusion_matrix"])
    confusion = heatmaps.confusion(matrix, list(result["class_accuracy"]), title)
    png.draw_heatmaps(picture, [confusion])
    return numbers, picture


def main() -> None:
    """Runs the command."""
    parser = command.command_parser("evaluate", "Restores a run's weights and scores them.")
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="the run's workdir")
    parser.add_argument("--step", default="latest", help="N, best or latest (default: latest)")
    parser.add_argument("--split", default="test", choices=("test", "train", "validation"))
    parser.add_argument("--data_dir", metavar="DIR", help="where the data lie now, if elsewhere")
    parser.add_argument("--views", type=int, choices=tuple(VIEWS), help="if not the config's")
    parser.add_argument("--calibrate", action="store_true", help="fit a temperature, held out")
    parser.add_argument("--against", type=pathlib.Path, metavar="DIR", help="another's workdir")
    given = parser.parse_args()
    backend.configure(keep_memory=False)  # a few large batches
    directory = pathlib.Path(given.checkpoint)
    more = {"views": given.views, "calibrate": given.calibrate, "against": given.against}
    result = evaluate(directory, given.step, given.split, given.data_dir, **more)
    print(report(result))
    asked = f"_views{given.views}" if given.views else ""
    asked += "_calibrated" if given.calibrate else ""
    asked += f"_against_{given.against.resolve().name}" if given.against else ""
    try:
        numbers, picture = keep(result, directory, asked)
    except OSError as error:
        print(f"could not keep this in {directory}: {error.strerror or error}", file=sys.stderr)
    else:
        print(f"\nwrote {numbers} and {picture}")


if __name__ == "__main__":
    command.run_command(main)
