"""Times training in jaxcifar and in its PyTorch twins, in turns on the same machine.

python benchmarks/train_speed.py [--systems=NAME,…] [--examples=N] [--repeats=N] [--minutes=M]
python benchmarks/train_speed.py --growth | --startup | --table

Prints a table and writes every number to results/train_speed-DEVICE.json; each command replaces
only its own part of that file. benchmarks/README.md defines what is compared.
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

import checkout
import speed_tables
import startup
from checkout import log
from workers import Job, Worker

from jaxcifar.errors import UserError
from jaxcifar.run import workdir
from jaxcifar.system.command import run_command

# On CPU, where a whole epoch takes up to 15 minutes: training images per epoch, steps per turn.
CPU_EXAMPLES = {"adaptive": 1_280, "resnet20": 3_200, "simple_cnn": 50_000}
CPU_STEPS = {"adaptive": 3, "resnet20": 5, "simple_cnn": 50}
TRAIN, TEST = 50_000, 10_000
MIN_EXAMPLES = 256  # two steps, because a step is timed from the end of the previous one
GROWTH = (12_500, 25_000, 50_000)
LONG = ("resnet20", 200)  # the system and number of epochs of the long run, on a GPU only

Record = dict[str, Any]


def make_jobs(system: str, platform: str, options: argparse.Namespace) -> list[Job]:
    """Returns the sides to compare, jaxcifar first."""
    examples = options.examples or (CPU_EXAMPLES[system] if platform == "cpu" else TRAIN)
    sides = [("jaxcifar", "float32"), ("torch", "float32")]
    if platform != "cpu":
        sides = [("jaxcifar", "bfloat16"), ("torch.compile", "bfloat16"), *sides]
    return [make_job(options, side, system, dtype, examples) for side, dtype in sides]


def make_job(options: argparse.Namespace, side: str, system: str, dtype: str, examples: int) -> Job:
    """Returns the job of one side, with test images in the proportion of the whole data set."""
    config_file = str(checkout.CONFIGS / f"{system}.py")
    tests = examples * TEST // TRAIN
    return Job(side, config_file, dtype, options.source, examples, tests, options.compile_mode)


def compare(system: str, platform: str, options: argparse.Namespace, deadline: float) -> Record:
    """Returns the measurements of a system: the times of each side, in turns, and peak memory.

    Skips the long run if it would end after the deadline.
    """
    jobs = make_jobs(system, platform, options)
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        sides: dict[str, Record] = {}
        for job in jobs:
            began = time.perf_counter()
            worker = workers[job.name] = stack.enter_context(Worker(job))
            worker.ask("epoch")
            end_to_end = time.perf_counter() - began
            sides[job.name] = {"end_to_end_seconds": end_to_end} | worker.ask("facts")
            check_device(sides[job.name], platform)
            log(f"{system}: {job.name} end to end {end_to_end:.1f} s")
        steps = ask_in_turns(workers, options.repeats, "steps", CPU_STEPS[system])
        epochs = ask_in_turns(workers, options.repeats, "epoch")
        for name, worker in workers.items():
            side = sides[name]
            side["step_ms"] = summarise([1e3 * s for turn in steps[name] for s in turn])
            side |= summarise_epochs(epochs[name])
            side["peak_memory_mb"] = worker.ask("peak_memory_mb")
            log(f"{system}: {name} {side['step_ms']['median']:.2f} ms/step")
        if platform != "cpu" and system == LONG[0] and not options.examples:
            time_long_run(workers[jobs[0].name], sides[jobs[0].name], deadline)
    return {
        "train_examples": jobs[0].train_examples,
        "test_examples": jobs[0].test_examples,
        "shortened": jobs[0].train_examples < TRAIN,
        "sides": sides,
    }


def time_long_run(worker: Worker, side: Record, deadline: float) -> None:
    """Adds the seconds of the long run to the side, unless it would end after the deadline."""
    system, epochs = LONG
    expected = epochs * side["epoch_seconds"]["median"]
    if time.perf_counter() + expected < deadline:
        side["long"] = {"epochs": epochs, "seconds": worker.ask("epochs", epochs)}
    else:
        log(f"{system}: skipped the run of {epochs} epochs, which would exceed --minutes")


def ask_in_turns(workers: dict[str, Worker], repeats: int, *call: Any) -> dict[str, list[Any]]:
    """Returns each worker's answers to the same call; only one worker computes at a time."""
    answers: dict[str, list[Any]] = {name: [] for name in workers}
    for _ in range(repeats):
        for name, worker in workers.items():
            answers[name].append(worker.ask(*call))
    return answers


