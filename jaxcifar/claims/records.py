"""Reads and writes the records of finished runs, one JSON file per run and seed."""

import glob
import itertools
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxcifar.config import compare, files, overrides, schema
from jaxcifar.errors import UserError, first_line
from jaxcifar.run import metrics, provenance
from jaxcifar.system import atomic, json_files, output
from jaxcifar.system.json_files import INTEGER, MAYBE_NUMBER, NUMBER, TEXT

Record = dict[str, Any]
Records = Mapping[str, Mapping[int, Record]]  # by run, then by seed
FORM = {
    **dict.fromkeys(("run", "device", "commit", "finished"), TEXT),
    **dict.fromkeys(("seconds", "examples_per_second"), NUMBER),
    "seed": INTEGER,
    "config": {},
    "data": {},
    "versions": {"jax": TEXT, str: TEXT},
    "initial_loss": MAYBE_NUMBER,
    "weights": {
        "range": [NUMBER],
        "counts": [INTEGER],
        "total": INTEGER,
        "share_below": {"0.001": NUMBER},
    },
    "gates": {str: [[MAYBE_NUMBER]]},
    "class_names": [TEXT],
    "epochs": [{"epoch": INTEGER, str: MAYBE_NUMBER}],
}
TRAIN = {"train_loss", "train_accuracy"}  # keys that every epoch must have
TEST = {"test_loss", "test_accuracy"}  # keys that the last epoch must have


def path_of(out: pathlib.Path, run: str, seed: int) -> pathlib.Path:
    """Returns the file of a record; "simple_cnn:l1", 0 gives out/runs/simple_cnn_l1-seed0.json."""
    return out / "runs" / f"{run.replace(':', '_')}-seed{seed}.json"


def config_of(run: str, seed: int) -> ConfigDict:
    """Returns the config of a run with a seed.

    A run is named "NAME" or "NAME:VARIANT" after a file in configs/.
    """
    name, colon, variant = run.partition(":")
    return overrides.load_config(
        f"{files.config_folder() / name}.py{colon}{variant}", [f"--config.seed={seed}"]
    )


def read(
    out: pathlib.Path, runs: Iterable[str], of: Callable[[str, int], ConfigDict] | None = None
) -> Records:
    """Returns the records of each run, by seed, that were made with the run's current config.

    `of(run, seed)` returns the current config (default: `config_of`). A record with another config,
    such as that of a shortened or synthetic run, is left out.

    Raises:
      UserError: a file is not a record, or the seeds of a run were trained on different data.
    """
    found = {run: dict(_seeds(out, run, of or config_of)) for run in runs}
    for run, seeds in found.items():
        data = {str(record["data"]): path_of(out, run, seed).name for seed, record in seeds.items()}
        if len(data) > 1:
            raise UserError(
                f"{out / 'runs'}: {' and '.join(data.values())} were trained on different data"
                f" ({' and '.join(data)}); move the records of one data set away"
            )
    return found


def _seeds(
    out: pathlib.Path, run: str, of: Callable[[str, int], ConfigDict]
) -> Iterable[tuple[int, Record]]:
    prefix = path_of(out, run, 0).name.removesuffix("0.json")
    for file in sorted((out / "runs").glob(f"{glob.escape(prefix)}*.json")):
        record = read_record(file)
        try:
            saved = schema.from_dict(record["config"])
            differences = compare.differences(saved, of(run, record["seed"]))
        except UserError as error:
            raise UserError(f"{file}: {first_line(error)}") from error
        if not differences and file == path_of(out, run, record["seed"]):
            yield record["seed"], record


def read_record(file: pathlib.Path) -> Record:
    """Returns the record in a file without checking its config.

    Raises:
      UserError: the file is not a record.
    """
    try:
        record = json_files.read(file, FORM, follow=True)
        lines = [set(line) for line in record["epochs"]]
        if not lines or not all(line >= TRAIN for line in lines) or not lines[-1] >= TEST:
            raise ValueError("an epoch lacks its metrics")
        _check_sizes(record)
        if not provenance.COMMIT.fullmatch(record["commit"]):
            raise ValueError(f"commit is {record['commit']!r}")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} is not a readable record: {first_line(error)};"
            " restore the file, or move it away and run that seed again"
        ) from error
    return output.cleaned(record) | {"config": record["config"]}


def _check_sizes(record: Record) -> None:
    classes, weights = len(record["class_names"]), record["weights"]
    if not classes:
        raise ValueError("class_names is empty")
    if len(weights["range"]) != 2 or not weights["counts"] or weights["total"] < 1:
        raise ValueError("weights is not a histogram")
    for block, rows in record["gates"].items():
        if len(rows) != classes or len(set(map(len, rows))) > 1 or not rows[0]:
            raise ValueError(f"gates.{block} is not a table with a row for each class")


def write(out: pathlib.Path, record: Record) -> pathlib.Path:
    """Writes a record, with one line per epoch for readable diffs, and returns its file.

    An earlier record in that file, such as one of another config, is kept as FILE.old1.
    """
    file = path_of(out, record["run"], record["seed"])
    file.parent.mkdir(parents=True, exist_ok=True)
    head = metrics.without_nonfinite(
        {key: value for key, value in record.items() if key != "epochs"}
    )
    text = json.dumps(head | {"epochs": []}, indent=1, allow_nan=False)[: -len("[]\n}")]
    rows = ",\n  ".join(json.dumps(line, allow_nan=False) for line in record["epochs"])
    text = f"{text}[\n  {rows}\n ]\n}}\n"
    if file.exists() and file.read_text("utf-8") != text:
        old = (file.with_name(f"{file.name}.old{number}") for number in itertools.count(1))
        file.rename(next(path for path in old if not path.exists()))
    atomic.write_text(file, text)
    return file
