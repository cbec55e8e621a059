"""Where a step's time goes: a trace of a few steps, and XLA's own timings of its operations.

python -m jaxcifar.train --config=configs/adaptive.py --profile=5
"""

import collections
import pathlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxcifar.errors import UserError
from jaxcifar.run import workdir
from jaxcifar.system import devices, slots
from jaxcifar.training import experiment

COSTLIEST = 10
CONTAINERS = re.compile(r"\b(while|call|conditional)\(")  # what they run is recorded itself


class Times(NamedTuple):
    """Milliseconds a step: of each operation, the costliest first; and from first to last."""

    operations: dict[str, float]
    whole: float


def on_one_core() -> None:
    """Keeps a process that has no GPU to one core; before XLA starts, which counts them.

    With more, XLA starts a convolution, goes on, and records its start alone.
    """
    slots.take(slots.share(1, 1, 1)[0]._replace(gpu=""))


def record(folder: pathlib.Path, work: Callable[[], Any]) -> jax.profiler.ProfileData:
    """Returns the profile of `work`, whose trace is in the folder for TensorBoard and Perfetto."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with jax.profiler.trace(folder, create_perfetto_trace=True, profiler_options=options):
        work()
    return jax.profiler.ProfileData.from_file(str(next(folder.rglob("*.xplane.pb"))))


def places(program: str) -> dict[str, str]:
    """Returns what a compiled program's text says of each operation, by its name."""
    return dict(re.findall(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$", program, re.MULTILINE))


def times(profile: jax.profiler.ProfileData, program: str, steps: int) -> Times:
    """Returns how long the operations of a program took in a profile of so many steps.

    Of several GPUs the mean; of a GPU what it did itself, not the calls that asked for it.
    """
    known, module = places(program), program.split(",")[0].removeprefix("HloModule ")
    planes = list(profile.planes)
    devices = [p for p in planes if p.name.startswith(("/device:GPU", "/device:TPU"))]
    parts = steps * max(1, len(devices)) * 1e6
    sums: collections.Counter[str] = collections.Counter()
    begins, ends = [], []
    for event in (e for plane in devices or planes for line in plane.lines for e in line.events):
        stats = dict(event.stats)
        name = stats.get("hlo_op", event.name)
        ours = name in known and stats.get("hlo_module", module) == module
        if ours and not CONTAINERS.search(known[name]):
            sums[name] += event.duration_ns / parts
            begins.append(event.start_ns)
            ends.append(event.start_ns + event.duration_ns)
    whole = (max(ends) - min(begins)) / steps / 1e6 if ends else 0.0
    return Times(dict(sums.most_common()), whole)


def table(found: Times, program: str) -> str:
    """Returns the costliest operations as lines, each with its share, shape and place."""
    known = places(program)
    lines = [f"{'share':>7}  {'ms a step':>9}  operation"]

    def add(milliseconds: float, what: str) -> None:
        lines.append(f"{milliseconds / found.whole:7.1%}  {milliseconds:9.3f}  {what}")

    for name, milliseconds in list(found.operations.items())[:COSTLIEST]:
        shape = re.match(r"\w+\[[\d,]*\]", known[name])
        place = re.search(r'op_name="([^"]*)"', known[name])
        words = [name, shape[0] if shape else "", place[1].partition("/")[2] if place else ""]
        add(milliseconds, "  ".join(filter(None, words)))
    others = list(found.operations.values())[COSTLIEST:]
    add(sum(others), f"{len(others):,} others")
    if (between := found.whole - sum(found.operations.values())) > 0:
        add(between, "between operations")
    add(found.whole, "a step")
    return "\n".join(lines)


def run(config: ConfigDict, workdir_of_run: pathlib.Path, steps: int) -> None:
    """Traces `steps` steps of `config`, after compiling, and prints the costliest operations.

    The trace is in a new folder beside that of the run, which is neither made nor read.

    Raises:
      UserError: `steps` is not a number of steps of an epoch, or nothing was recorded.
    """
    folder = workdir.new_folder_beside(workdir_of_run, "profile")
    on_one_core()
    if jax.process_count() > 1:
        raise UserError("--profile is of one process; leave --distributed out")
    parts = experiment.build(config)
    dataset = experiment.load_data(config)
    optimizer, _ = parts.optimizer(len(dataset.train.labels) // config.batch_size)
    loop = parts.train_loop(dataset.train, optimizer)
    if not 1 <= steps <= loop.steps_per_epoch:
        raise UserError(
            f"--profile is {steps}; expected at least 1 and at most the {loop.steps_per_epoch:,}"
            " steps of an epoch"
        )
    carry = parts.start(optimizer, dataset.train.images)
    at_once = loop.steps_per_call(steps)
    program = loop.program(carry, at_once, parts.augment.size_of(0)).as_text() or ""
    loop.run(jax.tree.map(jnp.copy, carry), lambda *_: False, at_once)  # once before it counts

    def work() -> None:
        loop.run(carry, lambda sums, done, seconds: done < steps, at_once)

    found = times(record(folder, work), program, steps)
    if not found.operations:
        raise UserError(f"no operation of the step was recorded; what there is: {folder}")
    where = devices.describe(parts.mesh)
    if not devices.is_accelerated(parts.mesh):
        where += ", on one core: with more, XLA does not record all of an operation"
    print(f"{steps} steps on {where}\n\n{table(found, program)}\n")
    perfetto = next(folder.rglob("perfetto_trace.json.gz"))
    print(f"wrote {perfetto}, for ui.perfetto.dev")
    print(f"      and, for TensorBoard with its profile plugin, --logdir={folder}")
