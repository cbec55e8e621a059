"""Times training here against its PyTorch twins, in turns on the same machine.

python benchmarks/train_speed.py [--systems=NAME,…] [--examples=N] [--repeats=N] [--minutes=M]
python benchmarks/train_speed.py --growth | --startup | --table

Measures, prints a table and keeps everything in results/train_speed-DEVICE.json; each command
replaces its part of that file alone. benchmarks/README.md says what is compared and how.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from importlib import util
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package need not be installed

import speed_tables
import startup
from workers import Job, Worker

from jaxcifar.errors import UserError
from jaxcifar.run import (
    provenance,
    workdir,
)
from jaxcifar.system.command import run_command

# Training images of an epoch on CPU, where a whole one takes up to 15 minutes, and the steps
# timed in a turn there.
CPU_EXAMPLES = {"adaptive": 1_280, "resnet20": 3_200, "simple_cnn": 50_000}
CPU_STEPS = {"adaptive": 3, "resnet20": 5, "simple_cnn": 50}
TRAIN, TEST = 50_000, 10_000
MIN_EXAMPLES = 256  # two steps: a step is timed from the end of the one before
GROWTH = (12_500, 25_000, 50_000)
LONG = ("resnet20", 200)  # a system and the epochs that an accelerator trains it for, in one go

Record = dict[str, Any]


def jobs_of(system: str, kind: str, options: argparse.Namespace) -> list[Job]:
    """Returns the sides to compare, ours first."""
    examples = options.examples or (CPU_EXAMPLES[system] if kind == "cpu" else TRAIN)
    sides = [("jaxcifar", "float32"), ("torch", "float32")]
    if kind != "cpu":
        sides = [("jaxcifar", "bfloat16"), ("torch.compile", "bfloat16"), *sides]
    return [job(options, side, system, dtype, examples) for side, dtype in sides]


def job(options: argparse.Namespace, side: str, system: str, dtype: str, examples: int) -> Job:
    """Returns the job of a side; test images are in the proportion of the whole data set."""
    page = str(ROOT / "configs" / f"{system}.py")
    tests = examples * TEST // TRAIN
    return Job(side, page, dtype, options.source, examples, tests, options.compile_mode)


def compare(system: str, kind: str, options: argparse.Namespace, deadline: float) -> Record:
    """Returns what was measured of a system: each side's times, in turns, and its peak memory.

    The long run is left out where it would end after the deadline.
    """
    jobs = jobs_of(system, kind, options)
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        sides: dict[str, Record] = {job.name: {} for job in jobs}
        for name, side in zip(sides, jobs, strict=True):
            began = time.perf_counter()
            workers[name] = stack.enter_context(Worker(side))
            workers[name].ask("epoch")
            end_to_end = time.perf_counter() - began
            sides[name] = {"end_to_end_seconds": end_to_end} | workers[name].ask("facts")
            check_device(sides[name], kind)
            say(f"{system}: {name} end to end {end_to_end:.1f} s")
        steps = in_turns(workers, options.repeats, "steps", CPU_STEPS[system])
        epochs = in_turns(workers, options.repeats, "epoch")
        for name, worker in workers.items():
            record = sides[name]
            record["step_ms"] = spread([1e3 * s for turn in steps[name] for s in turn])
            record |= spread_epochs(epochs[name])
            record["peak_memory_mb"] = worker.ask("peak_memory_mb")
            say(f"{system}: {name} {record['step_ms']['median']:.2f} ms a step")
        if kind != "cpu" and system == LONG[0] and not options.examples:
            ours = jobs[0].name
            expected = LONG[1] * sides[ours]["epoch_seconds"]["median"]
            if time.perf_counter() + expected < deadline:
                seconds = workers[ours].ask("epochs", LONG[1])
                sides[ours]["long"] = {"epochs": LONG[1], "seconds": seconds}
            else:
                say(f"{system}: {LONG[1]} epochs left out, --minutes are nearly over")
    return {
        "train_examples": jobs[0].train_examples,
        "test_examples": jobs[0].test_examples,
        "shortened": jobs[0].train_examples < TRAIN,
        "sides": sides,
    }


def in_turns(workers: dict[str, Worker], repeats: int, *call: Any) -> dict[str, list[Any]]:
    """Returns each worker's answers to the same call; only one of them computes at a time."""
    answers: dict[str, list[Any]] = {name: [] for name in workers}
    for _ in range(repeats):
        for name, worker in workers.items():
            answers[name].append(worker.ask(*call))
    return answers


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns the median of several measurements, with the least, the most and their number."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }


def spread_epochs(epochs: Sequence[dict[str, float]]) -> Record:
    """Returns the seconds of several epochs' parts, and of the whole epochs."""
    parts = {f"{part}_seconds": spread([epoch[part] for epoch in epochs]) for part in epochs[0]}
    return parts | {"epoch_seconds": spread([sum(epoch.values()) for epoch in epochs])}


def check_device(facts: Record, kind: str) -> None:
    """Raises a UserError where jax and torch compute on different kinds of devices."""
    if "device" in facts and (facts["device"] == "cpu") != (kind == "cpu"):
        raise UserError(
            f"jax computes on {kind} but torch on {facts['device']}: install both for the"
            " same device, or set JAX_PLATFORMS=cpu and CUDA_VISIBLE_DEVICES="
        )


