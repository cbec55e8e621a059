"""metrics.jsonl: one line of JSON per finished epoch. Lines may be moved aside but never lost.

metrics.csv has the same lines for a spreadsheet; nothing reads it back.
"""

import csv
import io
import json
import math
import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

from jaxcifar.errors import UserError
from jaxcifar.system import atomic, files, json_files, output

FILE = "metrics.jsonl"
ASIDE = "metrics_aside.jsonl"
TABLE = "metrics.csv"
MAX_BYTES = 2**28
Line = dict[str, Any]
FORM: dict[Any, Any] = {
    "epoch": json_files.INTEGER,
    "step": json_files.INTEGER,
    str: json_files.MAYBE_NUMBER,
    "seconds?": json_files.NUMBER,
    "examples_per_second?": json_files.NUMBER,
}


def read(folder: pathlib.Path) -> list[Line]:
    """Returns the metrics of the run's epochs, without damaged lines."""
    return [line for _, line in _read(folder) if line is not None]


def resume(folder: pathlib.Path, last_step: int, writing: bool = True) -> tuple[list[Line], int]:
    """Returns the lines up to `last_step`, and the number of later lines, which are moved aside.

    A killed run can write the metrics of an epoch before its checkpoint is complete; the resumed
    run writes them again. Damaged lines are moved aside too, with a warning, except for a last line
    that a kill cut short. A diverged run keeps all its lines, because the epoch in which it
    diverged has no checkpoint. With `writing=False` the files are left alone.
    """
    content = _read(folder)
    valid = [(raw, line) for raw, line in content if line]
    if diverged([line for _, line in valid]):
        last_step = valid[-1][1]["step"]
    kept = [(raw, line) for raw, line in valid if line["step"] <= last_step]
    result = [line for _, line in kept], len(valid) - len(kept)
    if not writing:
        return result
    damaged = [number for number, (_, line) in enumerate(content, 1) if line is None]
    if damaged[-1:] == [len(content)]:
        damaged.pop()
    if damaged:
        numbers = ", ".join(map(str, damaged))
        text = f"{folder / FILE} is damaged in line {numbers}; moved to {ASIDE} in the same folder"
        warnings.warn(text, stacklevel=2)
    if len(kept) < len(content):
        moved = [raw for raw, line in content if line is None or line["step"] > last_step]
        with files.open_plain(folder / ASIDE, "ab") as file:
            file.write(b"".join(raw + b"\n" for raw in moved))
        with atomic.replacing(folder / FILE) as file:
            file.write(b"".join(raw + b"\n" for raw, _ in kept))
    return result


def append(folder: pathlib.Path, line: Line) -> None:
    """Appends the metrics of a finished epoch."""
    with files.open_plain(folder / FILE, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # a last line that lost its newline
                file.write(b"\n")
        file.write(json.dumps(line, allow_nan=False).encode() + b"\n")


def write_csv(folder: pathlib.Path, lines: Sequence[Line]) -> None:
    """Writes the lines of a run as a table, metrics.csv; missing values are empty."""
    columns = dict.fromkeys(key for line in lines for key in line)  # in order, each once
    table = io.StringIO()
    writer = csv.DictWriter(table, list(columns), lineterminator="\n")
    writer.writerow({name: output.csv_cell(output.printable(name)) for name in columns})
    writer.writerows(lines)
    atomic.write_text(folder / TABLE, table.getvalue())


def diverged(lines: Sequence[Line]) -> bool:
    """Returns whether the training loss of the last epoch is not finite, which ends a run."""
    return bool(lines) and lines[-1].get("train_loss", 0.0) is None


def find_problem(lines: Sequence[Line], num_epochs: int) -> str:
    """Returns a description of missing or surplus lines among `num_epochs` epochs; "" if none.

    A diverged run needs lines only up to the epoch in which it diverged.
    """
    epochs = [line["epoch"] for line in lines]
    if diverged(lines):
        num_epochs = epochs[-1]
    missing = [epoch for epoch in range(1, num_epochs + 1) if epoch not in epochs]
    if missing:
        return f"{FILE} has no line for {len(missing)} of {num_epochs} epochs ({_some(missing)})"
    if len(epochs) > num_epochs:
        return f"{FILE} has {len(epochs)} lines for {num_epochs} epochs"
    return ""


def check_complete(folder: pathlib.Path, lines: Sequence[Line], num_epochs: int) -> None:
    """Raises a UserError unless a finished run has one line for each epoch."""
    if problem := find_problem(lines, num_epochs):
        raise UserError(
            f"the run in {folder} has finished, but its {problem}; restore the file (lines that"
            f" were set aside are in {ASIDE}), or move the folder away to train again"
        )


def without_nonfinite(value: Any) -> Any:
    """Returns a tree of JSON values with every number that is not finite replaced by None."""
    if isinstance(value, dict):
        return {key: without_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(folder: pathlib.Path) -> list[tuple[bytes, Line | None]]:
    """Returns each line of the file, raw and parsed; None if it is not a line of metrics."""
    file = folder / FILE
    try:
        content = files.read_bytes(file, MAX_BYTES) if os.path.lexists(file) else b""
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    return [(raw, _parse(raw)) for raw in content.split(b"\n") if raw.strip()]


def _parse(raw: bytes) -> Line | None:
    try:
        return json_files.parse(raw, FORM)
    except json_files.BadJson:
        return None


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")
