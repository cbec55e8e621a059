"""jaxcifar: a CIFAR-10 laboratory in JAX."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    import pathlib

    from jaxcifar.weights.net import Net


def load(checkpoint: str | pathlib.Path, step: str | int = "latest") -> Net:
    """Returns the net of the run in the folder `checkpoint`: see `weights.net.load_net`."""
    from jaxcifar.weights import net  # here, because JAX takes seconds to import

    return net.load_net(checkpoint, step)
