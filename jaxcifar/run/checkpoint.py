"""Checkpoints of a run: the only module that knows Orbax.

Each step has the items `model` {params, batch_stats, ema} and `train` {opt_state, step, sums}, and
JSON: the config, class names, mean/std, versions, and a CRC-32 of every leaf, because a flipped
bit in a data file would otherwise load silently. The latest step and the best are kept.
"""

import math
import pathlib
import warnings
import zlib
from typing import Any

import jax
import numpy as np

from jaxcifar.errors import UserError
from jaxcifar.training.losses import Sums
from jaxcifar.training.state import Carry, State

DIRECTORY = "steps"


class Checkpoints:
    """The steps saved under `workdir`/steps. Use with `with`: leaving waits for the last save.

    Only the run that trains is `writing`: it clears what a killed save left half done.
    """

    def __init__(self, workdir: pathlib.Path, *, writing: bool = False):
        from orbax.checkpoint import v1 as ocp  # a second to import

        policies = ocp.training.preservation_policies
        best = policies.BestN(get_metric_fn=lambda metrics: metrics["accuracy"], n=1)
        self.directory = workdir.resolve() / DIRECTORY
        self._saving: Any = None
        self._checkpointer = ocp.training.Checkpointer(
            self.directory,
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(1), best]),
            cleanup_tmp_directories=writing,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self.wait()
        self._checkpointer.close()

    def wait(self) -> None:
        """Waits until the last save is on disk."""
        if self._saving is not None:
            self._saving.result()
            self._saving = None

    def steps(self) -> list[int]:
        """Returns the saved steps in ascending order."""
        return sorted(c.step for c in self._checkpointer.checkpoints)

    def best_step(self) -> int:
        """Returns the step of the highest accuracy."""
        return max(
            self._checkpointer.checkpoints, key=lambda c: (c.metrics["accuracy"], c.step)
        ).step

    def save(self, carry: Carry, meta: dict[str, Any], accuracy: float) -> None:
        """Starts saving; waits first for the save before. A step saved already is left alone."""
        self.wait()
        step = int(carry.state.step)
        if step in self.steps():
            return
        items = _items(carry)
        # BestN would drop a good step for one whose metric is NaN.
        finite = accuracy if math.isfinite(accuracy) else -math.inf
        self._saving = self._checkpointer.save_checkpointables_async(
            step,
            items,
            force=True,
            metrics={"accuracy": float(finite)},
            custom_metadata={**meta, "crc32": _crc32(items)},
        )

    def meta(self, step: int) -> dict[str, Any]:
        """Returns the JSON saved with a step."""
        self.wait()
        meta = self._checkpointer.metadata(step).custom_metadata
        assert isinstance(meta, dict)
        return meta

    def restore_latest(self, like: Carry) -> Carry | None:
        """Returns the latest step that is whole, placed as `like` is; None where there is none.

        A damaged step is moved to `damaged/` with a warning, and the one before is tried.
        """
        for step in reversed(self.steps()):
            try:
                items = self._load(step, _items(like))
            except UserError:
                raise
            except Exception as error:  # Orbax raises many types on a damaged file
                self._set_aside(step, error)
                continue
            model, train = items["model"], items["train"]
            state = State(step=train["step"], opt_state=train["opt_state"], **model)
            return Carry(state, Sums(*train["sums"]))
        return None

    def restore_model(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        """Returns the item `model` of a step, with the tree, shapes and sharding of `like`."""
        try:
            return self._load(step, {"model": like})["model"]
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self.directory / str(step)} is damaged: {_first(error)}") from error

    def _load(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        saved = self._checkpointer.checkpointables_metadata(step).metadata
        for name, tree in like.items():
            if saved.get(name) is None:  # damaged, which is not the same as a misfit
                raise ValueError(f"the metadata of {name} cannot be read")
            _check_fits(f"{self.directory / str(step)}: {name}", saved[name], tree)
        target = jax.tree.map(_abstract, like)
        items = self._checkpointer.load_checkpointables(step, target)
        crc32 = self.meta(step)["crc32"]
        wrong = [leaf for leaf, value in _crc32(items).items() if crc32[leaf] != value]
        if wrong:
            raise ValueError(f"the checksum of {wrong[0]} is wrong")
        return items

    def _set_aside(self, step: int, error: Exception) -> None:
        folder = self.directory.parent / "damaged"
        folder.mkdir(exist_ok=True)
        names = (str(step), *(f"{step}.{number}" for number in range(1, 1000)))
        place = next(folder / name for name in names if not (folder / name).exists())
        (self.directory / str(step)).rename(place)
        self._checkpointer.reload()
        warnings.warn(
            f"step {step} is damaged ({_first(error)}); moved to {place}, trying the one before",
            stacklevel=2,
        )


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


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
