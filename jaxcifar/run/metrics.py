"""metrics.jsonl: a line of JSON per finished epoch. A line may be moved aside, never lost."""

import json
import math
import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

from jaxcifar.errors import UserError
from jaxcifar.system import atomic

FILE = "metrics.jsonl"
ASIDE = "metrics_aside.jsonl"
Line = dict[str, Any]


def read(folder: pathlib.Path) -> list[Line]:
    """Returns the metrics of the run's epochs; a line that is damaged is left out."""
    return [line for _, line in _read(folder) if line is not None]


def go_on(folder: pathlib.Path, last_step: int, writing: bool = True) -> tuple[list[Line], int]:
    """Returns the lines up to `last_step`, and how many lines of later epochs were moved aside.

    A killed run had written those before their checkpoint was whole: they will be written again.
    Damaged lines are moved too, with a warning; a torn last line is no more than a killed run's.
    All lines of a run that diverged apply: no step is saved of the epoch it ended in. Without
    `writing` the files stay as they are.
    """
    content = _read(folder)
    lines = [line for _, line in content if line]
    if diverged(lines):
        last_step = lines[-1]["step"]
    kept = [(raw, line) for raw, line in content if line and line["step"] <= last_step]
    ahead = [raw for raw, line in content if line and line["step"] > last_step]
    if not writing:
        return [line for _, line in kept if line], len(ahead)
    damaged = [number for number, (_, line) in enumerate(content, 1) if line is None]
    if torn := damaged[-1:] == [len(content)]:
        damaged.pop()
    if damaged:
        numbers = ", ".join(map(str, damaged))
        text = f"{folder / FILE} is damaged in line {numbers}; moved to {ASIDE} beside it"
        warnings.warn(text, stacklevel=2)
    if ahead or damaged or torn:
        moved = [raw for raw, line in content if line is None or line["step"] > last_step]
        with (folder / ASIDE).open("ab") as file:
            file.write(b"".join(raw + b"\n" for raw in moved))
        with atomic.replacing(folder / FILE) as file:
            file.write(b"".join(raw + b"\n" for raw, _ in kept))
    return [line for _, line in kept if line], len(ahead)


def append(folder: pathlib.Path, line: Line) -> None:
    """Writes the line of an epoch that has finished."""
    with (folder / FILE).open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # a last line that was cut just before its end
                file.write(b"\n")
        file.write(json.dumps(line, allow_nan=False).encode() + b"\n")


def diverged(lines: Sequence[Line]) -> bool:
    """Whether the loss of the last epoch's training was not finite: with that a run is over."""
    return bool(lines) and lines[-1].get("train_loss", 0.0) is None


def problem(lines: Sequence[Line], num_epochs: int) -> str:
    """Returns what is wrong with the lines of `num_epochs` finished epochs; "" for nothing.

    A run that diverged has the epochs up to that one.
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


def check(folder: pathlib.Path, lines: Sequence[Line], num_epochs: int) -> None:
    """Raises a UserError unless there is one line for each epoch of a finished run."""
    if wrong := problem(lines, num_epochs):
        raise UserError(
            f"the run in {folder} has finished, but its {wrong}; put the file back (lines that did"
            f" not apply are in {ASIDE}), or move the folder away to train again"
        )


def finite(value: Any) -> Any:
    """Returns a tree of JSON values with None for every number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(folder: pathlib.Path) -> list[tuple[bytes, Line | None]]:
    """Returns each line of the file, as it is and parsed; None where it is not an epoch's."""
    file = folder / FILE
    try:
        content = file.read_bytes() if file.exists() else b""
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    return [(raw, _parse(raw)) for raw in content.split(b"\n") if raw.strip()]


def _parse(raw: bytes) -> Line | None:
    try:
        line = json.loads(raw)
    except ValueError:  # also bytes that are no text
        return None
    of_epoch = isinstance(line, dict) and all(type(line.get(k)) is int for k in ("epoch", "step"))
    return line if of_epoch else None


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")
