"""Makes a checkpoint of a PyTorch state_dict, such as those of the common CIFAR ResNets.

python -m jaxcifar.import_torch FILE --config=PAGE [--workdir=DIR] [--config.KEY=VALUE ...]
"""

from jaxcifar import errors

if __name__ == "__main__":
    errors.leave_on_interrupt()  # what follows takes seconds to import

import hashlib
import io
import os
import pathlib
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcifar import backend, exchange, experiment, overrides, release, train
from jaxcifar import config as configs
from jaxcifar.data import cifar10
from jaxcifar.errors import UserError
from jaxcifar.run import damage, provenance
from jaxcifar.training import parallel

WITHIN = "state_dict"  # where many keep it, beside the epoch and the like
PARALLEL = "module."  # what torch.nn.DataParallel puts before each name
COUNTER = ".num_batches_tracked"  # of PyTorch's BatchNorm, which has no use of it


def read(file: pathlib.Path, content: bytes) -> dict[str, np.ndarray]:
    """Returns the tensors of a state_dict by name, float32, without `module.` before the names.

    No code is run: of a pickle nothing but tensors, numbers, texts and their containers is made.

    Raises:
      UserError: there is anything else in it, or no state_dict; or PyTorch is not installed.
    """
    torch = exchange.pytorch()
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # of damaged bytes it may raise anything
        raise UserError(
            f"{file} holds more than weights, or is not PyTorch's, and was not loaded (no code in"
            " it was run); expected what torch.save(net.state_dict(), FILE) writes"
        ) from error
    found = loaded.get(WITHIN, loaded) if isinstance(loaded, dict) else None
    if not (isinstance(found, dict) and found and all(isinstance(name, str) for name in found)):
        raise UserError(f"{file} holds no state_dict; expected one, alone or under {WITHIN!r}")
    found = {name: tensor for name, tensor in found.items() if not name.endswith(COUNTER)}
    for name, tensor in found.items():
        if not (isinstance(tensor, torch.Tensor) and tensor.is_floating_point()):
            kind = getattr(tensor, "dtype", type(tensor).__name__)
            raise UserError(f"{file} holds {name} of type {kind}; expected tensors of floats")
    before = PARALLEL if all(name.startswith(PARALLEL) for name in found) else ""
    return {
        name.removeprefix(before): tensor.detach().float().numpy() for name, tensor in found.items()
    }


def import_torch(file: pathlib.Path, config: ConfigDict, out: pathlib.Path) -> dict[str, Any]:
    """Writes the state_dict in `file` to the new folder `out` as step 0 of a run of `config`.

    Returns {params, batch_stats, ema}; where the config has averaged weights, they are the same.

    Raises:
      UserError: `out` exists or cannot be written; the file cannot be read; or its weights are
        not those of `config.model`.
    """
    if os.path.lexists(out):
        raise UserError(f"--workdir={out} exists; choose a folder that does not")
    parts = experiment.build(config)
    with damage.told(f"cannot read {file}"):
        content = file.read_bytes()
    tensors = read(file, content)
    like = parts.abstract_model()
    variables = {name: like[name] for name in ("params", "batch_stats")}
    model = exchange.from_torch(config.model, variables, tensors)
    model["ema"] = None if like["ema"] is None else model["params"]
    model = jax.tree.map(lambda leaf, one: jax.device_put(leaf, one.sharding), model, like)
    if config.data.source == "cifar10":  # without the data
        class_names = cifar10.CLASS_NAMES
    else:
        class_names = experiment.load_data(config).class_names
    meta = {
        "config": configs.to_json(config),
        "class_names": list(class_names),
        "mean": list(config.augment.mean),
        "std": list(config.augment.std),
        "data": {"source": "unknown", "checksum": ""},
        "imported": {"file": file.name, "sha256": hashlib.sha256(content).hexdigest()},
        "device": parallel.describe(parts.mesh),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "date": time.strftime("%Y-%m-%d"),
    }
    with damage.told(f"cannot write to --workdir {out}"):
        release.write(out, 0, model, meta, None)
    return model


def main() -> None:
    """Runs the command."""
    parser = errors.command_parser(
        "import_torch",
        "Makes a checkpoint of a PyTorch state_dict.",
        epilog="Any value of the config is set by --config.KEY=VALUE, such as"
        " --config.model.depth=32 or --config.augment.mean=0.485,0.456,0.406.",
    )
    parser.add_argument("file", type=pathlib.Path, metavar="FILE", help="what torch.save wrote")
    parser.add_argument("--config", required=True, metavar="FILE.py[:VARIANT]", help="the page")
    parser.add_argument("--workdir", type=pathlib.Path, help="a new one; default: checkpoints/FILE")
    known, words = parser.parse_known_args()
    backend.configure()
    out = known.workdir or pathlib.Path("checkpoints", known.file.stem)
    config = overrides.load(known.config, words)
    model = import_torch(known.file, config, out)
    size = experiment.describe_parameters(model["params"])
    print(f"{known.file.name} is in {out}: {config.model.name}, {size}")
    mean, std = (", ".join(map(str, config.augment[key])) for key in ("mean", "std"))
    print(f"images will have mean {mean} and std {std}: must be those of the weights' training")
    print(f"next: {train.command('evaluate', f'--checkpoint={out}')}")


if __name__ == "__main__":
    errors.run_command(main)
