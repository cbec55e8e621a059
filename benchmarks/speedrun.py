"""The speed run: n seeds of ours and n of the published recipe in PyTorch, in turns.

    python benchmarks/speedrun.py [--seeds=3] [--sides=94,93,90,torch,torch:bfloat16] [--keep=DIR]
    python benchmarks/speedrun.py --table

A side is a variant of configs/speedrun.py, with ":bfloat16" or without, or PyTorch's. Each run is a
process of its own; what is done already is kept in results/speedrun-DEVICE.json and not repeated.
Other words, such as --config.data.validation=5000, go to our side.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import statistics
import sys
import threading
import time
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the package need not be installed

from jaxcifar import data
from jaxcifar.claims import tables
from jaxcifar.errors import UserError
from jaxcifar.run import provenance
from jaxcifar.system import atomic
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
# of the published recipe: six for each multiply-add of an image's forward pass, 8 epochs
TORCH_OPERATIONS = 6 * 118_147_360 * 8 * 50_000


class Clock:
    """Seconds in which this process was not held (`kill -STOP`): a thread sees the gaps."""

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


def work(pipe: Any, side: str, seed: int, words: list[str], keep: pathlib.Path | None) -> None:
    """Runs one side in a process of its own, which alone imports its library."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
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

        result = speedrun_jax.run(name, dtype or "float32", seed, words, clock, keep)
    pipe.send(result)


def measure(
    side: str, seed: int, words: list[str], keep: pathlib.Path | None = None
) -> dict[str, Any]:
    """Returns what one run gives, with the seconds of its whole process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, side, seed, words, keep))
    clock = Clock()
    load, began = os.getloadavg()[0], clock()
    before = os.environ.get("GLIBC_TUNABLES")
    if before is None and not side.startswith("torch"):  # as configs/speedrun.py says
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0"
    process.start()
    if before is None:
        os.environ.pop("GLIBC_TUNABLES", None)
    theirs.close()
    try:
        result = ours.recv()
    except EOFError as error:
        raise UserError(f"{side} seed {seed} ended without a result; its error is above") from error
    process.join()
    return result | {
        "side": side,
        "seed": seed,
        "words": words,
        "whole_seconds": clock() - began,
        "held_seconds": clock.held,  # not in any of the others
        "load_before": round(load, 2),
        "commit": provenance.commit(),
        "versions": provenance.versions() | {"torch": provenance.version("torch")},
        "processor": provenance.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "date": time.strftime("%Y-%m-%d"),
    }


def table(runs: list[dict[str, Any]]) -> str:
    """Returns the Markdown table of a device's runs: a row for each side, those as they are first,
    then those with changes."""
    rows = [
        "| side | n | accuracy | s: training, views | s: all | operations | Gop/s | of the peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    sides = dict.fromkeys((run["side"], tuple(run["words"])) for run in runs)
    for side, words in sorted(sides, key=lambda one: bool(one[1])):
        mine = [run for run in runs if (run["side"], tuple(run["words"])) == (side, words)]
        operations = mine[0]["operations"]
        rate = operations / statistics.mean(run["train_seconds"] for run in mine)
        dtype = side.partition(":")[2] or "float32"
        # PyTorch's runs measure none: those of the same days, so of the same machine
        days = {run["date"] for run in mine}
        peaks = [run["peaks"] for run in runs if "peaks" in run and run["date"] in days]
        best = [peak[dtype] for peak in peaks if dtype in peak]
        share = f"{rate / statistics.mean(best):.0%}" if best else "not known"
        rows.append(
            f"| {' '.join((side, *words))} | {len(mine)} |"
            f" {tables.spread([run['accuracy'] for run in mine])} |"
            f" {tables.spread([r['train_seconds'] + r['views_seconds'] for r in mine])} |"
            f" {tables.spread([run['whole_seconds'] for run in mine])} |"
            f" {operations / 1e15:.3f} P | {rate / 1e9:,.0f} | {share} |"
        )
    return "\n".join(rows)


def headline(runs: list[dict[str, Any]]) -> str:
    """Returns what the README says of a device's whole runs of `:94`, and of PyTorch's beside them;
    nothing where there are none.
    """

    def of(side: str) -> list[dict[str, Any]]:
        return [run for run in runs if run["side"] == side and not run["words"]]

    ours, theirs = (
        [(run["train_seconds"] + run["views_seconds"]) / 60 for run in of(side)]
        for side in ("94", "torch")
    )
    if not ours:
        return ""
    accuracies = [run["accuracy"] for run in of("94")]
    text = (
        f"**{100 * statistics.mean(accuracies):.1f} % on {runs[-1]['cores']} CPU cores in"
        f" {statistics.mean(ours):.0f} minutes**: `configs/speedrun.py` reaches"
        f" {tables.spread(accuracies)} on the test images (n = {len(ours)})"
    )
    if theirs:
        share = statistics.mean(ours) / statistics.mean(theirs)
        text += (
            f", in {share:.2f} times what the published recipe takes in PyTorch beside it (n ="
            f" {len(theirs)})"
        )
    return f"{text}: [how, and on what](benchmarks/README.md#the-speed-run)."


def write_table(out: pathlib.Path) -> None:
    """Writes the tables of all devices into benchmarks/README.md, the CPU's line into README.md."""
    parts = []
    for file in sorted(out.glob("speedrun-*.json")):
        runs = json.loads(file.read_text())
        first = runs[0]
        parts.append(
            f"{table(runs)}\n\n{first['cores']} cores of {first['processor']}; greatest load before"
            f" a run {max(run['load_before'] for run in runs)}; held for"
            f" {sum(run['held_seconds'] for run in runs):,.0f} s in all, which no clock counts;"
            f" commit {', '.join(dict.fromkeys(run['commit'][:7] for run in runs))};"
            f" {', '.join(sorted({run['date'] for run in runs}))}."
        )
        if file.stem == "speedrun-cpu":
            atomic.replace_between_marks(ROOT / "README.md", HEADLINE, headline(runs))
    atomic.replace_between_marks(
        ROOT / "benchmarks" / "README.md", MARKS, "\n\n".join(parts) or "Not measured yet."
    )


def done(out: pathlib.Path) -> list[tuple[str, int, list[str]]]:
    """Returns what has been measured: side, seed, and what was changed in the config."""
    runs = [run for file in out.glob("speedrun-*.json") for run in json.loads(file.read_text())]
    return [(run["side"], run["seed"], run["words"]) for run in runs]


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N−1")
    parser.add_argument("--sides", default=SIDES, metavar="SIDE,…")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "results")
    parser.add_argument(
        "--keep", type=pathlib.Path, metavar="DIR", help="keep our runs, in DIR/SIDE-seedN"
    )
    parser.add_argument("--table", action="store_true", help="only: write the README's table")
    options, words = parser.parse_known_args()
    if options.table:
        write_table(options.out)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        for side in options.sides.split(","):
            if (side, seed, words) in done(options.out):
                continue
            print(f"{side} seed {seed}", file=sys.stderr, flush=True)
            keep = options.keep and options.keep / f"{side.replace(':', '-')}-seed{seed}"
            run = measure(side, seed, words, keep)
            name = run["device"].replace(" ", "_").lower()
            file = options.out / f"speedrun-{name}.json"
            runs = json.loads(file.read_text()) if file.exists() else []
            with atomic.replacing(file) as out:
                out.write((json.dumps([*runs, run], indent=1) + "\n").encode())
            print(table([*runs, run]), flush=True)


if __name__ == "__main__":
    run_command(main)
