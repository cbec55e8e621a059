"""Checks that the attached devices compute what one CPU computes: five training steps on both.

python benchmarks/agree.py [--config=FILE.py[:VARIANT] …] [--out=DIR] [--config.KEY=VALUE …]

Both start from the same state on the same synthetic images, with the config's own dropout and
augmentation, which draw the same bits on every device. Each config runs in float32 with products in
full precision, in float32 as it is trained (TF32 on a GPU), and in bfloat16. The table is printed
and kept in DIR/agree-DEVICE.json. The exit status is 2 if a difference exceeds its limit.
"""

import argparse
import json
import pathlib
from typing import Any

import checkout
import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict

from jaxcifar.config import files, overrides
from jaxcifar.errors import UserError
from jaxcifar.run import workdir
from jaxcifar.system import backend, devices, output
from jaxcifar.system.command import run_command
from jaxcifar.training import experiment
from jaxcifar.training.state import Carry

CONFIGS = (
    *("adaptive.py", "adaptive_softmax.py", "adaptive_prelu.py", "pooled_cnn.py"),
    *("simple_cnn.py:batchnorm", "resnet20.py", "speedrun.py"),
)
STEPS = 5  # of one shortened epoch
FULL, TRAINED, HALF = "float32", "float32 as trained", "bfloat16"
# Limits of the relative difference of the mean loss, and of the update (the change of the
# parameters). Adam, ReLU and BatchNorm magnify rounding: with the batch split over two CPU devices,
# the loss differs by up to 0.0014 in float32 and 0.006 in bfloat16, the update by 0.05 and 0.17.
LIMITS = {FULL: (0.01, 0.1), TRAINED: (0.03, 0.4), HALF: (0.05, 0.7)}


def train(config: ConfigDict, mesh: Mesh, start: Carry | None = None) -> tuple[Carry, Carry]:
    """Returns the start, made here if it is None, and the state after the steps, on the host."""
    parts = experiment.build_experiment(config, mesh=mesh)
    split = experiment.load_data(parts.config).train
    split = type(split)(*(array[: STEPS * config.batch_size] for array in split))
    optimizer, _ = parts.optimizer(STEPS)
    if start is None:
        start = jax.device_get(parts.start(optimizer, split.images))
    loop = parts.train_loop(split, optimizer)
    end = loop.run(devices.place(start, mesh), lambda *_: True)
    return start, jax.device_get(end)


def compare(config_file: str, kind: str, flags: list[str]) -> dict[str, Any]:
    """Returns the losses of both sides, and the relative differences of loss and update."""
    dtype = HALF if kind == HALF else "float32"
    flags = [f"--config.compute_dtype={dtype}", "--config.data.source=synthetic", *flags]
    config = overrides.load_config(config_file, flags)
    one_cpu = Mesh(np.array(jax.devices("cpu")[:1]), ("batch",), axis_types=(AxisType.Auto,))
    with jax.default_matmul_precision("highest" if kind == FULL else "default"):
        start, expected = train(config, one_cpu)
        _, found = train(config, devices.make_mesh(config.batch_size), start)
    loss, expected_loss = (end.sums.means()["loss"] for end in (found, expected))
    loss_apart = abs(loss / expected_loss - 1)
    difference, update = (
        optax.tree.norm(optax.tree.sub(end.state.params, other))
        for end, other in ((found, expected.state.params), (expected, start.state.params))
    )
    update_apart = float(difference / update)
    return {
        "config": files.config_name(config_file),
        "dtype": kind,
        "loss": loss,
        "loss_of_cpu": expected_loss,
        "loss_apart": loss_apart,
        "update_apart": update_apart,
        "agree": loss_apart <= LIMITS[kind][0] and update_apart <= LIMITS[kind][1],
    }


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--config",
        action="append",
        metavar="FILE.py[:VARIANT]",
        help="config to compare; repeat for several (default: one of each system)",
    )
    parser.add_argument(
        "--out", type=pathlib.Path, default=checkout.RESULTS, help="folder of the JSON"
    )
    options, flags = parser.parse_known_args()
    backend.configure()
    try:
        jax.devices("cpu")
    except RuntimeError as error:
        raise UserError("jax may not use the CPU; unset JAX_PLATFORMS") from error
    described = devices.describe(devices.make_mesh(jax.device_count()))
    options.out.mkdir(parents=True, exist_ok=True)
    out = checkout.record_file(options.out, "agree", jax.local_devices()[0].device_kind)
    record: dict[str, Any] = checkout.measured_on() | {"devices": described, "steps": STEPS}
    old = json.loads(out.read_text()) if out.exists() else {}
    found = old["found"] if old.get("commit") == record["commit"] else []
    for config_file in options.config or [str(checkout.CONFIGS / name) for name in CONFIGS]:
        for kind in LIMITS:
            one = compare(config_file, kind, flags)
            same = [one["config"], one["dtype"]]
            found = [other for other in found if [other["config"], other["dtype"]] != same] + [one]
            record["found"] = found
            workdir.write_json(out, record)
    rows = [
        [
            *(f["config"], f["dtype"], f"{f['loss_apart']:.1e}", f"{f['update_apart']:.1e}"),
            "yes" if f["agree"] else "no",
        ]
        for f in found
    ]
    print(f"{STEPS} steps on {described} against one CPU\n")
    head = ("config", "type", "difference of loss", "difference of update", "agree")
    print(output.markdown_table([head, *rows]))
    if apart := [f"{f['config']} in {f['dtype']}" for f in found if not f["agree"]]:
        raise UserError(f"the difference exceeds its limit: {', '.join(apart)}")


if __name__ == "__main__":
    run_command(main)
