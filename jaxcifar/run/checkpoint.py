"""Checkpoints of a run: the only module that knows Orbax.

Each step has the items `model` {params, batch_stats, ema} and `train` {opt_state, step, sums}, and
JSON: the config, class names, mean/std, versions, and a CRC-32 of every leaf, because a flipped
bit in a data file would otherwise load silently. The two latest steps and the best are kept.
"""

import contextlib
import json
import math
import pathlib
import warnings
import zlib
from collections.abc import Container, Sequence
from typing import Any, Protocol, Self, TypeVar

import jax
import numpy as np

from jaxcifar.errors import UserError
from jaxcifar.run import damage, selection
from jaxcifar.system import devices

DIRECTORY, DAMAGED = "steps", "damaged"
RELEASED = "released"  # in the JSON of a step that has no item `train`
NO_ACCURACY = -1.0  # below all there are, and JSON
LATEST = 2  # so that one damaged file never costs a run


class Saveable(Protocol):
    """What training carries from step to step, as the named items of a checkpoint and back.

    The items are `model` {params, batch_stats, ema} and `train` {opt_state, step, sums}.
    """

    def to_items(self) -> dict[str, Any]:
        """Returns the items, trees of arrays."""

    def from_items(self, items: dict[str, Any]) -> Self:
        """Returns the same kind of thing with the arrays of the items."""


S = TypeVar("S", bound=Saveable)


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
        with damage.as_user_error(f"cannot read {self.directory}"):
            for folder in self.directory.glob("*"):
                try:
                    _check_metrics(folder)
                except damage.Damaged as error:
                    if not writing:
                        raise
                    self._set_aside(int(folder.name), error)
            self._checkpointer = ocp.training.Checkpointer(
                self.directory, preservation_policy=_Kept(), cleanup_tmp_directories=writing
            )
            self._inode = self.directory.stat().st_ino

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            self.wait()
            self._checkpointer.close()
        except Exception:
            if kind is None:  # else it is what led here, once more
                raise

    def wait(self) -> None:
        """Waits until the last save is on disk."""
        if self._saving is not None:
            saving, self._saving = self._saving, None
            with damage.as_user_error(f"cannot save in {self.directory}"):
                try:
                    saving.result()
                except Exception:
                    self._check_place()
                    raise

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

    def save(self, carry: Saveable, meta: dict[str, Any], accuracy: float | None) -> None:
        """Starts saving; waits first for the save before. A step saved already is left alone."""
        self.wait()
        self._check_place()
        items = carry.to_items()
        step = int(items["train"]["step"])
        if step in self.steps():
            return
        self._save(step, items, meta, accuracy)

    def release(
        self, step: int, model: dict[str, Any], meta: dict[str, Any], accuracy: float | None
    ) -> None:
        """Saves the item `model` alone, from which no training can go on."""
        self._save(step, {"model": model}, {**meta, RELEASED: True}, accuracy)
        self.wait()

    def _save(
        self, step: int, items: dict[str, Any], meta: dict[str, Any], accuracy: float | None
    ) -> None:
        with damage.as_user_error(f"cannot save in {self.directory}"):
            self._saving = self._checkpointer.save_checkpointables_async(
                step,
                items,
                force=True,
                metrics={"accuracy": max(selection.finite(accuracy), NO_ACCURACY)},
                custom_metadata=damage.sealed({**meta, "crc32": _crc32(items)}),
            )

    def meta(self, step: int) -> dict[str, Any]:
        """Returns the JSON saved with a step."""
        self.wait()
        with damage.classify_read_error(self._folder(step)):
            return self._meta(step)

    def restore_latest(self, like: S) -> S | None:
        """Returns the latest step that is whole, placed as `like` is; None where none was saved.

        `like` has arrays, or their shapes, types and places. A damaged step is moved to
        `damaged/` with a warning, and the one before is tried. So is one that this program cannot
        make sense of, once it has read another.

        Raises:
          UserError: a step cannot be read, does not fit `like`, or none is left undamaged.
        """
        self.wait()
        strange: list[tuple[int, damage.Strange]] = []
        for step in reversed(self.steps()):
            try:
                items = self._load(step, like.to_items())
            except damage.Damaged as error:
                self._set_aside(step, error)
                self._checkpointer.reload()
                continue
            except damage.Strange as error:
                strange.append((step, error))
                continue
            for other, unread in strange:
                self._set_aside(other, unread.damaged)
                self._checkpointer.reload()
            return like.from_items(items)
        if strange:
            raise strange[0][1]
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
        folder = self._folder(step)
        with damage.classify_read_error(folder):
            meta = self._meta(step)
            if meta.get(RELEASED) and "train" in like:
                raise UserError(
                    f"{folder} was released, without what training goes on from; choose another"
                    " --workdir"
                )
            crc32 = meta["crc32"]
            for name, tree in like.items():
                saved = _saved_tree(folder / name, crc32)
                _check_fits(f"{folder}: {name}", saved, tree)
            items = self._checkpointer.load_checkpointables(step, jax.tree.map(_abstract, like))
            wrong = [leaf for leaf, value in _crc32(items).items() if crc32.get(leaf) != value]
            if wrong:
                raise damage.Wrong(f"the checksum of {wrong[0]} is wrong")
            return items

    def _meta(self, step: int) -> dict[str, Any]:
        # read as it is: Orbax's own reading takes a file that cannot be read for an empty one
        file = self._folder(step) / "_CHECKPOINT_METADATA"
        return damage.unsealed(json.loads(file.read_text()))

    def _check_place(self) -> None:
        """Raises a UserError where the folder is gone, which a save would silently make anew."""
        if not self.directory.is_dir() or self.directory.stat().st_ino != self._inode:
            raise UserError(
                f"{self.directory} was moved or deleted while training; put it back, and the same"
                " command goes on"
            )

    def _folder(self, step: int) -> pathlib.Path:
        return self.directory / str(step)

    def _set_aside(self, step: int, error: damage.Damaged) -> None:
        devices.barrier("damaged")  # all have seen it
        if devices.is_leader():
            self._move_aside(step, error)
        devices.barrier("moved")

    def _move_aside(self, step: int, error: damage.Damaged) -> None:
        self._aside.mkdir(exist_ok=True)
        names = (str(step), *(f"{step}.{number}" for number in range(1, 1000)))
        place = next(self._aside / name for name in names if not (self._aside / name).exists())
        (self._folder(step)).rename(place)
        warnings.warn(f"{error}; moved to {place}, trying the one before", stacklevel=2)


