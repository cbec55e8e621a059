"""The records of finished runs: one JSON file per run and seed, the source of every table."""

import glob
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxcifar.config import compare, files, overrides, schema
from jaxcifar.errors import UserError, first_line
from jaxcifar.run import provenance, workdir

Record = dict[str, Any]
Records = Mapping[str, Mapping[int, Record]]  # by run, then by seed
KEYS = {
    "run",
    "seed",
    "config",
    "data",
    "device",
    "versions",
    "commit",
    "finished",
    "seconds",
    "examples_per_second",
    "initial_loss",
    "weights",
    "gates",
    "class_names",
    "epochs",
}
TRAIN = {"train_loss", "train_accuracy"}  # of each epoch, at least
TEST = {"test_loss", "test_accuracy"}  # of the last, at least


def path_of(out: pathlib.Path, run: str, seed: int) -> pathlib.Path:
    """Returns the record's file: "simple_cnn:l1", 0 -> out/runs/simple_cnn_l1-seed0.json."""
    return out / "runs" / f"{run.replace(':', '_')}-seed{seed}.json"


def config_of(run: str, seed: int) -> ConfigDict:
    """Returns the config of a run, "PAGE" or "PAGE:VARIANT" of configs/, with a seed."""
    page, colon, variant = run.partition(":")
    return overrides.load_config(
        f"{files.config_folder() / page}.py{colon}{variant}", [f"--config.seed={seed}"]
    )


def read(
    out: pathlib.Path, runs: Iterable[str], of: Callable[[str, int], ConfigDict] | None = None
) -> Records:
    """Returns, of each run, the records by seed that are of its config as it is now.

    `of(run, seed)` is that config, by itself that of the page. A record of another config, such as
    a shortened or synthetic run, never counts.

    Raises:
      UserError: a file that is not a record, named.
    """
    return {run: dict(_seeds(out, run, of or config_of)) for run in runs}


def _seeds(
    out: pathlib.Path, run: str, of: Callable[[str, int], ConfigDict]
) -> Iterable[tuple[int, Record]]:
    name = path_of(out, run, 0).name.replace("seed0", "seed*")
    for file in sorted((out / "runs").glob(glob.escape(name).replace("seed[*]", "seed*"))):
        record = read_record(file)
        try:
            saved = schema.from_json(json.dumps(record["config"]))
            differences = compare.differences(saved, of(run, record["seed"]))
        except (UserError, ValueError, TypeError) as error:
            raise UserError(f"{file}: {first_line(error)}") from error
        if not differences and file == path_of(out, run, record["seed"]):
            yield record["seed"], record


def read_record(file: pathlib.Path) -> Record:
    """Returns the record in a file, whatever its config.

    Raises:
      UserError: it is not a record.
    """
    try:
        record = json.loads(file.read_bytes())
        if missing := KEYS - set(record):
            raise ValueError(f"no {', '.join(sorted(missing))}")
        lines = [set(line) for line in record["epochs"]]
        if not lines or not all(line >= TRAIN for line in lines) or not lines[-1] >= TEST:
            raise ValueError("an epoch lacks its metrics")
        if not provenance.COMMIT.fullmatch(record["commit"]):
            raise ValueError(f"commit is {record['commit']!r}")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{file} is not a record that can be read: {first_line(error)};"
            " restore it, or move it away and run it again"
        ) from error
    return record


def write(out: pathlib.Path, record: Record) -> pathlib.Path:
    """Writes a record, one line per epoch so that it reads well in a diff; returns its file."""
    file = path_of(out, record["run"], record["seed"])
    file.parent.mkdir(parents=True, exist_ok=True)
    head = {key: value for key, value in record.items() if key != "epochs"}
    text = json.dumps(head | {"epochs": []}, indent=1)[: -len("[]\n}")]
    rows = ",\n  ".join(json.dumps(line) for line in record["epochs"])
    workdir.write_text(file, f"{text}[\n  {rows}\n ]\n}}\n")
    return file