def rate(sides: dict[str, Record], peaks: dict[str, float]) -> None:
    """Adds to each side its images per second and its share of the roofline.

    The roofline is the least time of a step: of its operations at the peak of their type, or of
    its bytes at the peak bandwidth. The count is that of our side in the same type.
    """
    for name, side in sides.items():
        dtype, seconds = name.split()[1], side["step_ms"]["median"] / 1e3
        ours = sides[f"jaxcifar {dtype}"]
        count = ours["count"]
        least = max(count["operations"] / peaks[dtype], count["bytes"] / peaks["bytes"])
        side["examples_per_second"] = ours["batch_size"] / seconds
        side["roofline_ms"] = 1e3 * least
        side["roofline_fraction"] = least / seconds


def growth(options: argparse.Namespace) -> Record:
    """Returns time and memory of an epoch of simple_cnn, over the number of images."""
    rows = []
    for examples in GROWTH:
        with Worker(job(options, "jaxcifar", "simple_cnn", "float32", examples)) as worker:
            worker.ask("epoch")
            epochs = in_turns({"": worker}, options.repeats, "epoch")[""]
            row = {"examples": examples, "peak_memory_mb": worker.ask("peak_memory_mb")}
            row |= spread_epochs(epochs)
        say(f"growth: {examples:,} images, {row['epoch_seconds']['median']:.2f} s an epoch")
        rows.append(row)
    return {"rows": rows}


def measure(options: argparse.Namespace) -> None:
    """Measures what was asked for, and writes each part as soon as it is there."""
    began = time.perf_counter()
    wants_twins = not (options.growth or options.startup)
    if wants_twins and util.find_spec("torch") is None:
        raise UserError('the twins need PyTorch, which is not installed: pip install -e ".[bench]"')
    origin = context(options)
    if speed_tables.is_busy(origin):
        say(f"warning: load {origin['load_before']:g}; timings on a busy machine are worth nothing")
    with Worker(Job("machine")) as worker:
        machine = worker.ask("describe")
        peaks = worker.ask("peaks") if wants_twins else {}
    file = options.out / f"train_speed-{machine['device'].lower().replace(' ', '-')}.json"
    record = {"systems": {}} | (json.loads(file.read_text()) if file.exists() else {}) | machine

    def keep() -> None:
        options.out.mkdir(parents=True, exist_ok=True)
        workdir.write_json(file, record)

    if options.growth:
        record["growth"] = origin | growth(options)
        keep()
    if options.startup:
        record["startup"] = origin | startup.measure(options.source, say)
        keep()
    deadline, longest = began + 60 * options.minutes, 0.0
    for system in options.systems if wants_twins else ():
        started = time.perf_counter()
        if started + longest > deadline:
            say(f"{system}: left out, --minutes are over; run --systems={system}")
            continue
        found = origin | {"peaks": peaks} | compare(system, machine["platform"], options, deadline)
        rate(found["sides"], peaks)
        record["systems"][system] = found
        longest = max(longest, time.perf_counter() - started)
        keep()
    print(f"{speed_tables.of_device(record)}\n\nwrote {file}; --table puts it into the README")


def context(options: argparse.Namespace) -> Record:
    """Returns what a number depends on: versions, commit, processor, how busy the machine was."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        # without where it wrote, which is a place of one machine
        "command": " ".join(["python", *(w for w in sys.argv if not w.startswith("--out="))]),
        "commit": provenance.commit(),
        "versions": provenance.versions() | {"torch": provenance.version("torch")},
        "processor": provenance.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
        "data": options.source,
        "repeats": options.repeats,
        "compile_mode": options.compile_mode,
    }


def say(text: str) -> None:
    """Prints a line of progress."""
    print(text, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    """Returns the command's options, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--systems", default=",".join(CPU_EXAMPLES), metavar="NAME,…")
    parser.add_argument(
        "--examples", type=int, default=0, metavar="N", help="training images of an epoch"
    )
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="turns of each side")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="no system starts that would end later"
    )
    parser.add_argument(
        "--source",
        choices=("cifar10", "synthetic"),
        default="cifar10" if os.environ.get("JAXCIFAR_DATA") else "synthetic",
        help="default: cifar10 where JAXCIFAR_DATA is set; the synthetic images are repeated",
    )
    parser.add_argument("--compile_mode", default="reduce-overhead", help="of torch.compile")
    parser.add_argument("--growth", action="store_true", help="only: time and memory by images")
    parser.add_argument("--startup", action="store_true", help="only: seconds to the first step")
    parser.add_argument("--table", action="store_true", help="only: write the README's tables")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "results")
    options = parser.parse_args()
    options.systems = options.systems.split(",")
    unknown = [name for name in options.systems if name not in CPU_EXAMPLES]
    if unknown:
        raise UserError(f"--systems: no {unknown[0]!r}; choices: {', '.join(CPU_EXAMPLES)}")
    if options.examples and not MIN_EXAMPLES <= options.examples <= TRAIN:
        raise UserError(f"--examples is {options.examples}; expected {MIN_EXAMPLES} to {TRAIN}")
    if options.repeats < 1:
        raise UserError(f"--repeats is {options.repeats}; expected at least 1")
    return options


def main() -> None:
    """Runs the command; ctrl-C and SIGTERM end the workers too."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.table:
            speed_tables.write(options.out, ROOT / "benchmarks" / "README.md")
        else:
            measure(options)
    except KeyboardInterrupt:
        print("stopped; what was finished is kept", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run_command(main)
