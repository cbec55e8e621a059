"""Checkpoints of a run: the only module that knows Orbax.

Each step has the items `model` {params, batch_stats, ema} and `train` {opt_state, step, sums}, and
JSON: the config, class names, mean/std, versions, and a CRC-32 of every leaf, because a flipped
bit in a data file would otherwise load silently. The two latest steps and the best are kept.

A step is damaged where its content is: a checksum is wrong, a file is missing, or what it holds
cannot be decoded. Any other error (of the disk, the memory, the program) says nothing of the
content, may pass, and moves nothing.
"""

import contextlib
import json
import math
import os
import pathlib
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxcifar.errors import UserError, first_line
from jaxcifar.run import selection
from jaxcifar.training.losses import Sums
from jaxcifar.training.state import Carry, State

DIRECTORY, DAMAGED = "steps", "damaged"
LATEST = 2  # so that one damaged file never costs a run
# TensorStore's errors are ValueErrors with a status; these ones are of what a file holds, unless
# the text has the number of an operating system's error, other than 2: there is no such file.
CONTENT = ("DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE")
OS_ERROR = re.compile(r"os_error_code='(?!2')\d+'")


class Damaged(UserError):
    """The content of a saved step is wrong or gone."""


class Checkpoints:
    """The steps saved under `workdir`/steps. Use with `with`: leaving waits for the last save.

    Only the run that trains is `writing`: it clears what a killed save left half done, and moves
    damaged steps to `workdir`/damaged.

    Raises:
      UserError: there is no such folder and none is to be made, or it cannot be read.
    """

    def __init__(self, workdir: pathlib.Path, *, writing: bool = False):
        from orbax.checkpoint import v1 as ocp  # a second to import

        self.directory = workdir.resolve() / DIRECTORY
        self._aside = self.directory.parent / DAMAGED
        self._saving: Any = None
        if not (writing or self.directory.is_dir()):
            raise UserError(f"no checkpoint in {workdir}; train first")
        with _told(f"cannot read {self.directory}"):
            for file in self.directory.glob("*/metrics/metrics"):  # Orbax would end on one
                step = int(file.parts[-3])
                try:
                    with self._judged(step):
                        json.loads(file.read_text())
                except Damaged as error:
                    if not writing:
                        raise
                    self._set_aside(step, error)
            self._checkpointer = ocp.training.Checkpointer(
                self.directory, preservation_policy=_Kept(), cleanup_tmp_directories=writing
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self.wait()
        self._checkpointer.close()

    def wait(self) -> None:
        """Waits until the last save is on disk."""
        if self._saving is not None:
            saving, self._saving = self._saving, None
            with _told(f"cannot save in {self.directory}"):
                saving.result()

    def steps(self) -> list[int]:
        """Returns the saved steps in ascending order."""
        return sorted(c.step for c in self._checkpointer.checkpoints)

    def best_step(self) -> int:
        """Returns the step of the highest accuracy, the first of equals."""
        return selection.best(self._checkpointer.checkpoints, _accuracy).step

    def number(self, name: str) -> int:
        """Returns the saved step that "best", "latest" or a number names."""
        steps = self.steps()
        if not steps:
            raise UserError(f"no checkpoint in {self.directory.parent}; train first")
        if name == "latest":
            return steps[-1]
        if name == "best":
            return self.best_step()
        if not name.isdigit() or int(name) not in steps:
            saved = ", ".join(map(str, steps))
            raise UserError(f"step {name} is not saved; expected best, latest or one of {saved}")
        return int(name)

    def save(self, carry: Carry, meta: dict[str, Any], accuracy: float | None) -> None:
        """Starts saving; waits first for the save before. A step saved already is left alone."""
        self.wait()
        step = int(carry.state.step)
        if step in self.steps():
            return
        items = _items(carry)
        with _told(f"cannot save in {self.directory}"):
            self._saving = self._checkpointer.save_checkpointables_async(
                step,
                items,
                force=True,
                metrics={"accuracy": selection.finite(accuracy)},
                custom_metadata={**meta, "crc32": _crc32(items)},
            )

    def meta(self, step: int) -> dict[str, Any]:
        """Returns the JSON saved with a step."""
        self.wait()
        with self._judged(step):
            return self._meta(step)

    def restore_latest(self, like: Carry) -> Carry | None:
        """Returns the latest step that is whole, placed as `like` is; None where none was saved.

        `like` has arrays, or their shapes, types and places. A damaged step is moved to
        `damaged/` with a warning, and the one before is tried.

        Raises:
          UserError: a step cannot be read, does not fit `like`, or none is left undamaged.
        """
        for step in reversed(self.steps()):
            try:
                items = self._load(step, _items(like))
            except Damaged as error:
                self._set_aside(step, error)
                self._checkpointer.reload()
                continue
            model, train = items["model"], items["train"]
            state = State(step=train["step"], opt_state=train["opt_state"], **model)
            return Carry(state, Sums(*train["sums"]))
        if self._aside.is_dir() and (found := sorted(f.name for f in self._aside.iterdir())):
            raise UserError(
                f"no whole step is left in {self.directory}; damaged ones ({', '.join(found)}) are"
                f" in {self._aside}: to train again from the start, move that folder away"
            )
        return None

    def restore_model(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        """Returns the item `model` of a step, with the tree, shapes and sharding of `like`."""
        return self._load(step, {"model": like})["model"]

    def _load(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        from orbax.checkpoint import PyTreeCheckpointHandler

        folder = self.directory / str(step)
        with self._judged(step):
            for name, tree in like.items():
                # `checkpointables_metadata` would hide every error, also one that passes
                saved = PyTreeCheckpointHandler().metadata(folder / name).tree
                _check_fits(f"{folder}: {name}", saved, tree)
            items = self._checkpointer.load_checkpointables(step, jax.tree.map(_abstract, like))
            crc32 = self._meta(step)["crc32"]
            wrong = [leaf for leaf, value in _crc32(items).items() if crc32.get(leaf) != value]
            if wrong:
                raise Damaged(f"the checksum of {wrong[0]} is wrong")
            return items

    def _meta(self, step: int) -> dict[str, Any]:
        # read as it is: Orbax's own reading takes a file that cannot be read for an empty one
        file = self.directory / str(step) / "_CHECKPOINT_METADATA"
        return json.loads(file.read_text())["custom_metadata"]

    @contextlib.contextmanager
    def _judged(self, step: int) -> Iterator[None]:
        """Raises Damaged for an error of the step's content, a UserError for any other."""
        folder = self.directory / str(step)
        try:
            yield
        except Exception as error:
            if isinstance(error, UserError) and not isinstance(error, Damaged):
                raise
            cause = _chain(error)[-1]
            unread = _unreadable(folder)
            if unread is None and _is_of_content(error):
                raise Damaged(f"step {step} is damaged, in {folder}: {_short(cause)}") from error
            raise UserError(
                f"cannot read {folder}: {_short(unread or cause)}; it may be whole, and nothing was"
                " moved: start again when that is mended, or move the step away to go on without"
            ) from error

    def _set_aside(self, step: int, error: Damaged) -> None:
        self._aside.mkdir(exist_ok=True)
        names = (str(step), *(f"{step}.{number}" for number in range(1, 1000)))
        place = next(self._aside / name for name in names if not (self._aside / name).exists())
        (self.directory / str(step)).rename(place)
        warnings.warn(f"{error}; moved to {place}, trying the one before", stacklevel=2)


class _Kept:
    """Orbax's preservation policy: the latest steps, the best, and any of unknown accuracy."""

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = sorted(c.step for c in checkpoints)
        keep = {*steps[-LATEST:], selection.best(checkpoints, _accuracy).step}
        return [c.step in keep or c.metrics is None for c in checkpoints]


def _accuracy(checkpoint: Any) -> float:
    return -math.inf if checkpoint.metrics is None else checkpoint.metrics["accuracy"]


def _items(carry: Carry) -> dict[str, Any]:
    state, sums = carry
    return {
        "model": {"params": state.params, "batch_stats": state.batch_stats, "ema": state.ema},
        "train": {"opt_state": state.opt_state, "step": state.step, "sums": tuple(sums)},
    }


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _leaves(tree: Any) -> dict[str, Any]:
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}


def _crc32(items: dict[str, Any]) -> dict[str, int]:
    return {
        path: zlib.crc32(np.ascontiguousarray(leaf).tobytes())
        for path, leaf in _leaves(items).items()
    }


def _check_fits(where: str, saved: Any, wanted: Any) -> None:
    # Orbax returns the saved shape without complaint, so the comparison is ours.
    old, new = ({k: tuple(v.shape) for k, v in _leaves(t).items()} for t in (saved, wanted))
    for leaf in sorted(old.keys() | new.keys()):
        if old.get(leaf) != new.get(leaf):
            raise UserError(
                f"{where}/{leaf} has shape {old.get(leaf, 'none (no such leaf)')}; "
                f"the config's model has {new.get(leaf, 'no such leaf')}"
            )


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turns an error of the operating system, also one that TensorStore tells, into a line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not any(isinstance(e, OSError) or OS_ERROR.search(str(e)) for e in _chain(error)):
            raise
        raise UserError(f"{what}: {_short(_chain(error)[-1])}") from error


def _chain(error: BaseException) -> list[BaseException]:
    """Returns the error, what it came of, and so on."""
    chain = [error]
    while found := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(found)
    return chain


def _is_of_content(error: BaseException) -> bool:
    def passes(e: BaseException) -> bool:
        of_system = isinstance(e, OSError) and not isinstance(e, FileNotFoundError)
        return of_system or isinstance(e, MemoryError) or bool(OS_ERROR.search(str(e)))

    def is_content(e: BaseException) -> bool:
        decoding = Damaged, json.JSONDecodeError, UnicodeDecodeError, FileNotFoundError
        return isinstance(e, decoding) or (
            isinstance(e, ValueError) and str(e).startswith(CONTENT)
        )

    chain = _chain(error)
    return any(map(is_content, chain)) and not any(map(passes, chain))


def _unreadable(folder: pathlib.Path) -> OSError | None:
    """Returns the error of reading every file of a folder: what Orbax met may have been hidden."""

    def fail(error: OSError) -> None:
        raise error

    try:
        for parent, _, names in os.walk(folder, onerror=fail):
            for name in names:
                with (pathlib.Path(parent) / name).open("rb") as file:
                    while file.read(2**20):
                        pass
    except OSError as error:
        return error
    return None


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)[:200]}"
