"""Where a training step's time goes on one core: XLA's own timings, by what each operation is for.

python benchmarks/profile_step.py --config=configs/resnet20.py [--config.KEY=VALUE ...]
"""

import argparse
import collections
import pathlib
import re
import tempfile

import jax
import numpy as np

from jaxcifar.config import files, overrides
from jaxcifar.system import backend
from jaxcifar.system.command import run_command
from jaxcifar.training import experiment, profiling
from jaxcifar.training.augment import Batch
from jaxcifar.training.losses import Sums
from jaxcifar.training.state import State

STEPS = 3
# What an operation is for, by the first pattern found in its place in the program, or in its own
# name where XLA keeps no place: so it is with kernel gradients, and with the copies made for them.
KINDS = {
    "convolution, kernel gradient": r"^convolution|_convolve.*dot_general",
    "convolution, input gradient": r"transpose\(jvp.*_convolve",
    "convolution, forward": r"_convolve",
    "copies into another layout": r"^(transpose_)?copy",
    "BatchNorm": r"BatchNorm|norm\d?/|/norm",
    "gates": r"gate|bkc|einsum",
    "dense": r"dot_general|head|^dot",
    "augmentation": r"gather|_randint|_bernoulli|_uniform",
    "bias, activation, dropout, pool, shortcut": r"jvp\(",
    "optimizer": r"train_step\)/[a-z_]+$",
}


def measure(page: str, words: list[str]) -> tuple[dict[str, float], float]:
    """Returns milliseconds a step by kind, and of a whole step."""
    config = overrides.load_config(page, [*words, "--config.data.source=synthetic"])
    parts = experiment.build_experiment(config)
    optimizer, _ = parts.optimizer(steps_per_epoch=390)
    split = experiment.load_data(config).train
    images, labels = (array[: config.batch_size] for array in split)
    batch = Batch(images, labels, np.arange(len(labels)), np.int32(0), np.int32(0))
    state = parts.start(optimizer, split.images).state
    update = parts.update(optimizer)

    def train_step(state: State, batch: Batch) -> tuple[State, Sums]:
        return update(state, parts.prepare(batch, state.step))

    program = jax.jit(train_step).lower(state, batch).compile()
    jax.block_until_ready(program(state, batch))

    def work() -> None:
        for _ in range(STEPS):
            jax.block_until_ready(program(state, batch))

    with tempfile.TemporaryDirectory() as directory:
        profile = profiling.record(pathlib.Path(directory), work)
    text = program.as_text()
    found, places = profiling.operation_times(profile, text, STEPS), profiling.operation_texts(text)
    sums: collections.Counter[str] = collections.Counter()
    for name, milliseconds in found.operations.items():
        sums[kind(name, places[name])] += milliseconds
    return dict(sums.most_common()), found.whole


def kind(name: str, text: str) -> str:
    """Returns the kind of an operation from its line in the program."""
    found = re.search(r'op_name="([^"]*)"', text)
    place = found.group(1) if found else name
    return next((k for k, pattern in KINDS.items() if re.search(pattern, place)), "other")


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", required=True, metavar="FILE.py[:VARIANT]")
    options, words = parser.parse_known_args()
    profiling.on_one_core()
    backend.configure()
    sums, whole = measure(options.config, words)
    print(f"| {files.config_name(options.config)}, one core | ms a step | share |\n|---|---|---|")
    rest = {"between operations": whole - sum(sums.values())}
    for name, milliseconds in {**sums, **rest}.items():
        print(f"| {name} | {milliseconds:.1f} | {milliseconds / whole:.0%} |")
    print(f"| whole step | {whole:.1f} | |")


if __name__ == "__main__":
    run_command(main)
