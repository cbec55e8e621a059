"""Makes the speed tables of benchmarks/README.md from results/train_speed-*.json."""

import json
import pathlib
from collections.abc import Iterable
from typing import Any

from jaxcifar.system import atomic, output

Record = dict[str, Any]
MARKS = (
    "<!-- tables: made by `python benchmarks/train_speed.py --table` -->",
    "<!-- /tables -->",
)
COLUMNS = (
    "system",
    "side",
    "ms/step",
    "images/s",
    "our speed-up, step",
    "s/epoch",
    "our speed-up, epoch",
    "evaluation, s",
    "checkpoint, s",
    "end to end, s",
    "compile, s",
    "peak MB",
    "of roofline",
)
GPU_SIDES = ("jaxcifar bfloat16", "torch.compile bfloat16", "jaxcifar float32", "torch float32")
SYSTEMS = ("adaptive", "resnet20", "simple_cnn")


def write_tables(results: pathlib.Path, readme: pathlib.Path) -> None:
    """Writes the tables of the records in `results` between the marks of the README."""
    records = [json.loads(file.read_text()) for file in sorted(results.glob("train_speed-*.json"))]
    sections = [f"### {device_title(record)}\n\n{device_tables(record)}" for record in records]
    for kind in ("CPU", "GPU"):
        if not any((record["platform"] == "cpu") == (kind == "CPU") for record in records):
            sections.append(f"### {kind}\n\n{missing_text(kind)}")
    atomic.replace_between_marks(readme, MARKS, "\n\n".join(sections))
    print(f"wrote the tables of {len(records)} machines into {readme}")


def device_title(record: Record) -> str:
    """Returns "CPU" or a title such as "GPU: NVIDIA H200"."""
    return "CPU" if record["platform"] == "cpu" else f"GPU: {record['device']}"


def device_tables(record: Record) -> str:
    """Returns everything measured on a device, as Markdown."""
    systems = [name for name in SYSTEMS if name in record["systems"]]
    rows = [row for name in systems for row in system_rows(name, record["systems"][name])]
    parts = [output.markdown_table([COLUMNS, *rows])] if rows else []
    parts += [system_note(name, record["systems"][name]) for name in systems]
    if record["platform"] != "cpu":
        parts.append(
            output.markdown_table([("target, bfloat16", "goal", "measured"), *target_rows(record)])
        )
    if "growth" in record:
        parts.append(growth_table(record["growth"]))
    if "startup" in record:
        parts.append(startup_table(record["startup"]))
    return "\n\n".join(parts)


def missing_text(kind: str) -> str:
    """Returns the text for a kind of device that was never measured."""
    if kind == "CPU":
        return "Not measured."
    goals = "; ".join(f"{target} {goal}" for target, goal, _ in target_rows({"systems": {}}))
    return f"Not measured. Our goals, in bfloat16: {goals}."


def system_rows(system: str, record: Record) -> list[list[str]]:
    """Returns the rows of a system, one per side; a twin's row has jaxcifar's speed-up over it."""
    rows = []
    for name, side in record["sides"].items():
        ours = record["sides"][f"jaxcifar {name.split()[1]}"]
        step = epoch = ""
        if side is not ours:
            step = f"{side['step_ms']['median'] / ours['step_ms']['median']:.2f}"
            epoch = f"{side['epoch_seconds']['median'] / ours['epoch_seconds']['median']:.2f}"
        rows.append(
            [
                system + (" (shortened)" if record["shortened"] else ""),
                name,
                number(side["step_ms"]["median"]),
                f"{side['examples_per_second']:,.0f}",
                step,
                number(side["epoch_seconds"]["median"]),
                epoch,
                number(side["evaluation_seconds"]["median"]),
                number(side.get("checkpoint_seconds", {}).get("median")),
                number(side["end_to_end_seconds"]),
                "" if side["compile_seconds"] is None else number(side["compile_seconds"]),
                f"{side['peak_memory_mb']:,.0f}",
                f"{side['roofline_fraction']:.1%}",
            ]
        )
    return rows


