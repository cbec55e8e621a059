"""Profiles a few steps: a trace, and the time of each XLA operation.

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
from jaxcifar.system import devices, output, slots
from jaxcifar.training import experiment

COSTLIEST = 10
CONTAINERS = re.compile(r"\b(while|call|conditional)\(")  # their operations are recorded too


class Times(NamedTuple):
    """The milliseconds per step of each operation, slowest first, and of the whole step."""

    operations: dict[str, float]
    whole: float


def on_one_core() -> None:
    """Limits a process without a GPU to one core; call it before XLA starts and counts cores.

    On more cores XLA runs a convolution asynchronously and records only its start.
    """
    slots.pin_process(slots.divide_machine(1, 1, 1)[0]._replace(gpu=""))


def record(folder: pathlib.Path, work: Callable[[], Any]) -> jax.profiler.ProfileData:
    """Profiles `work`; the folder also gets the trace for TensorBoard and Perfetto."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with jax.profiler.trace(folder, create_perfetto_trace=True, profiler_options=options):
        work()
    return jax.profiler.ProfileData.from_file(str(next(folder.rglob("*.xplane.pb"))))


def operation_texts(program: str) -> dict[str, str]:
    """Returns the operations in the text of a compiled program, name -> definition."""
    return dict(re.findall(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$", program, re.MULTILINE))


def operation_times(profile: jax.profiler.ProfileData, program: str, steps: int) -> Times:
    """Returns the times of a program's operations in a profile of `steps` steps.

    On GPUs, kernels count and their launches do not; several GPUs are averaged.
    """
    known, module = operation_texts(program), program.split(",")[0].removeprefix("HloModule ")
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


def format_table(found: Times, program: str) -> str:
    """Returns a table of the slowest operations, with share, time, shape and source."""
    known = operation_texts(program)
    lines = [f"{'share':>7}  {'ms/step':>9}  operation"]

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
    """Profiles `steps` steps of `config` and prints the slowest operations.

    The trace is in a new folder beside the workdir, which is neither created nor read.

    Raises:
      UserError: an epoch has fewer steps, or no operation was recorded.
    """
    workdir.check_beside(workdir_of_run)
    on_one_core()
    if jax.process_count() > 1:
        raise UserError("--profile works in a single process; omit --distributed")
    with output.busy("compiling"):
        parts = experiment.build_experiment(config)
        dataset = experiment.load_data(parts.config)
        optimizer, _ = parts.optimizer(len(dataset.train.labels) // config.batch_size)
        loop = parts.train_loop(dataset.train, optimizer)
        if not 1 <= steps <= loop.steps_per_epoch:
            raise UserError(
                f"--profile is {steps}; expected at least 1 and at most the"
                f" {loop.steps_per_epoch:,} steps of an epoch"
            )
        carry = parts.start(optimizer, dataset.train.images)
        at_once = loop.steps_per_call(steps)
        program = loop.program(carry, at_once, parts.augment.size_of(0)).as_text() or ""
        loop.run(jax.tree.map(jnp.copy, carry), lambda *_: False, at_once)  # warm up

    def work() -> None:
        loop.run(carry, lambda sums, done, seconds: done < steps, at_once)

    folder = workdir.make_folder_beside(workdir_of_run, "profile")
    found = operation_times(record(folder, work), program, steps)
    if not found.operations:
        raise UserError(f"the profile in {folder} holds no operation of the step")
    where = devices.describe(parts.mesh)
    if not devices.is_accelerated(parts.mesh):
        where += ", on one core, because XLA does not record whole operations on more"
    print(f"{steps} steps on {where}\n\n{format_table(found, program)}\n")
    perfetto = next(folder.rglob("perfetto_trace.json.gz"))
    print(f"wrote {perfetto}, to open in ui.perfetto.dev")
    print(f"      and the same trace for the profile plugin of TensorBoard, --logdir={folder}")
