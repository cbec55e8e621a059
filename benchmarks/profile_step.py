"""Where a training step's time goes: XLA's own timings, by what each operation is for.

python benchmarks/profile_step.py --config=configs/resnet20.py [--config.KEY=VALUE ...]
"""

import argparse
import collections
import functools
import pathlib
import re
import tempfile

import jax
import numpy as np

from jaxcifar import backend, data, experiment, step
from jaxcifar import config as configs
from jaxcifar.errors import run_command

STEPS = 3
# what an operation is for, by the first pattern found in its name or its place in the program
KINDS = {
    "convolution, gradients": r"transpose\(jvp.*_convolve",
    "convolution, forward": r"_convolve",
    "BatchNorm": r"BatchNorm|norm\d?/|/norm",
    "dropout": r"dropout|keep_mask|xor|shift_right",
    "max-pool": r"max_pool|reduce_max|eq",
    "dense": r"dot_general",
    "activation and shortcut": r"relu|/max$|pad|select_n|add_any",
}


def measure(page: str, overrides: list[str]) -> dict[str, float]:
    """Returns milliseconds a step by kind, and of the ten longest operations by name."""
    config = configs.load(page, [*overrides, "--config.data.source=synthetic"])
    parts = experiment.build(config)
    optimizer, _ = parts.optimizer(steps_per_epoch=390)
    train_step = functools.partial(
        step.train_step,
        model=parts.model,
        optimizer=optimizer,
        loss=parts.loss,
        augment=parts.augment,
        ema_decay=config.optimizer.ema_decay,
    )
    split = experiment.load_data(config).train
    batch = data.Split(*(array[: config.batch_size] for array in split))
    state = parts.start(optimizer).state
    program = jax.jit(train_step).lower(state, *batch, np.int32(0)).compile()
    jax.block_until_ready(program(state, *batch, np.int32(0)))
    with tempfile.TemporaryDirectory() as directory:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        with jax.profiler.trace(directory, profiler_options=options):
            for _ in range(STEPS):
                jax.block_until_ready(program(state, *batch, np.int32(0)))
        file = next(pathlib.Path(directory).rglob("*.xplane.pb"))
        profile = jax.profiler.ProfileData.from_file(str(file))
    return by_kind(profile, program.as_text())


def by_kind(profile: jax.profiler.ProfileData, program: str) -> dict[str, float]:
    """Sums the events that are operations of the program."""
    places = dict(re.findall(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$", program, re.MULTILINE))
    sums: collections.Counter[str] = collections.Counter()
    for plane in profile.planes:
        for line in plane.lines:
            for event in line.events:
                if event.name in places:
                    sums[kind(event.name, places[event.name])] += event.duration_ns / 1e6 / STEPS
    return dict(sums.most_common())


def kind(name: str, text: str) -> str:
    """Returns the kind of an operation from its line in the program."""
    found = re.search(r'op_name="([^"]*)"', text)
    place = found.group(1) if found else name
    return next((k for k, pattern in KINDS.items() if re.search(pattern, place)), "other")


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", required=True, metavar="FILE.py[:VARIANT]")
    options, overrides = parser.parse_known_args()
    backend.configure()
    sums = measure(options.config, overrides)
    total = sum(sums.values())
    print(f"| {configs.name(options.config)} | ms a step, all threads | share |\n|---|---|---|")
    for name, milliseconds in sums.items():
        print(f"| {name} | {milliseconds:.1f} | {milliseconds / total:.0%} |")


if __name__ == "__main__":
    run_command(main)
