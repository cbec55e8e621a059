"""The rate-range test (Smith, arXiv 1506.01186): the loss of a config while its rate rises.

python -m jaxcifar.train --config=configs/adaptive.py --find_rate
"""

import math
import pathlib
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from scipy import ndimage

from jaxcifar import data
from jaxcifar.figures import plots
from jaxcifar.run import workdir
from jaxcifar.run.progress import format_metric
from jaxcifar.system import devices, output
from jaxcifar.training import experiment, losses, optim
from jaxcifar.training.state import Carry

LOW, HIGH, STEPS = 1e-7, 10.0, 160
SIGMA = 4  # steps, of the Gaussian that the losses are smoothed by
DIVERGED = 4  # times the least smoothed loss


class Found(NamedTuple):
    """The rate of each step, the loss of its batch before the update, and what they say."""

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray  # of those that are finite
    steepest: float | None  # where the smoothed loss falls fastest; None where it never does
    tenth: float | None  # of the rate of its minimum


def find(
    parts: experiment.Experiment,
    dataset: data.Dataset,
    low: float = LOW,
    high: float = HIGH,
    steps: int = STEPS,
) -> Found:
    """Trains for up to `steps` steps at rates that rise exponentially from `low` to `high`.

    Model, data, augmentation, loss and optimizer are those of the config; its rate and schedule
    have no part in it. Ends early where the loss diverges.
    """
    c = parts.config
    optimizer = optim.build_optimizer(
        c.optimizer, lambda step: low * (high / low) ** (step / (steps - 1)), c.accumulate_steps
    )
    loop = parts.train_loop(dataset.train, optimizer)
    carry = parts.start(optimizer, dataset.train.images)
    rates = np.geomspace(low, high, steps)
    rates = rates[np.arange(steps) // c.accumulate_steps * c.accumulate_steps]  # of each update
    seen: list[float] = []
    for rate in rates:
        zeros = devices.place(losses.zero_sums(c.log_norms), parts.mesh)
        carry = loop.run(Carry(carry.state, zeros), lambda *_: False, at_once=1)
        loss = carry.sums.means()["loss"]
        if devices.is_leader() and len(seen) % max(1, steps // 8) == 0:
            output.say(f"rate {rate:.0e}  loss {format_metric(loss)}")
        seen.append(loss)
        if diverged(np.array(seen)):
            break
    return judge(rates[: len(seen)], np.array(seen))


def smooth(values: np.ndarray) -> np.ndarray:
    """Returns finite losses [N] averaged over their neighbours, none counted as more than twice the
    first: those that diverge would reach into what was before them."""
    return ndimage.gaussian_filter1d(values.clip(max=2 * values[0]), SIGMA, mode="nearest")


def diverged(values: np.ndarray) -> bool:
    """Whether the losses [N] are not finite, or now above the first and far above their minimum."""
    if not math.isfinite(values[-1]):
        return True
    return bool(values[-SIGMA:].min() > max(values[0], DIVERGED * smooth(values).min()))


def judge(rates: np.ndarray, values: np.ndarray) -> Found:
    """Returns what rates and losses [N] say; of the losses the last may not be finite."""
    finite = values[np.isfinite(values)]
    smoothed = smooth(finite) if finite.size else finite
    least = int(smoothed.argmin()) if finite.size else 0
    if not least:
        return Found(rates, values, smoothed, None, None)
    falls = np.gradient(smoothed[: least + 1])  # the steps are even in the rate's logarithm
    return Found(rates, values, smoothed, float(rates[falls.argmin()]), float(rates[least]) / 10)


def told(found: Found) -> str:
    """Returns the suggestion in words."""
    if found.steepest is None or found.tenth is None:
        return "the loss never falls: no rate is suggested"
    least = found.tenth * 10
    ends = ""
    if diverged(found.losses):
        ends = f"; diverged at {found.rates[-1]:.2g}"
    return (
        f"suggested: --config.optimizer.learning_rate={found.steepest:.2g}, where the loss falls"
        f" fastest;\n      or {found.tenth:.2g}, a tenth of where it is least ({least:.2g}{ends})"
    )


def run(config: ConfigDict, workdir_of_run: pathlib.Path) -> None:
    """Tests the rates of `config`, prints the suggestion, and writes a picture and a JSON.

    They lie in a new folder beside that of the run, which is neither made nor read.
    """
    parts = experiment.build(config)
    dataset = experiment.load_data(config)
    leader = devices.is_leader()
    if leader:
        folder = workdir.new_folder_beside(workdir_of_run, "find_rate")
        print(f"data: {dataset.source}, {len(dataset.train.labels):,} training images")
        print(f"device: {devices.describe(parts.mesh)}", flush=True)
    found = find(parts, dataset)
    if not leader:
        return
    folder.mkdir()
    values = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in found._asdict().items()}
    what = {"config": parts.config.to_dict(), "device": devices.describe(parts.mesh)}
    workdir.write_json(folder / "find_rate.json", what | values)
    plots.rates(
        folder / "find_rate.png",
        found.rates,
        found.losses,
        found.smoothed,
        {"steepest": found.steepest, "a tenth of the minimum's": found.tenth},
        f"{workdir_of_run.resolve().name}, {dataset.source} data",
    )
    print(told(found))
    print(f"wrote {folder}/find_rate.png and find_rate.json")
