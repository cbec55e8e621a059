"""The leaves of a saved tree of arrays: their paths, checksums and shapes."""

import zlib
from typing import Any

import jax
import numpy as np

from jaxcifar.errors import UserError


def by_path(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths, such as params/head/kernel."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}


def crc32(tree: Any) -> dict[str, int]:
    """Returns the CRC-32 of the bytes of each leaf, by path."""
    return {
        path: zlib.crc32(np.ascontiguousarray(leaf).tobytes())
        for path, leaf in by_path(tree).items()
    }


def find_nonfinite(tree: Any) -> str:
    """Returns the path of the first leaf with a value that is not finite; "" if there is none."""
    return next((p for p, leaf in by_path(tree).items() if not np.isfinite(leaf).all()), "")


def check_fits(where: str, saved: Any, wanted: Any) -> None:
    """Raises a UserError if two trees differ in the path or shape of a leaf.

    Orbax would return the saved shape without complaint.
    """
    old, new = ({k: tuple(v.shape) for k, v in by_path(t).items()} for t in (saved, wanted))
    for leaf in sorted(old.keys() | new.keys()):
        if old.get(leaf) != new.get(leaf):
            raise UserError(
                f"{where}/{leaf} has shape {old.get(leaf, 'none (no such leaf)')}; "
                f"the config's model has {new.get(leaf, 'no such leaf')}"
            )
