"""Writes the weights of a run as a file that other programs read.

python -m jaxcifar.export --checkpoint=DIR --to=safetensors|jax|torch --out=FILE
    [--step=latest|best|N]
"""

from jaxcifar import errors

if __name__ == "__main__":
    errors.leave_on_interrupt()  # what follows takes seconds to import

import io
import json
import os
import pathlib
from collections.abc import Callable

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxcifar import backend, exchange, files, models, predict
from jaxcifar import config as configs
from jaxcifar.errors import UserError
from jaxcifar.run import damage
from jaxcifar.training.step import forward

PLATFORMS = ("cpu", "cuda")


def to_safetensors(net: predict.Net) -> bytes:
    """Returns the weights as safetensors: names such as params/conv/kernel, layouts as in Flax.

    The metadata have `config`, `class_names`, `mean` and `std` as JSON, and `step`.
    """
    import safetensors.numpy

    flat = traverse_util.flatten_dict(net.variables, sep="/")
    config = net.parts.config.copy_and_resolve_references()
    config.data.dir = ""  # as nobody else's business
    metadata = {
        "config": configs.to_json(config),
        "class_names": json.dumps(net.class_names),
        "mean": json.dumps(config.augment.mean),
        "std": json.dumps(config.augment.std),
        "step": str(net.step),
    }
    tensors = {name: np.ascontiguousarray(leaf) for name, leaf in flat.items()}
    return safetensors.numpy.save(tensors, metadata)


def to_jax(net: predict.Net) -> bytes:
    """Returns a serialized `jax.export` program, the weights and the normalisation inside.

    It takes uint8 images [B, 32, 32, 3] of any B to probabilities [B, num_classes], float32, on
    each of `PLATFORMS`.
    """
    config = net.parts.config
    # on no platform in particular: what is faster on one is not chosen for all
    model = models.build(config.model, models.dtype(config.compute_dtype), "")
    variables = jax.tree.map(np.asarray, net.variables)

    def probabilities(images: jax.Array) -> jax.Array:
        logits, _ = forward(
            variables,
            images,
            model=model,
            augment=net.parts.augment,
            views=net.parts.evaluation.views,
        )
        return jax.nn.softmax(logits)

    shape = jax.export.symbolic_shape("batch, 32, 32, 3")
    images = jax.ShapeDtypeStruct(shape, jnp.uint8)
    exported = jax.export.export(jax.jit(probabilities), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())


def to_torch(net: predict.Net) -> bytes:
    """Returns a PyTorch state_dict as `torch.save` writes one, names as `exchange.table`'s."""
    torch = exchange.pytorch()
    tensors = exchange.to_torch(net.parts.config.model, net.variables)
    file = io.BytesIO()
    torch.save({name: torch.tensor(tensor) for name, tensor in tensors.items()}, file)
    return file.getvalue()


FORMATS: dict[str, Callable[[predict.Net], bytes]] = {
    "safetensors": to_safetensors,
    "jax": to_jax,
    "torch": to_torch,
}


def export(source: pathlib.Path, step: str, to: str, out: pathlib.Path) -> int:
    """Writes a step of the run in `source` to the file `out`; returns how many bytes.

    Raises:
      UserError: `out` exists or cannot be written; no such run or step; or PyTorch is needed and
        not there.
    """
    if os.path.lexists(out):
        raise UserError(f"--out={out} exists; choose a file that does not")
    if to == "torch":
        exchange.pytorch()  # its absence is told before anything long
    files.writable(out.parent, "the folder of --out,")
    content = FORMATS[to](predict.load(source, step))
    with damage.told(f"cannot write to --out {out}"), files.replacing(out) as file:
        file.write(content)
    return len(content)


def main() -> None:
    """Runs the command."""
    parser = errors.command_parser("export", "Writes the weights of a run for other programs.")
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="the run's workdir")
    parser.add_argument("--step", default="latest", help="N, best or latest (default: latest)")
    parser.add_argument("--to", required=True, choices=FORMATS)
    parser.add_argument("--out", required=True, type=pathlib.Path, metavar="FILE", help="a new one")
    arguments = parser.parse_args()
    backend.configure()
    source, out = pathlib.Path(arguments.checkpoint), arguments.out
    size = export(source, arguments.step, arguments.to, out)
    print(f"wrote {out} ({arguments.to}, {size / 2**20:.1f} MB)")


if __name__ == "__main__":
    errors.run_command(main)
