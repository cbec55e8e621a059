"""Checkpoints of a run. Only this module uses Orbax.

Each step has the items `model` {params, batch_stats, ema} and `train` {opt_state, step, sums}, and
JSON metadata: the config, class names, mean and std, versions, and a CRC-32 of every leaf. Its
manifest, with the checksum of every file, is written last. A step that differs from its manifest is
damaged. After any other error in loading a step, the step is left in place. The two latest steps
and the best are kept.
"""

import contextlib
import math
import pathlib
import warnings
from collections.abc import Container, Iterator, Sequence
from typing import Any, Protocol, Self, TypeVar

import jax

from jaxcifar.errors import UserError
from jaxcifar.run import damage, leaves, manifest, metadata, selection
from jaxcifar.run import workdir as workdirs
from jaxcifar.system import devices, files, json_files

DAMAGED = "damaged"  # the folder of damaged steps, in the workdir
RELEASED = "released"  # key in the metadata of a step that lacks the item `train`
NO_ACCURACY = -1.0  # below every accuracy, and valid JSON
LATEST = 2  # latest steps to keep, so that one damaged file never costs a run


class Saveable(Protocol):
    """A training state that converts to and from the items of a checkpoint."""

    def to_items(self) -> dict[str, Any]:
        """Returns the items `model` and `train`, trees of arrays."""

    def from_items(self, items: dict[str, Any]) -> Self:
        """Returns a state of the same structure with the arrays of the items."""


S = TypeVar("S", bound=Saveable)


