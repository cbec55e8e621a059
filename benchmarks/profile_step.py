"""Shows where a training step's time goes on one CPU core, by the purpose of each operation.

python benchmarks/profile_step.py --config=configs/resnet20.py [--config.KEY=VALUE ...]
"""

import argparse
import collections
import pathlib
import re
import tempfile
from typing import Any

import checkout  # noqa: F401 -- puts the package on the path
import jax
import numpy as np

from jaxcifar.config import files, overrides
from jaxcifar.system import backend, output
from jaxcifar.system.command import run_command
from jaxcifar.training import experiment, profiling
from jaxcifar.training.augment import Batch
from jaxcifar.training.losses import Sums
from jaxcifar.training.state import State

STEPS = 3
# The purpose of an operation is the first pattern found in its op_name; the last one fits any. XLA
# gives kernel gradients and the copies for them no op_name, so their own names are searched.
PURPOSES = {
    "convolution, both gradients": r"^convolution|transpose\(jvp.*conv\d*/(?!reduce_sum$)",
    "convolution, forward": r"conv\d*/(?!add$|reduce_sum$)",
    "copies into another layout": r"^(transpose_)?copy",
    "BatchNorm": r"norm\d?/",
    "gates": r"gate",
    "dense": r"/head/",
    "optimizer": r"/optimizer/",
    "bias, activation, dropout, pool, shortcut": r"jvp\(",
    "augmentation, loss": r"",
}


def compile_step(config_file: str, flags: list[str]) -> tuple[Any, tuple[State, Batch]]:
    """Returns the compiled train step of a config on synthetic images, and its arguments."""
    flags = [*flags, "--config.data.source=synthetic"]
    parts = experiment.build_experiment(overrides.load_config(config_file, flags))
    config = parts.config
    optimizer, _ = parts.optimizer(steps_per_epoch=390)
    split = experiment.load_data(config).train
    images, labels = (array[: config.batch_size] for array in split)
    batch = Batch(images, labels, np.arange(len(labels)), np.int32(0), np.int32(0))
    state = parts.start(optimizer, split.images).state
    update = parts.update(optimizer)

    def train_step(state: State, batch: Batch) -> tuple[State, Sums]:
        return update(state, parts.prepare(batch, state.step))

    return jax.jit(train_step).lower(state, batch).compile(), (state, batch)


def measure(config_file: str, flags: list[str]) -> tuple[dict[str, float], float]:
    """Returns the milliseconds per step of each purpose, and of a whole step."""
    program, inputs = compile_step(config_file, flags)
    jax.block_until_ready(program(*inputs))

    def run_steps() -> None:
        for _ in range(STEPS):
            jax.block_until_ready(program(*inputs))

    with tempfile.TemporaryDirectory() as directory:
        profile = profiling.record(pathlib.Path(directory), run_steps)
    text = program.as_text()
    times, places = profiling.operation_times(profile, text, STEPS), profiling.operation_texts(text)
    sums: collections.Counter[str] = collections.Counter()
    for name, milliseconds in times.operations.items():
        sums[purpose(name, places[name])] += milliseconds
    return dict(sums.most_common()), times.whole


def purpose(name: str, line: str) -> str:
    """Returns the purpose of an operation from its name and its line in the program."""
    match = re.search(r'op_name="([^"]*)"', line)
    op_name = match.group(1) if match else name
    return next(p for p, pattern in PURPOSES.items() if re.search(pattern, op_name))


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--config", required=True, metavar="FILE.py[:VARIANT]", help="config to profile"
    )
    options, flags = parser.parse_known_args()
    profiling.on_one_core()
    backend.configure()
    sums, whole = measure(options.config, flags)
    times = {**sums, "between operations": whole - sum(sums.values())}
    rows = [[name, f"{ms:.1f}", f"{ms / whole:.0%}"] for name, ms in times.items()]
    rows.append(["whole step", f"{whole:.1f}", ""])
    head = (f"{files.config_name(options.config)}, one core", "ms/step", "share")
    print(output.markdown_table([head, *rows]))


if __name__ == "__main__":
    run_command(main)
