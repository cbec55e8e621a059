"""The records of finished runs, read: one JSON file per run and seed, the source of every table."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxcifar import config as configs
from jaxcifar import schema

Record = dict[str, Any]
PAGES = pathlib.Path(__file__).parents[2] / "configs"


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
    return None if schema.differences(saved, config_of(run, seed)) else record


def seeds_of(out: pathlib.Path, run: str) -> dict[int, Record]:
    """Returns the valid records of a run by seed."""
    pattern = path_of(out, run, 0).name.replace("seed0", "seed*")
    seeds = sorted(int(f.stem.rpartition("seed")[2]) for f in (out / "runs").glob(pattern))
    records = {seed: read(out, run, seed) for seed in seeds}
    return {seed: record for seed, record in records.items() if record is not None}


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
