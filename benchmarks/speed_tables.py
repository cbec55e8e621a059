"""The tables of benchmarks/README.md, made from results/train_speed-*.json alone."""

import json
import pathlib
from collections.abc import Iterable
from typing import Any

from jaxcifar.system import atomic

Record = dict[str, Any]
MARKS = (
    "<!-- tables: made by `python benchmarks/train_speed.py --table` -->",
    "<!-- /tables -->",
)
COLUMNS = (
    "system",
    "side",
    "ms a step",
    "images/s",
    "ours ÷ theirs, step",
    "s an epoch",
    "ours ÷ theirs, epoch",
    "of which evaluation",
    "of which checkpoint",
    "end to end, s",
    "compile, s",
    "peak MB",
    "of roofline",
)
GPU_SIDES = ("jaxcifar bfloat16", "torch.compile bfloat16", "jaxcifar float32", "torch float32")
SYSTEMS = ("adaptive", "resnet20", "simple_cnn")
MISSING = "not measured"


def write(out: pathlib.Path, readme: pathlib.Path) -> None:
    """Writes the tables of the records in `out` between the marks of the README."""
    records = [json.loads(file.read_text()) for file in sorted(out.glob("train_speed-*.json"))]
    sections = [f"### {title(record)}\n\n{of_device(record)}" for record in records]
    for kind in ("CPU", "GPU"):
        if not any((record["platform"] == "cpu") == (kind == "CPU") for record in records):
            sections.append(f"### {kind}\n\n{of_missing(kind)}")
    atomic.replace_between_marks(readme, MARKS, "\n\n".join(sections))
    print(f"wrote the tables of {len(records)} machines into {readme}")


def title(record: Record) -> str:
    """Returns "CPU" or "GPU: NVIDIA H200"."""
    return "CPU" if record["platform"] == "cpu" else f"GPU: {record['device']}"


def of_device(record: Record) -> str:
    """Returns all that was measured on a device, as Markdown."""
    systems = [name for name in SYSTEMS if name in record["systems"]]
    rows = [row for name in systems for row in rows_of(name, record["systems"][name])]
    parts = [table(COLUMNS, rows)] if rows else []
    parts += [origin(name, record["systems"][name]) for name in systems]
    if record["platform"] != "cpu":
        parts.append(targets(record))
    if "growth" in record:
        parts.append(growth(record["growth"]))
    if "startup" in record:
        parts.append(startup(record["startup"]))
    return "\n\n".join(parts)


def of_missing(kind: str) -> str:
    """Returns what there is to say of a kind of device that nothing was measured on."""
    if kind == "CPU":
        return "Not measured."
    goals = "; ".join(f"{what} {goal}" for what, goal, _ in target_rows({"systems": {}}))
    return f"Not measured. The targets, in bfloat16: {goals}."


def rows_of(system: str, record: Record) -> list[list[str]]:
    """Returns the rows of a system, one for each side; a twin's say how ours compares."""
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


def origin(system: str, record: Record) -> str:
    """Returns what the rows of a system were measured with."""
    images = f"{record['train_examples']:,} training and {record['test_examples']:,} test images"
    if record["shortened"]:
        images += ", shortened from 50,000 and 10,000"
    peaks = ", ".join(
        f"{value / 1e9:,.0f} {'GB/s' if name == 'bytes' else f'Gop/s {name}'}"
        for name, value in record["peaks"].items()
    )
    images += without_checkpoint(record["sides"].values())
    count = next(side["count"] for side in record["sides"].values() if "count" in side)
    return (
        f"{system}: an epoch is {images} ({record['data']}), medians of {record['repeats']} turns;"
        f" {count['operations'] / 1e9:.3g} G operations a step; peaks {peaks};"
        f" {circumstances(record)}."
    )


def without_checkpoint(timings: Iterable[Record]) -> str:
    """Returns a word on epochs that were timed before a checkpoint was part of them."""
    return "" if all("checkpoint_seconds" in t for t in timings) else ", without the checkpoint"


def circumstances(record: Record) -> str:
    """Returns processor, load, versions, commit and date."""
    versions = record["versions"]
    shown = ", ".join(
        f"{n} {versions[n]}" for n in ("python", "jax", "flax", "torch") if n in versions
    )
    commit = record["commit"][:7] + ("+dirty" if record["commit"].endswith("+dirty") else "")
    busy = ", BUSY WITH OTHER WORK: not a measurement to keep" * is_busy(record)
    return (
        f"{record['cores']} cores of {record['processor']}, load before"
        f" {record['load_before']:g}{busy};"
        f" {shown}; commit {commit or 'unknown'}, {record['date']}"
    )


def is_busy(record: Record) -> bool:
    """True where other processes kept more than a quarter of the cores busy before the start."""
    return record["load_before"] > record["cores"] / 4


def targets(record: Record) -> str:
    """Returns the table of what the GPU side is meant to reach."""
    return table(("target, bfloat16", "goal", "measured"), target_rows(record))


def target_rows(record: Record) -> list[list[str]]:
    """Returns what is to be reached, the goal, and what was measured."""
    systems = record["systems"]

    def sides(system: str) -> Record:
        return systems.get(system, {}).get("sides", {})

    def median(system: str, side: str) -> float | None:
        return sides(system).get(side, {}).get("epoch_seconds", {}).get("median")

    rows = []
    whole = not systems.get("adaptive", {}).get("shortened")
    epoch = median("adaptive", GPU_SIDES[0]) if whole else None
    rows.append(["adaptive, s an epoch", "≤ 0.40", number(epoch)])
    long = sides("resnet20").get(GPU_SIDES[0], {}).get("long", {})
    rows.append(["resnet20, s for 200 epochs, all told", "≤ 40", number(long.get("seconds"))])
    for system in SYSTEMS:
        ours, theirs = (median(system, side) for side in GPU_SIDES[:2])
        ratio = theirs / ours if ours and theirs else None
        rows.append([f"{system}, epochs against torch.compile", "≥ 2", number(ratio)])
    return rows


def growth(record: Record) -> str:
    """Returns the table of time and memory over the number of images."""
    rows = [
        [
            f"{row['examples']:,}",
            number(row["epoch_seconds"]["median"]),
            number(1e6 * row["epoch_seconds"]["median"] / row["examples"]),
            f"{row['peak_memory_mb']:,.0f}",
        ]
        for row in record["rows"]
    ]
    text = table(("images", "s an epoch", "µs an image", "peak MB"), rows)
    without = without_checkpoint(record["rows"])
    return f"Growth, simple_cnn ({record['data']}{without}):\n\n{text}\n\n{circumstances(record)}."


def startup(record: Record) -> str:
    """Returns the table of start-up times."""
    rows = [["`python -m jaxcifar.train --help`", number(record["help_seconds"]), ""]]
    for system, times in record["first_step"].items():
        cells = (number(times[key]) for key in ("cold_seconds", "warm_seconds"))
        rows.append([f"{system}: from the command to its first step", *cells])
    text = table(("start-up, s", "cold", "with a compile cache"), rows)
    return f"{text}\n\n{circumstances(record)}."


def table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    """Returns a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None) -> str:
    """Returns three significant digits, or that there is no measurement."""
    if value is None:
        return MISSING
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
