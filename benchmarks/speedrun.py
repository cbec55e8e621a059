"""Runs seeds of configs/speedrun.py and of the published PyTorch recipe, in turns.

    python benchmarks/speedrun.py [--seeds=3] [--sides=94,93,90,torch,torch:bfloat16] [--keep=DIR]
    python benchmarks/speedrun.py --table

A side is a variant of configs/speedrun.py or "torch", with or without ":bfloat16". Each run is its
own process, and its result is appended to results/speedrun-DEVICE.json; a run that is already there
is not repeated. Other flags, such as --config.data.validation=5000, change the jaxcifar sides.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import signal
import statistics
import sys
import threading
import time
import zlib
from typing import Any

import checkout
import workers
from checkout import log

from jaxcifar import data
from jaxcifar.claims import tables
from jaxcifar.errors import UserError
from jaxcifar.system import atomic, output
from jaxcifar.system.command import run_command

MARKS = (
    "<!-- speedrun: made by `python benchmarks/speedrun.py --table` -->",
    "<!-- /speedrun -->",
)
HEADLINE = (
    "<!-- headline: made by `python benchmarks/speedrun.py --table` -->",
    "<!-- /headline -->",
)
SIDES = "94,93,90,torch,torch:bfloat16"
COLUMNS = (
    *("side", "n", "accuracy", "training + views, s", "whole process, s"),
    *("operations", "Gop/s", "of peak"),
)
# of the published recipe: 6 per multiply-add of an image's forward pass, for 8 epochs
TORCH_OPERATIONS = 6 * 118_147_360 * 8 * 50_000
Record = dict[str, Any]


class Clock:
    """Counts seconds, except those in which the process was suspended (`kill -STOP`).

    A thread ticks all the time, so a long gap between two ticks is a suspension.
    """

    def __init__(self, tick: float = 0.1, gap: float = 5.0) -> None:
        self.held = 0.0
        threading.Thread(target=self._watch, args=(tick, gap), daemon=True).start()

    def __call__(self) -> float:
        return time.perf_counter() - self.held

    def _watch(self, tick: float, gap: float) -> None:
        last = time.perf_counter()
        while True:
            time.sleep(tick)
            now = time.perf_counter()
            if now - last > gap:
                self.held += now - last - tick
            last = now


def run_side(pipe: Any, side: str, seed: int, flags: list[str], keep: pathlib.Path | None) -> None:
    """Runs one side and sends its result; only this process imports the side's library."""
    name, _, dtype = side.partition(":")
    clock = Clock()
    if name == "torch":
        import speedrun_torch

        dataset = data.load_dataset("cifar10", "", 0, 0)
        recipe = speedrun_torch.Recipe(dataset.train, dataset.test, dtype == "bfloat16")
        result = recipe.run(seed, clock) | {"device": recipe.device_name()}
        result["operations"] = TORCH_OPERATIONS
    else:
        import speedrun_jax

        result = speedrun_jax.run(name, dtype or "float32", seed, flags, clock, keep)
    pipe.send(result)


