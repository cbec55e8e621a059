"""Copies the weights of a run into a new folder that is small enough to share."""

import pathlib
import shutil
from typing import Any

from jaxcifar.config import schema
from jaxcifar.errors import UserError
from jaxcifar.run import damage, metrics, workdir
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.training import experiment
from jaxcifar.training.evaluation import VIEWS

CARD = "README.md"


def release(source: pathlib.Path, step: str, out: pathlib.Path) -> str:
    """Writes the model of a step of the run in `source` to `out`; returns its card, Markdown.

    There are its weights as `evaluate` takes them (config.json, steps/), the metrics of the run
    and the card. Where the data lay is left out.

    Raises:
      UserError: `out` exists or cannot be written; no such run or step; or its weights are others'.
    """
    if out.exists():
        raise UserError(f"--out={out} exists; choose a folder that does not")
    config = workdir.load_config(source).copy_and_resolve_references()
    with config.unlocked():
        config.data.dir = ""
    parts = experiment.build_experiment(config, to_train=False)
    with Checkpoints(source) as checkpoints:
        number = checkpoints.find_step(step)
        model = checkpoints.restore_model(number, parts.abstract_model())
        meta = checkpoints.meta(number)
    if "imported" in meta:
        raise UserError(
            f"{source} was imported from {meta['imported']['file']}, of whose training and licence"
            " nothing is known here; share that file instead"
        )
    meta["config"] = schema.to_json(config)
    line = next((line for line in metrics.read(source) if line["step"] == number), {})
    with damage.as_user_error(f"cannot write to --out {out}"):
        write(out, number, model, meta, line.get("test_accuracy"))
        shutil.copy(source / metrics.FILE, out)
        size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
        text = card(out, meta, line, experiment.describe_parameters(model["params"]), size)
        workdir.write_text(out / CARD, text)
    return text


def write(
    out: pathlib.Path,
    number: int,
    model: dict[str, Any],
    meta: dict[str, Any],
    accuracy: float | None,
) -> None:
    """Writes {params, batch_stats, ema} to the new folder `out`, as that step of a run.

    `meta` is the JSON kept with a step; `accuracy` the one known of it.
    """
    out.mkdir(parents=True)
    workdir.write_text(out / "config.json", meta["config"] + "\n")
    with Checkpoints(out, writing=True) as kept:
        kept.release(number, model, meta, accuracy)
    for file in out.rglob("commit_success.txt"):
        file.unlink()  # which nobody reads, and has the path of this machine


def card(
    out: pathlib.Path, meta: dict[str, Any], line: dict[str, Any], parameters: str, size: int
) -> str:
    """Returns what there is to know of released weights, as Markdown."""
    config = schema.from_json(meta["config"])
    scored = VIEWS[config.get("evaluation", {}).get("views", 1)]
    accuracy = f"{line['test_accuracy']:.4f}{scored}" if "test_accuracy" in line else "not scored"
    rows = {
        "model": f"{config.model.name}, {parameters}, float32",
        "trained on": f"{meta['data']['source']} ({meta['data']['checksum'][:12]}…)",
        "epochs, seed": f"{line.get('epoch', '?')} of {config.num_epochs}, seed {config.seed}",
        "test accuracy": accuracy,
        "commit": meta["commit"],
        "versions": ", ".join(f"{k} {v}" for k, v in meta["versions"].items()),
        "device": meta["device"],
        "date": meta["date"],
        "licence": "MIT",
        "size": f"{size / 2**20:.1f} MB",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return (
        f"# {out.name}\n\n| | |\n|---|---|\n{table}\n\n"
        f"    python -m jaxcifar.evaluate --checkpoint={out.as_posix()}\n"
    )