class Checkpoints:
    """The steps saved in `workdir`/steps; a context manager that waits for the last save.

    `writing=True` is for the one command that may write there: training (in all of its processes),
    release or import_torch. It creates the folder, removes incomplete saves of a killed run and
    moves damaged steps to `workdir`/damaged.

    Raises:
      UserError: the folder cannot be read, does not exist (unless `writing`), or has a path that
        Orbax would take for a pattern (if `writing`).
    """

    def __init__(self, workdir: pathlib.Path, *, writing: bool = False):
        from orbax.checkpoint import v1 as ocp  # takes a second to import

        self.directory = workdirs.resolve(workdir) / workdirs.STEPS
        self._aside = self.directory.parent / DAMAGED
        self._saving: tuple[int, Any] | None = None  # a step and its unfinished save
        self._verified: set[int] = set()  # steps that match their manifest or have none
        if writing:
            workdirs.check_path(workdir)
        if not (writing or self.directory.is_dir()):
            raise UserError(f"no checkpoint in {workdir}; train first")
        with damage.reporting(f"cannot read {self.directory}"):
            for step in sorted(map(int, workdirs.list_steps(self.directory.parent))):
                self._check_listed(step, writing)
            self._checkpointer = ocp.training.Checkpointer(
                self.directory,
                preservation_policy=_KeepLatestAndBest(),
                cleanup_tmp_directories=writing,
            )
            self._inode = self.directory.stat().st_ino

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            self.wait()
            self._checkpointer.close()
        except Exception:
            if kind is None:  # after another error, this one is probably the same
                raise

    def wait(self) -> None:
        """Waits until the last save is on disk, and writes its manifest."""
        if self._saving is not None:
            (step, saving), self._saving = self._saving, None
            with damage.reporting(f"cannot save in {self.directory}"):
                try:
                    saving.result()
                    if devices.is_leader():
                        manifest.write_manifest(self._folder(step))
                except Exception:
                    self._check_folder()
                    raise

    def steps(self) -> list[int]:
        """Returns the saved steps in ascending order."""
        return sorted(c.step for c in self._checkpointer.checkpoints)

    def find_step(self, name: str) -> int:
        """Returns the saved step for "best", "latest" or the text of a number.

        Raises:
          UserError: there is no such step.
        """
        steps = self.steps()
        if not steps:
            raise UserError(f"no checkpoint in {self.directory.parent}; train first")
        if name == "latest":
            return steps[-1]
        if name == "best":
            return selection.best(self._checkpointer.checkpoints, _accuracy).step
        if name not in map(str, steps):
            saved = ", ".join(map(str, steps))
            raise UserError(f"step {name} is not saved; expected best, latest or one of {saved}")
        return int(name)

    def save(self, state: Saveable, meta: dict[str, Any], accuracy: float | None) -> None:
        """Waits for the previous save and starts the next; skips a step that is already saved."""
        self.wait()
        self._check_folder()
        items = state.to_items()
        step = int(items["train"]["step"])
        if step in self.steps():
            return
        self._save(step, items, meta, accuracy)

    def release(
        self, step: int, model: dict[str, Any], meta: dict[str, Any], accuracy: float | None
    ) -> None:
        """Saves only the item `model`, which is enough for evaluation but not for training."""
        self._save(step, {"model": model}, {**meta, RELEASED: True}, accuracy)
        self.wait()

    def _save(
        self, step: int, items: dict[str, Any], meta: dict[str, Any], accuracy: float | None
    ) -> None:
        with damage.reporting(f"cannot save in {self.directory}"):
            saving = self._checkpointer.save_checkpointables_async(
                step,
                items,
                force=True,
                metrics={"accuracy": max(selection.rankable(accuracy), NO_ACCURACY)},
                custom_metadata=metadata.sealed({**meta, "crc32": leaves.crc32(items)}),
            )
            self._saving = step, saving

    def meta(self, step: int) -> dict[str, Any]:
        """Returns the JSON metadata of a step."""
        self.wait()
        with self._reading(step):
            return metadata.printable(metadata.read(self._folder(step)))

    def restore_latest(self, like: S) -> S | None:
        """Returns the state of the latest intact step; None if no step was ever saved.

        `like` gives the structure: arrays, or their shapes, types and shardings. A step that
        differs from its manifest is moved to `damaged/` with a warning, and the step before it is
        tried. A step without a manifest is never moved: it is from an older version, or the run was
        killed before writing it.

        Raises:
          UserError: a step cannot be read or does not fit `like`, or all steps are damaged.
        """
        self.wait()
        for step in reversed(self.steps()):
            try:
                return like.from_items(self._load(step, like.to_items()))
            except damage.Damaged as error:
                self._set_aside(step, error)
                self._checkpointer.reload()
        if self._aside.is_dir() and (found := sorted(f.name for f in self._aside.iterdir())):
            raise UserError(
                f"no intact step is left in {self.directory}; the damaged steps"
                f" ({', '.join(found)}) are in {self._aside}: to train again from the start, move"
                " that folder away"
            )
        return None

    def restore_model(
        self, step: int, like: dict[str, Any] | jax.sharding.Sharding
    ) -> dict[str, Any]:
        """Returns the item `model` of a step.

        `like` gives the tree, shapes and shardings of the model. If `like` is only a sharding, any
        saved tree is returned.

        Raises:
          UserError: the step cannot be read or does not fit `like`, or a weight is not finite.
        """
        if isinstance(like, jax.sharding.Sharding):
            folder = self._folder(step)
            with self._reading(step):
                saved = _saved_tree(folder / "model", metadata.read(folder)["crc32"])
            like = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=like), saved
            )
        model = self._load(step, {"model": like})["model"]
        if name := leaves.find_nonfinite(model):
            raise UserError(
                f"the weights in {self._folder(step)} are not finite ({name}): the run has"
                " diverged; choose another --step, or train with a lower learning rate"
            )
        return model

    def _load(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        folder = self._folder(step)
        with self._reading(step):
            meta = metadata.read(folder)
            if meta.get(RELEASED) and "train" in like:
                raise UserError(
                    f"{folder} was released without its training state, or imported; choose another"
                    f" --workdir, and start from these weights with --init_from={folder.parents[1]}"
                )
            crc32 = meta["crc32"]
            sizes = (leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(like))
            held = sum(file.stat().st_size for file in folder.rglob("*"))
            files.check_claim(folder, sum(sizes), held)
            for name, tree in like.items():
                saved = _saved_tree(folder / name, crc32)
                leaves.check_fits(f"{folder}: {name}", saved, tree)
            items = self._checkpointer.load_checkpointables(step, jax.tree.map(_abstract, like))
            wrong = [
                leaf for leaf, value in leaves.crc32(items).items() if crc32.get(leaf) != value
            ]
            if wrong:
                raise damage.ContentError(f"the checksum of {wrong[0]} is wrong")
            return items

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        """Turns a read error into a UserError, which is `Damaged` if the files have changed."""
        folder = self._folder(step)
        if step not in self._verified:
            with damage.reporting(f"cannot read {folder}"):
                if difference := manifest.mismatch(folder):
                    raise damage.Damaged(folder, difference)
            self._verified.add(step)
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"cannot read {folder}: {damage.describe(error)}; the step was left in place:"
                " remove the cause, restore the step from a copy, or move its folder away to use"
                " the step before it"
            ) from error

    def _check_listed(self, step: int, writing: bool) -> None:
        """Sets a damaged step aside if it would keep Orbax from listing any step.

        Raises:
          UserError: the step cannot be read, or is damaged and `writing` is False.
        """
        try:
            metadata.check_listed(self._folder(step))
        except Exception:
            try:
                with self._reading(step):  # asks the manifest first
                    raise
            except damage.Damaged as error:
                if not writing:
                    raise
                self._set_aside(step, error)

    def _check_folder(self) -> None:
        """Raises a UserError if the folder is gone, which a save would silently create again."""
        if not self.directory.is_dir() or self.directory.stat().st_ino != self._inode:
            raise UserError(
                f"{self.directory} was moved or deleted while training; put it back and run the"
                " same command to continue"
            )

    def _folder(self, step: int) -> pathlib.Path:
        return self.directory / str(step)

    def _set_aside(self, step: int, error: damage.Damaged) -> None:
        devices.barrier("damaged")  # wait until every process has read the step
        if devices.is_leader():
            self._aside.mkdir(exist_ok=True)
            names = (str(step), *(f"{step}.{number}" for number in range(1, 1000)))
            place = next(self._aside / name for name in names if not (self._aside / name).exists())
            self._folder(step).rename(place)
            warnings.warn(f"{error}; moved to {place}, trying the step before it", stacklevel=2)
        devices.barrier("moved")


class _KeepLatestAndBest:
    """Orbax policy that keeps the latest steps, the best, and any without metrics."""

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = sorted(c.step for c in checkpoints)
        keep = {*steps[-LATEST:], selection.best(checkpoints, _accuracy).step}
        return [c.step in keep or c.metrics is None for c in checkpoints]


def _accuracy(checkpoint: Any) -> float:
    return -math.inf if checkpoint.metrics is None else checkpoint.metrics["accuracy"]


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _saved_tree(folder: pathlib.Path, saved: Container[str]) -> Any:
    """Returns the tree of shapes of an item after checking that its leaves are in `saved`."""
    from orbax.checkpoint import PyTreeCheckpointHandler

    for name in ("_METADATA", "_sharding", "array_metadatas/process_0"):
        with contextlib.suppress(FileNotFoundError):
            json_files.read(folder / name, {})  # Orbax would not limit its depth
    # `checkpointables_metadata` would hide every error, including temporary ones.
    tree = PyTreeCheckpointHandler().metadata(folder).tree
    if unknown := [leaf for leaf in leaves.by_path(tree) if f"{folder.name}/{leaf}" not in saved]:
        raise damage.ContentError(f"{folder.name}/_METADATA has an unknown leaf {unknown[0]}")
    return tree
