"""Shows, before training, the layers of the net and a batch as the net sees it.

python -m jaxcifar.train --config=configs/adaptive.py --summary
python -m jaxcifar.train --config=configs/adaptive.py --show_batch
"""

import functools
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from flax.linen import summary
from ml_collections import ConfigDict

from jaxcifar import data, models
from jaxcifar.data.split import SIZE
from jaxcifar.figures import png
from jaxcifar.run import workdir
from jaxcifar.system import devices, output
from jaxcifar.training import experiment, freeze, mixing
from jaxcifar.training.augment import Batch
from jaxcifar.training.epoch import epoch_order

SHOWN, COLUMNS = 64, 8  # images in the picture, and in a row


def describe_layers(model: nn.Module, frozen: freeze.Patterns = ()) -> str:
    """Returns a table of the layers with their parameters and their operations for one image.

    An array that belongs to no single layer has a line of its own, with its shape. With `frozen`,
    the last column has the number of parameters that these patterns freeze.
    """
    # a private function of Flax, because `nn.tabulate` prints this table in 200 columns
    table = summary._get_module_table(
        model, depth=None, show_repeated=False, compute_flops=True, compute_vjp_flops=False
    )(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)), train=False)
    lines: list[tuple[Any, ...]] = []
    last: list[tuple[Any, ...]] = []
    containers = {row.path[:-1] for row in table}
    for row in table:
        params, fixed = (_leaves(row, kind) for kind in ("params", "batch_stats"))
        if row.path in containers:
            lines += [(path, "fixed", array.shape, {}, None) for path, array in fixed.items()]
            last += [(p, "parameter", array.shape, {p: array}, None) for p, array in params.items()]
        elif params:
            shape, kind = jax.tree.leaves(row.outputs)[0].shape[1:], type(row.module_copy).__name__
            lines.append(("/".join(row.path), kind, shape, params, row.flops))
    lines += last
    every = {path: array for line in lines for path, array in line[3].items()}
    lines.append(("all", "", (), every, next(iter(table)).flops))
    cells = [("layer", "kind", "output", "parameters", "operations", "frozen")]
    for name, kind, shape, params, operations in lines:
        sizes = {path: array.size for path, array in params.items()}
        kept = sum(size for path, size in sizes.items() if freeze.is_frozen(frozen, path))
        counts = (f"{sum(sizes.values()):,}", "" if operations is None else f"{operations:,}")
        cells.append((name, kind, "×".join(map(str, shape)), *counts, f"{kept:,}"))
    columns = [[*column] for column in zip(*cells, strict=True)][: None if frozen else -1]
    widths = [max(map(len, column)) for column in columns]
    form = "  ".join(f"{{:{side}{width}}}" for side, width in zip("<<<>>>", widths, strict=False))
    return "\n".join(form.format(*row).rstrip() for row in zip(*columns, strict=True))


def _leaves(row: Any, kind: str) -> dict[str, Any]:
    """Returns the params or batch_stats of a row of Flax's table, by path."""
    flat = traverse_util.flatten_dict(dict(row.counted_variables.get(kind, {})))
    return {"/".join((*row.path, *path)): array for path, array in flat.items()}


def print_summary(config: ConfigDict) -> None:
    """Prints the layers of the net; reads no data and trains nothing."""
    with output.busy("describing the net"):
        parts = experiment.build_experiment(config)
        # a platform's own implementations, such as Winograd's, need other numbers of operations
        model = models.build_model(parts.config.model, jnp.float32, "")
        text = describe_layers(model, parts.config.optimizer.freeze)
    if devices.is_leader():
        print(text)
        print("Operations are those of one image's forward pass, as XLA counts them.")


def first_batch(
    parts: experiment.Experiment, dataset: data.Dataset
) -> tuple[np.ndarray, list[str]]:
    """Returns the first images of the first step, with values 0 to 1, and their labels as text.

    They are augmented as in training; only the normalisation is undone.
    """
    c = parts.config
    index = epoch_order(c.seed, 0, len(dataset.train.labels))[: c.batch_size]
    images, labels = (jnp.asarray(part[np.asarray(index)]) for part in dataset.train)
    batch = Batch(images, labels, index, jnp.int32(0), jnp.int32(c.seed))
    prepare = jax.jit(functools.partial(parts.prepare, size=parts.augment.size_of(0)))
    inputs = prepare(batch, jnp.int32(0))
    pixels = inputs.x.astype(jnp.float32) * jnp.array(c.augment.std) + jnp.array(c.augment.mean)
    names = [dataset.class_names[label] for label in np.asarray(labels)]
    if inputs.weight is not None:
        share = float(inputs.weight)
        others = [dataset.class_names[label] for label in np.asarray(mixing.partner(labels))]
        pairs = zip(names, others, strict=True)
        names = [f"{share:.2f} {one}\n{1 - share:.2f} {other}" for one, other in pairs]
    return np.asarray(pixels.clip(0, 1))[:SHOWN], names[:SHOWN]


def show_batch(config: ConfigDict, workdir_of_run: pathlib.Path) -> None:
    """Writes a picture of the first batch to a new folder beside the workdir and prints its path.

    The workdir is neither created nor read.
    """
    with output.busy("drawing the batch"):
        parts = experiment.build_experiment(config)
        dataset = experiment.load_data(parts.config)
        pixels, names = first_batch(parts, dataset)
        if not devices.is_leader():
            return
        folder = workdir.make_folder_beside(workdir_of_run, "show_batch")
        rows = -(-len(names) // COLUMNS)
        size = (1.2 * COLUMNS, 1.5 * rows)
        with png.drawing(folder / "batch.png", rows, COLUMNS, size) as (_, axes):
            for axis, *shown in zip(axes.flat, pixels, names, strict=False):
                axis.imshow(shown[0], interpolation="nearest")
                axis.set_title(shown[1], fontsize=7)
            for axis in axes.flat:
                axis.axis("off")
    print(f"wrote {folder}/batch.png, {len(names)} of {config.batch_size} images of the first step")
