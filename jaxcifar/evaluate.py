"""Restores a run's weights and scores them.

python -m jaxcifar.evaluate --checkpoint=DIR [--step=N|best|latest] [--split=test|train|validation]
    [--data_dir=DIR]
"""

from jaxcifar import errors

if __name__ == "__main__":
    errors.leave_on_interrupt()  # what follows takes seconds to import

import pathlib
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcifar import backend, data, experiment, predict
from jaxcifar.run import plots, workdir
from jaxcifar.training import losses


def evaluate(
    directory: pathlib.Path, step: str, split: str, data_dir: str | None = None
) -> dict[str, Any]:
    """Scores the weights of a step, "best", "latest" or a number, on a split of the data.

    Returns accuracy, loss, per-class accuracy, and the confusion matrix of counts, rows the true
    class. Everything is rebuilt from the config saved in `directory`; `data_dir` is where the data
    lie now, if elsewhere.
    """
    net = predict.load(directory, step)
    config = net.parts.config.copy_and_resolve_references()
    if data_dir is not None:
        config.data.dir = data_dir
    dataset = experiment.load_data(config)
    examples: data.Split = getattr(dataset, split)
    if not len(examples.labels):
        raise errors.UserError(f"the run has no {split} images: config.data.{split} is 0")
    logits = net.predict(examples.images).logits
    sums = losses.evaluate(net.parts.loss, jnp.asarray(logits), examples.labels)
    matrix = confusion_matrix(logits, examples.labels, len(dataset.class_names))
    counts = np.bincount(examples.labels, minlength=len(dataset.class_names))
    per_class = matrix.diagonal() / counts.clip(1)
    return {
        "checkpoint": str(directory),
        "step": net.step,
        "data": dataset.source,
        "split": split,
        "examples": int(sums.examples),
        **sums.means(),
        "class_accuracy": dict(zip(dataset.class_names, per_class.tolist(), strict=True)),
        "confusion_matrix": matrix.tolist(),
    }


def confusion_matrix(logits: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts [C, C] of (true, predicted) over logits [N, ≥C] and labels [N].

    As for the accuracy, a prediction is the largest of all the logits: where that is of a class
    that the data do not have, the image is in no column, and its row sums to less than its class.
    """
    predicted = jnp.argmax(logits, -1)
    counts = jnp.zeros((num_classes, num_classes), jnp.int32)
    return np.asarray(counts.at[labels, predicted].add(1, mode="drop"))


def report(result: dict[str, Any]) -> str:
    """Returns the result as text: accuracy and loss, a line per class, the confusion matrix."""
    names = list(result["class_accuracy"])
    width = max(map(len, names))
    lines = [
        f"{result['data']} data, {result['split']}, {result['examples']:,} images,"
        f" step {result['step']:,}",
        f"accuracy {result['accuracy']:.4f}  loss {result['loss']:.4f}",
        "",
        f"{'':{width}}  accuracy  predicted, by column in the same order",
    ]
    for name, row in zip(names, result["confusion_matrix"], strict=True):
        counts = " ".join(f"{count:5}" for count in row)
        lines.append(f"{name:{width}}  {result['class_accuracy'][name]:8.4f}  {counts}")
    outside = result["examples"] - sum(map(sum, result["confusion_matrix"]))
    if outside:
        lines.append(f"{outside:,} images are predicted as a class that the data do not have")
    return "\n".join(lines)


def keep(result: dict[str, Any], directory: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes the result and a picture of its confusion matrix; the names say split and step."""
    which = f"{result['split']}_step{result['step']}"
    numbers, picture = directory / f"evaluation_{which}.json", directory / f"confusion_{which}.png"
    workdir.write_json(numbers, result)
    title = f"{directory.name}, {result['data']} {result['split']}, step {result['step']:,}"
    matrix = np.array(result["confusion_matrix"])
    plots.confusion(picture, matrix, list(result["class_accuracy"]), title)
    return numbers, picture


def main() -> None:
    """Runs the command."""
    parser = errors.command_parser("evaluate", "Restores a run's weights and scores them.")
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="the run's workdir")
    parser.add_argument("--step", default="latest", help="N, best or latest (default: latest)")
    parser.add_argument("--split", default="test", choices=("test", "train", "validation"))
    parser.add_argument("--data_dir", metavar="DIR", help="where the data lie now, if elsewhere")
    arguments = parser.parse_args()
    backend.configure()
    directory = pathlib.Path(arguments.checkpoint)
    result = evaluate(directory, arguments.step, arguments.split, arguments.data_dir)
    print(report(result))
    try:
        numbers, picture = keep(result, directory)
    except OSError as error:
        print(f"could not keep this in {directory}: {error.strerror or error}", file=sys.stderr)
    else:
        print(f"\nwrote {numbers} and {picture}")


if __name__ == "__main__":
    errors.run_command(main)