def system_note(system: str, record: Record) -> str:
    """Returns the sentence below the table that describes how a system was measured."""
    images = f"{record['train_examples']:,} training and {record['test_examples']:,} test images"
    if record["shortened"]:
        images += ", shortened from 50,000 and 10,000"
    images += without_checkpoint(record["sides"].values())
    peaks = ", ".join(
        f"{value / 1e9:,.0f} {'GB/s' if name == 'bytes' else f'Gop/s {name}'}"
        for name, value in record["peaks"].items()
    )
    count = next(side["count"] for side in record["sides"].values() if "count" in side)
    return (
        f"{system}: an epoch is {images} ({record['data']}), medians of {record['repeats']} turns;"
        f" {count['operations'] / 1e9:.3g} G operations per step; peaks {peaks};"
        f" {origin(record)}."
    )


def without_checkpoint(timings: Iterable[Record]) -> str:
    """Returns a note for epochs that were timed before they included a checkpoint."""
    return "" if all("checkpoint_seconds" in t for t in timings) else ", without the checkpoint"


def origin(record: Record) -> str:
    """Returns the processor, load, versions, commit and date of a measurement."""
    versions = record["versions"]
    shown = ", ".join(
        f"{n} {versions[n]}" for n in ("python", "jax", "flax", "torch") if n in versions
    )
    commit = record["commit"][:7] + ("+dirty" if record["commit"].endswith("+dirty") else "")
    busy = ", MACHINE BUSY: do not keep this measurement" * is_busy(record)
    return (
        f"{record['cores']} cores of {record['processor']}, load {record['load_before']:g} before"
        f" the start{busy}; {shown}; commit {commit or 'unknown'}, {record['date']}"
    )


def is_busy(record: Record) -> bool:
    """Returns whether other processes used more than a quarter of the cores before the start."""
    return record["load_before"] > record["cores"] / 4


def target_rows(record: Record) -> list[list[str]]:
    """Returns the GPU targets, each with its goal and its measurement."""
    systems = record["systems"]

    def sides(system: str) -> Record:
        return systems.get(system, {}).get("sides", {})

    def median(system: str, side: str) -> float | None:
        return sides(system).get(side, {}).get("epoch_seconds", {}).get("median")

    rows = []
    whole = not systems.get("adaptive", {}).get("shortened")
    epoch = median("adaptive", GPU_SIDES[0]) if whole else None
    rows.append(["adaptive, s/epoch", "≤ 0.40", number(epoch)])
    long = sides("resnet20").get(GPU_SIDES[0], {}).get("long", {})
    rows.append(["resnet20, s for 200 epochs in total", "≤ 40", number(long.get("seconds"))])
    for system in SYSTEMS:
        ours, theirs = (median(system, side) for side in GPU_SIDES[:2])
        ratio = theirs / ours if ours and theirs else None
        rows.append([f"{system}, epoch speed-up over torch.compile", "≥ 2", number(ratio)])
    return rows


def growth_table(record: Record) -> str:
    """Returns the table of time and memory by number of images."""
    rows = [
        [
            f"{row['examples']:,}",
            number(row["epoch_seconds"]["median"]),
            number(1e6 * row["epoch_seconds"]["median"] / row["examples"]),
            f"{row['peak_memory_mb']:,.0f}",
        ]
        for row in record["rows"]
    ]
    note = f"{record['data']}{without_checkpoint(record['rows'])}"
    text = output.markdown_table([("images", "s/epoch", "µs/image", "peak MB"), *rows])
    return (
        f"Time and memory by number of images, simple_cnn ({note}):\n\n{text}\n\n{origin(record)}."
    )


def startup_table(record: Record) -> str:
    """Returns the table of start-up times."""
    rows = [["`python -m jaxcifar.train --help`", number(record["help_seconds"]), ""]]
    for system, times in record["first_step"].items():
        cells = (number(times[key]) for key in ("cold_seconds", "warm_seconds"))
        rows.append([f"{system}: from the command to its first step", *cells])
    columns = ("start-up, s", "without a compile cache", "with a compile cache")
    return f"{output.markdown_table([columns, *rows])}\n\n{origin(record)}."


def number(value: float | None) -> str:
    """Returns the value with three significant digits, or "not measured" for None."""
    if value is None:
        return "not measured"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