class _Kept:
    """Orbax's preservation policy: the latest steps, the best, and any of unknown accuracy."""

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = sorted(c.step for c in checkpoints)
        keep = {*steps[-LATEST:], selection.best(checkpoints, _accuracy).step}
        return [c.step in keep or c.metrics is None for c in checkpoints]


def _check_metrics(folder: pathlib.Path) -> None:
    """Raises Damaged where Orbax would end on the step's metrics, even in listing the steps."""
    if folder.name.isdigit():  # not one of a save that was killed
        with damage.classify_read_error(folder), contextlib.suppress(FileNotFoundError):
            metrics = json.loads((folder / "metrics" / "metrics").read_text())
            if not isinstance(metrics, dict) or type(metrics.get("accuracy")) not in (int, float):
                raise damage.Wrong(f"metrics: {metrics!r}")


def _accuracy(checkpoint: Any) -> float:
    return -math.inf if checkpoint.metrics is None else checkpoint.metrics["accuracy"]


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


def _saved_tree(folder: pathlib.Path, saved: Container[str]) -> Any:
    """Returns the tree of an item's shapes, whose leaves must be those that were saved."""
    from orbax.checkpoint import PyTreeCheckpointHandler

    # `checkpointables_metadata` would hide every error, also one that passes
    tree = PyTreeCheckpointHandler().metadata(folder).tree
    if strange := [leaf for leaf in _leaves(tree) if f"{folder.name}/{leaf}" not in saved]:
        raise damage.Wrong(f"{folder.name}/_METADATA names a leaf {strange[0]}")
    return tree


def _check_fits(where: str, saved: Any, wanted: Any) -> None:
    # Orbax returns the saved shape without complaint, so the comparison is ours.
    old, new = ({k: tuple(v.shape) for k, v in _leaves(t).items()} for t in (saved, wanted))
    for leaf in sorted(old.keys() | new.keys()):
        if old.get(leaf) != new.get(leaf):
            raise UserError(
                f"{where}/{leaf} has shape {old.get(leaf, 'none (no such leaf)')}; "
                f"the config's model has {new.get(leaf, 'no such leaf')}"
            )
