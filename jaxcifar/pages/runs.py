"""Loads what a run's page shows: its metrics and, if possible, its weights and predictions."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcifar import data
from jaxcifar.config import schema
from jaxcifar.errors import UserError
from jaxcifar.run import metrics, workdir
from jaxcifar.run.leaves import by_path
from jaxcifar.stats.accuracy import wilson
from jaxcifar.weights import evaluation
from jaxcifar.weights.net import Net, load_net


@dataclasses.dataclass(frozen=True)
class Scores:
    """The predictions of a net for the test images."""

    examples: data.Split
    class_names: tuple[str, ...]
    probabilities: np.ndarray  # [N, K]
    gates: dict[str, np.ndarray]
    matrix: np.ndarray  # counts [C, C]; the rows are the true classes

    @property
    def right(self) -> np.ndarray:
        """Whether each image is classified correctly [N]."""
        return self.probabilities.argmax(1) == self.examples.labels

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(int(self.right.sum()), len(self.right))


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as the page shows it; `notes` say, for example, what is left out and why."""

    name: str
    config: dict[str, Any]
    lines: list[metrics.Line]
    meta: dict[str, Any]
    net: Net | None
    scores: Scores | None
    notes: tuple[str, ...]

    @property
    def scored_lines(self) -> list[metrics.Line]:
        """The metrics of the epochs that were scored on the test images."""
        return [line for line in self.lines if line.get("test_accuracy") is not None]


def load_runs(
    folders: Sequence[pathlib.Path], step: str, data_dir: str | None, other_classes: bool = False
) -> list[Run]:
    """Loads the runs, each at `step`, which is "latest", "best" or a number.

    `data_dir` and `other_classes` are as in `evaluation.evaluate_run`.

    Raises:
      UserError: a folder is not a run, or `step` is a number and cannot be loaded.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return [
        _load_run(*run, step, data_dir, other_classes) for run in zip(names, folders, strict=True)
    ]


def _load_run(
    name: str, folder: pathlib.Path, step: str, data_dir: str | None, other_classes: bool
) -> Run:
    config = workdir.load_config(folder)
    with workdir.naming(folder):
        config = schema.complete_config(config, ("optimizer", "schedule"))
    flat = schema.flatten(json.loads(schema.to_json(config)))
    lines = metrics.read(folder)
    notes = [] if lines else ["metrics.jsonl is missing, so there are no curves"]
    net, scores, meta = None, None, {}
    try:
        net = load_net(folder, step)
        meta = net.meta
    except UserError as error:
        if step not in ("latest", "best"):
            raise
        notes.append(
            f"weights could not be loaded, so everything that needs them is left out ({error})"
        )
    try:
        if net is not None:
            dataset, note = evaluation.load_dataset(net, folder, data_dir, other_classes)
            notes += [note] * bool(note)
            scores = _score(net, dataset)
    except UserError as error:
        notes.append(
            f"data could not be used, so everything that needs predictions is left out ({error})"
        )
    return Run(name, flat, lines, meta, net, scores, tuple(notes))


def _score(net: Net, dataset: data.Dataset) -> Scores:
    """Predicts the test images of a data set."""
    images, labels = dataset.test
    predicted = net.predict(images)
    names = dataset.class_names
    return Scores(
        dataset.test,
        names,
        predicted.probabilities,
        predicted.gates,
        evaluation.confusion_matrix(predicted.logits, labels, len(names)),
    )


def differing(runs: Sequence[Run]) -> list[str]:
    """Returns the config keys whose values differ between runs, except the data folder."""
    keys = sorted(set().union(*(run.config for run in runs)) - {"data.dir"})
    return [key for key in keys if len({json.dumps(run.config.get(key)) for run in runs}) > 1]


def kernels(net: Net) -> dict[str, np.ndarray]:
    """Returns the weights of every dense and convolutional layer by name."""
    leaves = by_path(net.variables["params"]).items()
    return {path.removesuffix("/kernel"): np.asarray(x) for path, x in leaves if x.ndim > 1}


def first_filters(net: Net) -> np.ndarray | None:
    """Returns the filters [h, w, 3, N] applied to the image itself, or None if there are none."""
    statistics = by_path(net.variables.get("batch_stats", {})).items()
    whitening = [np.asarray(leaf) for path, leaf in statistics if path.endswith("whitening")]
    found = whitening or [k for k in kernels(net).values() if k.ndim == 4 and k.shape[2] == 3]
    if not found:  # a dense layer on the flattened image
        flat = [k for k in kernels(net).values() if k.ndim == 2 and len(k) == 32 * 32 * 3]
        found = [k.reshape(32, 32, 3, -1) for k in flat]
    return found[0] if found else None