def summarise(values: Sequence[float]) -> dict[str, float]:
    """Returns the median, minimum, maximum and number of several measurements."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }


def summarise_epochs(epochs: Sequence[dict[str, float]]) -> Record:
    """Returns the summary of each part of several epochs, and of the whole epochs."""
    parts = {f"{part}_seconds": summarise([epoch[part] for epoch in epochs]) for part in epochs[0]}
    return parts | {"epoch_seconds": summarise([sum(epoch.values()) for epoch in epochs])}


def check_device(facts: Record, platform: str) -> None:
    """Raises a UserError if one of jax and torch uses the CPU and the other does not."""
    if "device" in facts and (facts["device"] == "cpu") != (platform == "cpu"):
        raise UserError(
            f"jax uses {platform} but torch uses {facts['device']}: install both for the same"
            " device, or set JAX_PLATFORMS=cpu and CUDA_VISIBLE_DEVICES= to compare on the CPU"
        )


def add_rates(sides: dict[str, Record], peaks: dict[str, float]) -> None:
    """Adds to each side its images per second and its fraction of the roofline.

    The roofline is the least time of a step: its operations at the peak rate of their type, or its
    bytes at the peak bandwidth, whichever takes longer. Both sides of a type use jaxcifar's count.
    """
    for name, side in sides.items():
        dtype, seconds = name.split()[1], side["step_ms"]["median"] / 1e3
        ours = sides[f"jaxcifar {dtype}"]
        count = ours["count"]
        least = max(count["operations"] / peaks[dtype], count["bytes"] / peaks["bytes"])
        side["examples_per_second"] = ours["batch_size"] / seconds
        side["roofline_ms"] = 1e3 * least
        side["roofline_fraction"] = least / seconds


def measure_growth(options: argparse.Namespace) -> Record:
    """Returns the time and memory of an epoch of simple_cnn for several numbers of images."""
    rows = []
    for examples in GROWTH:
        with Worker(make_job(options, "jaxcifar", "simple_cnn", "float32", examples)) as worker:
            worker.ask("epoch")
            epochs = ask_in_turns({"": worker}, options.repeats, "epoch")[""]
            row = {"examples": examples, "peak_memory_mb": worker.ask("peak_memory_mb")}
            row |= summarise_epochs(epochs)
        log(f"growth: {examples:,} images, {row['epoch_seconds']['median']:.2f} s/epoch")
        rows.append(row)
    return {"rows": rows}


def measure(options: argparse.Namespace) -> None:
    """Runs the requested measurements, and writes each part as soon as it is complete."""
    began = time.perf_counter()
    wants_twins = not (options.growth or options.startup)
    if wants_twins and util.find_spec("torch") is None:
        raise UserError('the twins need PyTorch: run pip install -e ".[bench]"')
    origin = describe_run(options)
    if speed_tables.is_busy(origin):
        log(f"warning: the load is {origin['load_before']:g}; timings on a busy machine are void")
    with Worker(Job("machine")) as worker:
        machine = worker.ask("describe")
        peaks = worker.ask("peaks") if wants_twins else {}
    file = checkout.record_file(options.out, "train_speed", machine["device"])
    record = {"systems": {}} | (json.loads(file.read_text()) if file.exists() else {}) | machine

    def save() -> None:
        options.out.mkdir(parents=True, exist_ok=True)
        workdir.write_json(file, record)

    if options.growth:
        record["growth"] = origin | measure_growth(options)
        save()
    if options.startup:
        record["startup"] = origin | startup.measure(options.source)
        save()
    deadline, longest = began + 60 * options.minutes, 0.0
    for system in options.systems if wants_twins else ():
        started = time.perf_counter()
        if started + longest > deadline:
            log(f"{system}: skipped, --minutes have passed; run --systems={system}")
            continue
        result = compare(system, machine["platform"], options, deadline)
        add_rates(result["sides"], peaks)
        record["systems"][system] = origin | {"peaks": peaks} | result
        longest = max(longest, time.perf_counter() - started)
        save()
    print(f"{speed_tables.device_tables(record)}\n\nwrote {file}; --table copies it to the README")


def describe_run(options: argparse.Namespace) -> Record:
    """Returns what a number depends on: the command, the code, the machine and the options."""
    words = [word for word in sys.argv if not word.startswith("--out=")]  # a path of one machine
    return checkout.measured_on() | {
        "command": " ".join(["python", *words]),
        "data": options.source,
        "repeats": options.repeats,
        "compile_mode": options.compile_mode,
    }


def parse_options() -> argparse.Namespace:
    """Returns the command's options, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--systems",
        default=",".join(CPU_EXAMPLES),
        metavar="NAME,…",
        help="systems to measure (default: all)",
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=0,
        metavar="N",
        help="training images per epoch (default: all of them on a GPU, fewer on a CPU)",
    )
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="turns per side (default: 3)"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=float("inf"),
        help="skip systems that would end after this many minutes (default: no limit)",
    )
    parser.add_argument(
        "--source",
        choices=("cifar10", "synthetic"),
        default="cifar10" if os.environ.get("JAXCIFAR_DATA") else "synthetic",
        help="images to train on (default: cifar10 if JAXCIFAR_DATA is set, otherwise synthetic)",
    )
    parser.add_argument(
        "--compile_mode",
        default="reduce-overhead",
        help="mode of torch.compile (default: reduce-overhead)",
    )
    parser.add_argument(
        "--growth", action="store_true", help="measure only time and memory by number of images"
    )
    parser.add_argument(
        "--startup", action="store_true", help="measure only the seconds to the first step"
    )
    parser.add_argument(
        "--table", action="store_true", help="only rewrite the README's tables from the results"
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=checkout.RESULTS,
        help="folder for the results (default: results)",
    )
    options = parser.parse_args()
    options.systems = options.systems.split(",")
    check_options(options)
    return options


def check_options(options: argparse.Namespace) -> None:
    """Raises a UserError for an invalid option."""
    unknown = [name for name in options.systems if name not in CPU_EXAMPLES]
    if unknown:
        raise UserError(f"--systems: no {unknown[0]!r}; choices: {', '.join(CPU_EXAMPLES)}")
    if options.examples and not MIN_EXAMPLES <= options.examples <= TRAIN:
        raise UserError(f"--examples is {options.examples}; expected {MIN_EXAMPLES} to {TRAIN}")
    if options.repeats < 1:
        raise UserError(f"--repeats is {options.repeats}; expected at least 1")


def main() -> None:
    """Runs the command; ctrl-C and SIGTERM also end the workers."""
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.table:
            speed_tables.write_tables(options.out, checkout.README)
        else:
            measure(options)
    except KeyboardInterrupt:
        log("stopped; completed measurements are saved")
        sys.exit(130)


if __name__ == "__main__":
    run_command(main)
