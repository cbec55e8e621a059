"""jaxcifar: a CIFAR-10 laboratory in JAX."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    import pathlib

    from jaxcifar.weights.net import Net


def load(checkpoint: str | pathlib.Path, step: str | int = "latest") -> Net:
    """Returns the net of the run in the folder `checkpoint`: see `jaxcifar.predict.load`."""
    from jaxcifar.weights import net  # here, so that importing the package stays light

    return net.load_net(checkpoint, step)
