"""The record of a finished run: one JSON file per run and seed, the source of every table."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcifar import config as configs
from jaxcifar import data, experiment, losses, workdir
from jaxcifar.train import Result

Record = dict[str, Any]
HISTOGRAM_RANGE, HISTOGRAM_BINS = 0.3, 121  # an odd number, so that one bin is centred on 0
INITIAL_EXAMPLES = 10_000
PAGES = pathlib.Path(__file__).parent.parent / "configs"


def path_of(out: pathlib.Path, run: str, seed: int) -> pathlib.Path:
    """Returns the record's file: "simple_cnn:l1", 0 -> out/runs/simple_cnn_l1-seed0.json."""
    return out / "runs" / f"{run.replace(':', '_')}-seed{seed}.json"


def config_of(run: str, seed: int) -> ConfigDict:
    """Returns the config of a run, "PAGE" or "PAGE:VARIANT" of configs/, with a seed."""
    page, colon, variant = run.partition(":")
    return configs.load(f"{PAGES / page}.py{colon}{variant}", [f"--config.seed={seed}"])


def read(out: pathlib.Path, run: str, seed: int) -> Record | None:
    """Returns the record, or None where there is none for the config as it is now.

    A record of another config, such as a shortened or synthetic run, never counts.
    """
    file = path_of(out, run, seed)
    if not file.exists():
        return None
    record = json.loads(file.read_text())
    saved = configs.from_json(json.dumps(record["config"]))
    return None if configs.differences(saved, config_of(run, seed)) else record


def seeds_of(out: pathlib.Path, run: str) -> dict[int, Record]:
    """Returns the valid records of a run by seed."""
    pattern = path_of(out, run, 0).name.replace("seed0", "seed*")
    seeds = sorted(int(f.stem.rpartition("seed")[2]) for f in (out / "runs").glob(pattern))
    records = {seed: read(out, run, seed) for seed in seeds}
    return {seed: record for seed, record in records.items() if record is not None}


def write(out: pathlib.Path, run: str, config: ConfigDict, result: Result) -> Record:
    """Measures what the claims need of a finished run, and writes its record."""
    dataset = experiment.load_data(config)
    parts = experiment.build(config)
    variables = result.state.eval_variables()
    _, gates = parts.predictor(dataset.test.images)(variables)
    lines = result.lines
    rates = sorted(line["examples_per_second"] for line in lines)
    record = {
        "run": run,
        "seed": config.seed,
        "config": json.loads(configs.to_json(config)),
        "data": result.meta["data"],
        "device": result.meta["device"],
        "versions": result.meta["versions"],
        "commit": result.meta["commit"],
        "finished": result.meta["date"],
        "seconds": sum(line["seconds"] for line in lines),
        "examples_per_second": rates[len(rates) // 2],
        "initial_loss": initial_loss(parts, dataset.train),
        "final": {k: v for k, v in lines[-1].items() if k.startswith(("train_", "test_"))},
        "weights": weight_histogram(variables["params"]),
        "gates": {
            name: class_means(np.asarray(gate), dataset.test.labels, len(dataset.class_names))
            for name, gate in gates.items()
        },
        "class_names": list(dataset.class_names),
        "epochs": lines,
    }
    file = path_of(out, run, config.seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    # one line per epoch, so that a record reads well in a diff
    text = json.dumps({**record, "epochs": []}, indent=1)[: -len("[]\n}")]
    rows = ",\n  ".join(json.dumps(line) for line in lines)
    workdir.write_text(file, f"{text}[\n  {rows}\n ]\n}}\n")
    return record


def initial_loss(parts: experiment.Experiment, train: data.Split) -> float:
    """Returns the mean loss of the first training images, not augmented, before any step."""
    optimizer, _ = parts.optimizer(steps_per_epoch=1)
    images, labels = (part[:INITIAL_EXAMPLES] for part in train)
    logits, _ = parts.predictor(images)(parts.start(optimizer).state.eval_variables())
    return losses.evaluate(parts.loss, logits, labels).means()["loss"]


def weight_histogram(params: Any) -> dict[str, Any]:
    """Returns counts of all parameters over ±HISTOGRAM_RANGE, and the shares close to zero."""
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    limits = (-HISTOGRAM_RANGE, HISTOGRAM_RANGE)
    counts, _ = np.histogram(flat, HISTOGRAM_BINS, limits)
    below = {f"{bound:g}": float((abs(flat) < bound).mean()) for bound in (1e-3, 1e-2)}
    return {"range": limits, "counts": counts.tolist(), "total": flat.size, "share_below": below}


def class_means(gate: np.ndarray, labels: np.ndarray, num_classes: int) -> list[list[float]]:
    """Returns the mean gate [num_classes, K] of a block's gates [N, K] or [N, K, C]."""
    gate = gate.reshape(*gate.shape[:2], -1).mean(2)
    means = [gate[labels == c].mean(0) for c in range(num_classes)]
    return [[round(float(value), 5) for value in row] for row in means]


def last(record: Record, key: str) -> float:
    """Returns a metric after the last epoch; infinite where it was not finite."""
    return _finite(record["epochs"][-1][key])


def best(record: Record, key: str = "test_accuracy") -> float:
    """Returns the maximum of a metric over the epochs: selected on the test set, as the reports."""
    return max(line[key] for line in record["epochs"])


def column(record: Record, key: str) -> list[float]:
    """Returns a metric of every epoch."""
    return [_finite(line[key]) for line in record["epochs"]]


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the sample standard deviation (0 for one value)."""
    mean = sum(values) / len(values)
    if len(values) < 2 or not math.isfinite(mean):
        return mean, 0.0
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def _finite(value: float | None) -> float:
    return math.inf if value is None else value


def by_seed(out: pathlib.Path, runs: Sequence[str]) -> list[Mapping[str, Record]]:
    """Returns, for each seed that all the runs have, their records by run."""
    records = {run: seeds_of(out, run) for run in runs}
    common = set.intersection(*(set(found) for found in records.values()))
    return [{run: records[run][seed] for run in runs} for seed in sorted(common)]