def measure(side: str, seed: int, flags: list[str], keep: pathlib.Path | None = None) -> Record:
    """Returns the result of one run in a new process, with the seconds of the whole process.

    Raises:
      UserError: the process ended without a result.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe()
    process = context.Process(target=run_side, args=(sender, side, seed, flags, keep))
    clock = Clock()
    origin, began = checkout.measured_on(), clock()
    user_tunables = os.environ.get("GLIBC_TUNABLES")
    if user_tunables is None and not side.startswith("torch"):  # as configs/speedrun.py advises
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0"
    process.start()
    if user_tunables is None:
        os.environ.pop("GLIBC_TUNABLES", None)
    sender.close()
    try:
        result = receiver.recv()
    except EOFError as error:
        raise UserError(f"{side} seed {seed} ended without a result; its error is above") from error
    except BaseException:  # interrupted by a signal
        process.kill()
        raise
    process.join()
    return (
        result
        | {"side": side, "seed": seed, "words": flags}
        | {"whole_seconds": clock() - began, "held_seconds": clock.held}
        | origin
    )


def runs_table(runs: list[Record]) -> str:
    """Returns the Markdown table of a device: a row per side, unchanged configs first."""
    sides = dict.fromkeys((run["side"], tuple(run["words"])) for run in runs)
    rows = [
        side_row(
            " ".join((side, *flags)),
            [run for run in runs if (run["side"], tuple(run["words"])) == (side, flags)],
            runs,
        )
        for side, flags in sorted(sides, key=lambda key: bool(key[1]))
    ]
    return output.markdown_table([COLUMNS, *rows])


def side_row(name: str, runs: list[Record], device_runs: list[Record]) -> list[str]:
    """Returns the row of a side from its runs; all runs on the device give the peak rate."""
    operations = runs[0]["operations"]
    rate = operations / statistics.mean(run["train_seconds"] for run in runs)
    dtype = runs[0]["side"].partition(":")[2] or "float32"
    # PyTorch's runs measure no peak, so use the peaks of the same days, on the same machine
    days = {run["date"] for run in runs}
    measured = [run["peaks"] for run in device_runs if "peaks" in run and run["date"] in days]
    peaks = [rates[dtype] for rates in measured if dtype in rates]
    return [
        name,
        str(len(runs)),
        tables.format_mean_std([run["accuracy"] for run in runs]),
        tables.format_mean_std([run["train_seconds"] + run["views_seconds"] for run in runs]),
        tables.format_mean_std([run["whole_seconds"] for run in runs]),
        f"{operations / 1e15:.3f} P",
        f"{rate / 1e9:,.0f}",
        f"{rate / statistics.mean(peaks):.0%}" if peaks else "not known",
    ]


def headline(runs: list[Record]) -> str:
    """Returns the README's sentence on a device's unchanged runs of `:94`, or "" without any.

    It includes the time relative to PyTorch if there are unchanged runs of "torch".
    """

    def unchanged(side: str) -> list[Record]:
        return [run for run in runs if run["side"] == side and not run["words"]]

    ours, theirs = (
        [(run["train_seconds"] + run["views_seconds"]) / 60 for run in unchanged(side)]
        for side in ("94", "torch")
    )
    if not ours:
        return ""
    accuracies = [run["accuracy"] for run in unchanged("94")]
    text = (
        f"**{100 * statistics.mean(accuracies):.1f} % on {runs[-1]['cores']} CPU cores in"
        f" {statistics.mean(ours):.0f} minutes**: `configs/speedrun.py` reaches"
        f" {tables.format_mean_std(accuracies)} on the test images (n = {len(ours)})"
    )
    if theirs:
        share = statistics.mean(ours) / statistics.mean(theirs)
        text += (
            f", in {100 * share:.0f} % of the time of the published recipe in PyTorch on the same"
            f" machine (n = {len(theirs)}), both in float32"
        )
    return f"{text}. [Details](benchmarks/README.md#the-speed-run)."


def write_tables(results: pathlib.Path) -> None:
    """Writes the tables of all devices to benchmarks/README.md, the CPU headline to README.md."""
    parts = []
    for file in sorted(results.glob("speedrun-*.json")):
        runs = json.loads(file.read_text())
        parts.append(f"{runs_table(runs)}\n\n{runs_note(runs)}")
        if file.stem == "speedrun-cpu":
            atomic.replace_between_marks(checkout.ROOT / "README.md", HEADLINE, headline(runs))
    atomic.replace_between_marks(checkout.README, MARKS, "\n\n".join(parts) or "Not measured yet.")


def runs_note(runs: list[Record]) -> str:
    """Returns the sentence below the table: processor, load, suspensions, commits and dates."""
    return (
        f"{runs[0]['cores']} cores of {runs[0]['processor']}; highest load before a run"
        f" {max(run['load_before'] for run in runs)}; suspended for"
        f" {sum(run['held_seconds'] for run in runs):,.0f} s in total, which neither clock counts;"
        f" commits {', '.join(dict.fromkeys(run['commit'][:7] for run in runs))};"
        f" {', '.join(sorted({run['date'] for run in runs}))}."
    )


def completed_runs(file: pathlib.Path) -> list[tuple[str, int, list[str]]]:
    """Returns the side, seed and changed config fields of every run in a device's file."""
    runs = json.loads(file.read_text()) if file.exists() else []
    return [(run["side"], run["seed"], run["words"]) for run in runs]


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="run seeds 0 to N−1 (default: 3)"
    )
    parser.add_argument(
        "--sides", default=SIDES, metavar="SIDE,…", help=f"sides to run (default: {SIDES})"
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=checkout.RESULTS,
        help="folder for the results (default: results)",
    )
    parser.add_argument(
        "--keep", type=pathlib.Path, metavar="DIR", help="keep the trained runs in DIR/SIDE-seedN"
    )
    parser.add_argument(
        "--table", action="store_true", help="only rewrite the READMEs' tables from the results"
    )
    options, flags = parser.parse_known_args()
    if options.table:
        write_tables(options.out)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that measure ends its process
    options.out.mkdir(parents=True, exist_ok=True)
    with workers.Worker(workers.Job("machine")) as machine:
        file = checkout.record_file(options.out, "speedrun", machine.ask("describe")["device"])
    changed = f"-{zlib.crc32(repr(flags).encode()):08x}" if flags else ""
    for seed in range(options.seeds):
        for side in options.sides.split(","):
            if (side, seed, flags) in completed_runs(file):
                continue
            log(f"{side} seed {seed}")
            name = f"{side.replace(':', '-')}-seed{seed}{changed}"
            run = measure(side, seed, flags, options.keep and options.keep / name)
            runs = json.loads(file.read_text()) if file.exists() else []
            with atomic.replacing(file) as out:
                out.write((json.dumps([*runs, run], indent=1) + "\n").encode())
            print(runs_table([*runs, run]), flush=True)


if __name__ == "__main__":
    run_command(main)
