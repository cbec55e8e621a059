"""Whether the devices that are there compute what one CPU computes: the same five steps on both.

python benchmarks/agree.py [--config=PAGE …] [--out=DIR] [--config.KEY=VALUE ...]

Every system, from the same start on the same synthetic images, with its own dropout and
augmentation, whose bits are the same on every device: in float32 (with products in full precision,
and as it is trained, which on a GPU is TF32) and in bfloat16. Prints a table and keeps it in
DIR/agree-DEVICE.json; exit status 2 where something is further apart than it may be.
"""

import argparse
import pathlib
import sys
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package need not be installed

from speed_tables import table

from jaxcifar.config import (
    files,
    overrides,
)
from jaxcifar.errors import UserError
from jaxcifar.run import (
    provenance,
    workdir,
)
from jaxcifar.system import (
    backend,
    devices,
)
from jaxcifar.system.command import run_command
from jaxcifar.training import experiment
from jaxcifar.training.state import Carry

PAGES = (
    *("adaptive.py", "adaptive_softmax.py", "adaptive_prelu.py", "pooled_cnn.py"),
    *("simple_cnn.py:batchnorm", "resnet20.py", "speedrun.py"),
)
STEPS = 5  # an epoch of so many
# How far the mean loss of the steps and the way that the parameters have gone may be apart, as a
# share of themselves. Adam, ReLU and BatchNorm carry a rounding far: with the batch split over two
# CPU devices a step's loss ends up to 0.0014 away in float32 and 0.006 in bfloat16, the parameters
# 0.05 and 0.17.
FULL, TRAINED, HALF = "float32", "float32 as trained", "bfloat16"
MAY_DIFFER = {FULL: (0.01, 0.1), TRAINED: (0.03, 0.4), HALF: (0.05, 0.7)}


def train(config: ConfigDict, mesh: Mesh, start: Carry | None = None) -> tuple[Carry, Carry]:
    """Returns the start, made here where none is given, and what comes of it, on the host."""
    parts = experiment.build_experiment(config, mesh=mesh)
    split = experiment.load_data(config).train
    split = type(split)(*(array[: STEPS * config.batch_size] for array in split))
    optimizer, _ = parts.optimizer(STEPS)
    if start is None:
        start = jax.device_get(parts.start(optimizer, split.images))
    loop = parts.train_loop(split, optimizer)
    end = loop.run(devices.place(start, mesh), lambda *_: True)
    return start, jax.device_get(end)


def compare(page: str, kind: str, words: list[str]) -> dict[str, Any]:
    """Returns both sides' losses, and how far apart they and the parameters are."""
    dtype = HALF if kind == HALF else "float32"
    words = [f"--config.compute_dtype={dtype}", "--config.data.source=synthetic", *words]
    config = overrides.load_config(page, words)
    one = Mesh(np.array(jax.devices("cpu")[:1]), ("batch",), axis_types=(AxisType.Auto,))
    with jax.default_matmul_precision("highest" if kind == FULL else "default"):
        start, expected = train(config, one)
        _, found = train(config, devices.make_mesh(config.batch_size), start)
    loss, expected_loss = (end.sums.means()["loss"] for end in (found, expected))
    apart = abs(loss / expected_loss - 1)
    way, gone = (
        optax.tree.norm(optax.tree.sub(end.state.params, other))
        for end, other in ((found, expected.state.params), (expected, start.state.params))
    )
    share = float(way / gone)
    return {
        "config": files.config_name(page),
        "dtype": kind,
        "loss": loss,
        "loss_of_cpu": expected_loss,
        "loss_apart": apart,
        "way_apart": share,
        "agree": apart <= MAY_DIFFER[kind][0] and share <= MAY_DIFFER[kind][1],
    }


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", action="append", metavar="PAGE", help="default: all systems")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "results")
    options, words = parser.parse_known_args()
    backend.configure()
    try:
        jax.devices("cpu")
    except RuntimeError as error:
        raise UserError("jax may not use the CPU here; expected JAX_PLATFORMS unset") from error
    described = devices.describe(devices.make_mesh(jax.device_count()))
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out / f"agree-{jax.local_devices()[0].device_kind.lower().replace(' ', '-')}.json"
    record = {
        "devices": described,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "steps": STEPS,
        "found": [],
    }
    for page in options.config or [str(ROOT / "configs" / name) for name in PAGES]:
        for kind in MAY_DIFFER:
            record["found"].append(compare(page, kind, words))
            workdir.write_json(out, record)
    rows = [
        [
            *(f["config"], f["dtype"], f"{f['loss_apart']:.1e}", f"{f['way_apart']:.1e}"),
            "yes" if f["agree"] else "no",
        ]
        for f in record["found"]
    ]
    print(f"{STEPS} steps on {described} against one CPU\n")
    print(table(("config", "type", "loss apart", "parameters' way apart", "agree"), rows))
    if apart := [f"{f['config']} in {f['dtype']}" for f in record["found"] if not f["agree"]]:
        raise UserError(f"further apart than they may be: {', '.join(apart)}")


if __name__ == "__main__":
    run_command(main)
