"""Restores a run's weights and scores them.

python -m jaxcifar.evaluate --checkpoint=DIR [--step=N|best|latest] [--split=test|train|validation]
"""

import argparse
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar import backend, data, experiment
from jaxcifar.errors import UserError, run_command
from jaxcifar.run import plots, workdir
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.training import losses


def evaluate(directory: pathlib.Path, step: str, split: str) -> dict[str, Any]:
    """Scores the weights of a step, "best", "latest" or a number, on a split of the data.

    Returns accuracy, loss, per-class accuracy, and the confusion matrix of counts, rows the true
    class. Everything is rebuilt from the config saved in `directory`.
    """
    config = workdir.load_config(directory)
    parts = experiment.build(config)
    with Checkpoints(directory) as checkpoints:
        number = choose_step(checkpoints, step)
        variables = checkpoints.restore_model(number, parts.abstract_model())
    dataset = experiment.load_data(config)
    examples: data.Split = getattr(dataset, split)
    if not len(examples.labels):
        raise UserError(f"the run has no {split} images: config.data.{split} is 0")
    params = variables["params"] if variables["ema"] is None else variables["ema"]
    predict = parts.predictor(examples.images)
    logits, _ = predict({"params": params, "batch_stats": variables["batch_stats"]})
    sums = losses.evaluate(parts.loss, logits, examples.labels)
    matrix = confusion_matrix(logits, examples.labels, len(dataset.class_names))
    per_class = matrix.diagonal() / matrix.sum(1).clip(1)
    return {
        "checkpoint": str(directory),
        "step": number,
        "data": dataset.source,
        "split": split,
        "examples": int(sums.examples),
        **sums.means(),
        "class_accuracy": dict(zip(dataset.class_names, per_class.tolist(), strict=True)),
        "confusion_matrix": matrix.tolist(),
    }


def choose_step(checkpoints: Checkpoints, step: str) -> int:
    """Returns the saved step that "best", "latest" or a number names."""
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"no checkpoint in {checkpoints.directory}; train first")
    if step == "latest":
        return steps[-1]
    if step == "best":
        return checkpoints.best_step()
    if not step.isdigit() or int(step) not in steps:
        saved = ", ".join(map(str, steps))
        raise UserError(f"--step={step} is not saved; expected best, latest or one of {saved}")
    return int(step)


def confusion_matrix(logits: jax.Array, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts [C, C] of (true, predicted) over logits [N, ≥C] and labels [N]."""
    predicted = jnp.argmax(logits[:, :num_classes], -1)
    counts = jnp.zeros((num_classes, num_classes), jnp.int32).at[labels, predicted].add(1)
    return np.asarray(counts)


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
    return "\n".join(lines)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxcifar.evaluate",
        description="Restores a run's weights and scores them.",
        allow_abbrev=False,
    )
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="the run's workdir")
    parser.add_argument("--step", default="latest", help="N, best or latest (default: latest)")
    parser.add_argument("--split", default="test", choices=("test", "train", "validation"))
    arguments = parser.parse_args()
    backend.configure()
    directory = pathlib.Path(arguments.checkpoint)
    result = evaluate(directory, arguments.step, arguments.split)
    print(report(result))
    stem = "evaluation" if arguments.split == "test" else f"evaluation_{arguments.split}"
    workdir.write_json(directory / f"{stem}.json", result)
    picture = directory / f"{stem.replace('evaluation', 'confusion')}.png"
    title = f"{directory.name}, {result['data']} {result['split']}, step {result['step']:,}"
    matrix = np.array(result["confusion_matrix"])
    plots.confusion(picture, matrix, list(result["class_accuracy"]), title)
    print(f"\nwrote {directory / stem}.json and {picture}")


if __name__ == "__main__":
    run_command(main)
