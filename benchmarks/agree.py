"""Whether the devices that are there compute what one CPU computes: the same five steps on both.

python benchmarks/agree.py [--config=PAGE …] [--out=DIR] [--config.KEY=VALUE ...]

Every system, on a batch of the synthetic images, with its own dropout and augmentation, whose bits
are the same on every device: in float32 (with products in full precision, and as it is trained,
which on a GPU is TF32) and in bfloat16. Prints a table and keeps it in DIR/agree-DEVICE.json; exit
status 1 where something is further apart than it may be.
"""

import argparse
import pathlib
import sys
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package need not be installed

from speed_tables import table  # noqa: E402

from jaxcifar import backend, experiment, overrides  # noqa: E402
from jaxcifar import config as configs  # noqa: E402
from jaxcifar.errors import UserError, run_command  # noqa: E402
from jaxcifar.run import provenance, workdir  # noqa: E402
from jaxcifar.training import parallel  # noqa: E402

PAGES = (
    *("adaptive.py", "adaptive_softmax.py", "adaptive_prelu.py", "pooled_cnn.py"),
    *("simple_cnn.py:batchnorm", "resnet20.py", "speedrun.py"),
)
STEPS = 5
# How far the loss of a step and the way that the parameters have gone may be apart, as a share of
# themselves. Adam, ReLU and BatchNorm carry a rounding far: a batch split over two CPU devices
# ends up to 0.0014 and 0.05 apart in float32, 0.006 and 0.17 in bfloat16.
FULL, TRAINED, HALF = "float32", "float32 as trained", "bfloat16"
MAY_DIFFER = {FULL: (0.01, 0.1), TRAINED: (0.03, 0.4), HALF: (0.05, 0.7)}


def train(page: str, words: list[str], mesh: Mesh) -> tuple[list[float], np.ndarray]:
    """Returns the loss of each step and how the parameters changed in all, one vector."""
    config = overrides.load(page, words)
    parts = experiment.build(config, mesh=mesh)
    split = experiment.load_data(config).train
    split = type(split)(*(array[: config.batch_size] for array in split))  # an epoch is a step
    optimizer, _ = parts.optimizer(steps_per_epoch=1)
    loop = parts.train_loop(split, optimizer)
    carry = parts.start(optimizer, split.images)
    before, losses = flat(carry.state.params), []
    for _ in range(STEPS):
        carry = loop.run(carry, lambda *_: True)
        losses.append(carry.sums.means()["loss"])
    return losses, flat(carry.state.params) - before


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jax.device_get(tree))])


def compare(page: str, kind: str, words: list[str]) -> dict[str, Any]:
    """Returns both sides' losses, and how far apart they and the parameters are."""
    dtype = HALF if kind == HALF else "float32"
    words = [f"--config.compute_dtype={dtype}", "--config.data.source=synthetic", *words]
    one = Mesh(np.array(jax.devices("cpu")[:1]), ("batch",), axis_types=(AxisType.Auto,))
    with jax.default_matmul_precision("highest" if kind == FULL else "default"):
        there = parallel.make_mesh(overrides.load(page, words).batch_size)
        losses, change = train(page, words, there)
        expected, expected_change = train(page, words, one)
    apart = np.abs(np.subtract(losses, expected) / expected).max()
    way = np.linalg.norm(change - expected_change) / np.linalg.norm(expected_change)
    return {
        "config": configs.name(page),
        "dtype": kind,
        "losses": losses,
        "losses_of_cpu": expected,
        "losses_apart": float(apart),
        "way_apart": float(way),
        "agree": bool(apart <= MAY_DIFFER[kind][0] and way <= MAY_DIFFER[kind][1]),
    }


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", action="append", metavar="PAGE", help="default: all systems")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "results")
    options, words = parser.parse_known_args()
    backend.configure()
    devices = parallel.describe(parallel.make_mesh(jax.device_count()))
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out / f"agree-{jax.local_devices()[0].device_kind.lower().replace(' ', '-')}.json"
    record = {
        "devices": devices,
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
            *(f["config"], f["dtype"], f"{f['losses_apart']:.1e}", f"{f['way_apart']:.1e}"),
            "yes" if f["agree"] else "no",
        ]
        for f in record["found"]
    ]
    print(f"{STEPS} steps on {devices} against one CPU\n")
    print(table(("config", "type", "losses apart", "parameters' way apart", "agree"), rows))
    if apart := [f"{f['config']} in {f['dtype']}" for f in record["found"] if not f["agree"]]:
        raise UserError(f"further apart than they may be: {', '.join(apart)}")


if __name__ == "__main__":
    run_command(main)
