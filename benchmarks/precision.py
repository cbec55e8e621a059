"""Trains the same seeds in bfloat16 and in float32, and compares their accuracies.

    python benchmarks/precision.py [--seeds=3] [--configs=CONFIG,…] [--work=DIR] [--runs_at_once=M]
    python benchmarks/precision.py --table

Each config is swept over compute_dtype by `jaxcifar.sweep`, in its own folder in DIR; the same
command continues a sweep. Writes results/precision.json and the table in benchmarks/README.md.
Other flags are passed to `jaxcifar.sweep`.
"""

import argparse
import json
import pathlib
import subprocess
import sys
from typing import Any

import checkout

from jaxcifar.claims import records, tables
from jaxcifar.config import files
from jaxcifar.errors import UserError
from jaxcifar.launch.grid import Swept, make_grid
from jaxcifar.stats import intervals
from jaxcifar.system import atomic, output
from jaxcifar.system.command import run_command

OUT = checkout.RESULTS / "precision.json"
MARKS = (
    "<!-- precision: made by `python benchmarks/precision.py --table` -->",
    "<!-- /precision -->",
)
CONFIGS = "simple_cnn.py:base,simple_cnn.py:batchnorm,pooled_cnn.py:lr0.005"
DTYPES = "float32", "bfloat16"
COLUMNS = (
    *("net", "n", "float32", "bfloat16"),
    *("bfloat16 − float32, 95 % interval", "minutes/run, float32", "minutes/run, bfloat16"),
)
Record = dict[str, Any]


def measure(config_file: str, seeds: int, out: pathlib.Path, flags: list[str]) -> list[Record]:
    """Trains a config in both types; returns the last epoch of each run.

    Raises:
      UserError: a run failed; `sweep` has printed why.
    """
    command = [sys.executable, "-m", "jaxcifar.sweep", f"--config={config_file}"]
    command += [f"--sweep=compute_dtype={','.join(DTYPES)}", f"--seeds={seeds}", f"--out={out}"]
    if subprocess.run([*command, *flags], cwd=checkout.ROOT, check=False).returncode:
        raise UserError(f"the sweep of {config_file} failed; the reason is above")
    changes = [flag for flag in flags if flag.startswith("--config.")]
    grid = make_grid(config_file, [Swept("compute_dtype", DTYPES)], changes)
    found = records.read(out, grid.runs, grid.config_of)
    return [
        {"config": files.config_name(config_file), "dtype": dtype}
        | {key: record[key] for key in ("seed", "seconds", "device", "commit", "data")}
        | {key: record["epochs"][-1][key] for key in ("epoch", "test_accuracy", "test_loss")}
        for dtype, by_seed in zip(DTYPES, found.values(), strict=True)
        for record in by_seed.values()
    ]


def pair_runs(config: str, runs: list[Record]) -> list[tuple[Record, Record]]:
    """Returns the float32 and the bfloat16 run of each seed that a config has in both types."""
    float32, bfloat16 = (
        {run["seed"]: run for run in runs if (run["config"], run["dtype"]) == (config, dtype)}
        for dtype in DTYPES
    )
    return [(float32[seed], bfloat16[seed]) for seed in sorted(float32.keys() & bfloat16.keys())]


def precision_table(runs: list[Record]) -> str:
    """Returns the Markdown table, with a row per config and a row for all of them.

    Raises:
      UserError: no config has two seeds in both types.
    """
    pairs = {run["config"]: pair_runs(run["config"], runs) for run in runs}
    differences = {
        config: [half["test_accuracy"] - full["test_accuracy"] for full, half in of_config]
        for config, of_config in pairs.items()
    }
    spread = intervals.pool(differences.values())
    if spread is None:
        raise UserError("the table needs two seeds of a config in both types; run with --seeds=2")

    def interval(values: list[float]) -> str:
        mean, half_width = (
            intervals.mean_std(values)[0],
            intervals.mean_half_width(spread, len(values)),
        )
        return f"{mean:+.4f} ± {half_width:.4f}"

    rows = []
    for config, of_config in pairs.items():
        sides = list(zip(*of_config, strict=True))
        accuracies = [
            tables.format_mean_std([run["test_accuracy"] for run in side]) for side in sides
        ]
        minutes = [intervals.mean_std([run["seconds"] / 60 for run in side])[0] for side in sides]
        rows.append(
            [config, str(len(of_config)), *accuracies, interval(differences[config])]
            + [f"{value:.1f}" for value in minutes]
        )
    every = [value for values in differences.values() for value in values]
    rows.append(["all", str(len(every)), "", "", interval(every), "", ""])
    first, commits = runs[0], dict.fromkeys(run["commit"][:7] for run in runs)
    return (
        f"{output.markdown_table([COLUMNS, *rows])}\n\nThe standard deviation of the"
        f" differences, pooled over the nets, is {spread.std:.4f} with {spread.dof} degrees of"
        f" freedom. {first['data']['source']}, {first['epoch']} epochs, test accuracy after the"
        f" last; {first['device']}; commit {', '.join(commits)}."
    )


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="run seeds 0 to N−1 (default: 3)"
    )
    parser.add_argument(
        "--configs",
        default=CONFIGS,
        metavar="CONFIG,…",
        help=f"configs to train, from configs/ (default: {CONFIGS})",
    )
    parser.add_argument(
        "--work",
        type=pathlib.Path,
        default=checkout.ROOT / "checkpoints" / "precision",
        metavar="DIR",
        help="folder of the sweeps; default: checkpoints/precision",
    )
    parser.add_argument(
        "--table", action="store_true", help="only rewrite the README's table from the results"
    )
    options, flags = parser.parse_known_args()
    if not options.table:
        runs = json.loads(OUT.read_text()) if OUT.exists() else []
        for name in options.configs.split(","):
            config = files.config_name(name)
            found = measure(
                str(checkout.CONFIGS / name), options.seeds, options.work.resolve() / config, flags
            )
            runs = [run for run in runs if run["config"] != config] + found
            atomic.write_text(OUT, json.dumps(runs, indent=1) + "\n")
    text = precision_table(json.loads(OUT.read_text()))
    atomic.replace_between_marks(checkout.README, MARKS, text)
    print(text)


if __name__ == "__main__":
    run_command(main)
