"""Copies the weights of a run to a new folder, which is small enough to share."""

import os
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from jaxcifar.config import schema
from jaxcifar.errors import UserError, printable
from jaxcifar.run import damage, manifest, metrics, workdir
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.run.saved_model import read_model
from jaxcifar.stats.accuracy import wilson
from jaxcifar.system import atomic, output
from jaxcifar.training import experiment, initial
from jaxcifar.training.views import VIEWS

CARD_FILE = "README.md"
LICENCE = "MIT"
# Numbers of training and test images, for older runs whose metadata do not give them.
SIZES = {"cifar10": (50_000, 10_000), "synthetic": (10_000, 2_000)}


def release_weights(
    source: pathlib.Path, step: str, out: pathlib.Path, licence: str = LICENCE
) -> str:
    """Writes the weights of a step of the run in `source` to the new folder `out`.

    The folder holds the weights that `evaluate` uses (config.json and steps/), the run's metrics
    and a Markdown card, which is returned. The path of the data is left out.

    Raises:
      UserError: `out` exists or cannot be written, the run or step does not exist, or its weights
        were imported.
    """
    if os.path.lexists(out):
        raise UserError(f"--out={out} already exists; choose another folder")
    config = schema.without_paths(workdir.load_config(source))
    with workdir.naming(source):
        parts = experiment.build_experiment(config, to_train=False)
    number, model, meta = read_model(source, step, parts.abstract_model())
    if "imported" in meta:
        raise UserError(
            f"{source} was imported from {meta['imported']['file']}, whose training and licence are"
            " unknown; share that file instead"
        )
    meta["config"] = schema.to_json(config)
    lines = metrics.read(source)
    line = next((line for line in lines if line["step"] == number), {})
    with damage.reporting(f"cannot write to --out {out}"):
        write_weights(out, number, model, meta, line.get("test_accuracy"))
        for each in lines:
            metrics.append(out, each)
        size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
        parameters = experiment.describe_parameters(model["params"])
        card = format_card(out, meta, line, parameters, size, licence)
        atomic.write_text(out / CARD_FILE, card)
    return card


def write_weights(
    out: pathlib.Path,
    number: int,
    model: dict[str, Any],
    meta: dict[str, Any],
    accuracy: float | None,
) -> None:
    """Writes {params, batch_stats, ema} to the new folder `out`, as step `number` of a run.

    `meta` is the JSON saved with a step, and `accuracy` the step's test accuracy, if known.
    """
    workdir.check_path(out)
    out.mkdir(parents=True)
    atomic.write_text(out / "config.json", meta["config"] + "\n")
    with Checkpoints(out, writing=True) as checkpoints:
        checkpoints.release(number, model, meta, accuracy)
    for file in out.rglob(manifest.UNREAD):
        file.unlink()


def format_card(
    out: pathlib.Path,
    meta: dict[str, Any],
    line: dict[str, Any],
    parameters: str,
    size: int,
    licence: str,
) -> str:
    """Returns the card of released weights as Markdown; `line` is the step's line of metrics."""
    config = schema.from_json(meta["config"])
    start = meta.get(initial.KEY)
    views = VIEWS[config.get("evaluation", {}).get("views", 1)]
    accuracy = line.get("test_accuracy")  # None if it was not finite
    images = count_images(meta, config.data)
    scored, interval = "not scored", "–"
    if accuracy is not None:
        scored, test = f"{accuracy:.4f}{views}", images.get("test", 0)
        low, high = wilson(round(accuracy * test), test)
        interval = f"{low:.4f}–{high:.4f} ({test:,} images)" if test else "–"
    rows = {
        "model": f"{config.model.name}, {parameters}, float32",
        "trained on": f"{meta['data']['source']} ({meta['data']['checksum'][:12]}…)",
        "training images": f"{images['train']:,}" if images else "not recorded",
        **({"initial weights": start["name"]} if start else {}),
        "epochs, seed": f"{line.get('epoch', '?')} of {config.num_epochs}, seed {config.seed}",
        "test accuracy": scored,
        "its 95 % interval": interval,
        "commit": meta["commit"],
        "versions": ", ".join(f"{k} {v}" for k, v in meta["versions"].items()),
        "device": meta["device"],
        "date": meta["date"],
        "licence": licence,
        "size": f"{size / 1e6:.1f} MB",
    }
    table = output.markdown_table([("", ""), *rows.items()])
    return (
        f"# {output.markdown_cell(out.name)}\n\n{table}\n\n"
        f"    python -m jaxcifar.evaluate --checkpoint={shlex.quote(printable(out.as_posix()))}\n"
    )


def count_images(meta: dict[str, Any], data: Mapping[str, Any]) -> dict[str, int]:
    """Returns the numbers of training and test images of a run, by split; {} if they are unknown.

    `data` is `config.data`.
    """
    if "images" in meta:
        return dict(meta["images"])
    if "imported" in meta or data["source"] not in SIZES:
        return {}
    train, test = SIZES[data["source"]]
    kept = data.get("train_examples", 0) or train - data.get("validation", 0)
    return {"train": kept, "test": test}
