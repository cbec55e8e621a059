"""The learning-rate range test (Smith, arXiv 1506.01186): the loss while the rate rises.

python -m jaxcifar.train --config=configs/adaptive.py --find_rate
"""

import math
import pathlib
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from scipy import ndimage

from jaxcifar import data
from jaxcifar.figures import range_test
from jaxcifar.run import workdir
from jaxcifar.run.progress import format_metric
from jaxcifar.system import devices, output
from jaxcifar.training import experiment, losses, optim
from jaxcifar.training.state import Carry

LOW, HIGH, STEPS = 1e-7, 10.0, 160
SIGMA = 4  # steps; the standard deviation of the Gaussian that smooths the losses
DIVERGED = 4  # times the minimum of the smoothed losses


class RangeTest(NamedTuple):
    """The learning rate of each step, the loss before its update, and the suggested rates."""

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray  # without losses that are not finite
    steepest: float | None  # where the smoothed loss falls fastest; None if it never clearly falls
    tenth: float | None  # a tenth of the rate at the minimum of the smoothed loss


def run_range_test(
    parts: experiment.Experiment,
    dataset: data.Dataset,
    low: float = LOW,
    high: float = HIGH,
    steps: int = STEPS,
) -> RangeTest:
    """Trains for up to `steps` steps while the learning rate rises exponentially.

    Everything but the learning rate and its schedule is as in the config. Stops early if the loss
    diverges.
    """
    c = parts.config
    optimizer = optim.build_optimizer(
        c.optimizer, lambda step: low * (high / low) ** (step / (steps - 1)), c.accumulate_steps
    )
    loop = parts.train_loop(dataset.train, optimizer)
    carry = parts.start(optimizer, dataset.train.images)
    rates = np.geomspace(low, high, steps)
    # accumulated batches share the rate of their update
    rates = rates[np.arange(steps) // c.accumulate_steps * c.accumulate_steps]
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
    return suggest(rates[: len(seen)], np.array(seen))


def smooth(values: np.ndarray) -> np.ndarray:
    """Returns finite losses [N] smoothed by a Gaussian.

    Losses are clipped at twice the first one, so that diverging losses do not affect earlier ones.
    """
    return ndimage.gaussian_filter1d(values.clip(max=2 * values[0]), SIGMA, mode="nearest")


def diverged(values: np.ndarray) -> bool:
    """Returns whether the last loss is not finite, or the last ones are far above the minimum."""
    if not math.isfinite(values[-1]):
        return True
    return bool(values[-SIGMA:].min() > max(values[0], DIVERGED * smooth(values).min()))


def suggest(rates: np.ndarray, values: np.ndarray) -> RangeTest:
    """Returns the rates that the losses [N] suggest; the last loss may be infinite or NaN."""
    finite = values[np.isfinite(values)]
    smoothed = smooth(finite) if finite.size else finite
    least = int(smoothed.argmin()) if finite.size else 0
    # On noise alone, smoothed losses differ by about the noise, so twice as much is a fall.
    if not least or smoothed[0] - smoothed[least] < 2 * (finite - smoothed)[: least + 1].std():
        return RangeTest(rates, values, smoothed, None, None)
    falls = np.gradient(smoothed[: least + 1])  # steps are evenly spaced in the log of the rate
    return RangeTest(
        rates, values, smoothed, float(rates[falls.argmin()]), float(rates[least]) / 10
    )


def describe(found: RangeTest) -> str:
    """Returns the suggestion as text."""
    if found.steepest is None or found.tenth is None:
        return "no suggestion: the loss never falls by more than its noise"
    end = f"; diverged at {found.rates[-1]:.2g}" if diverged(found.losses) else ""
    return (
        f"suggested: --config.optimizer.learning_rate={found.steepest:.2g}, where the loss falls"
        f" fastest;\n      or {found.tenth:.2g}, a tenth of the rate at its minimum"
        f" ({found.tenth * 10:.2g}{end})"
    )


def run(config: ConfigDict, workdir_of_run: pathlib.Path) -> None:
    """Runs the test for `config`, prints the suggestion, and writes a plot and a JSON file.

    Both are in a new folder beside the workdir, which is neither created nor read.
    """
    parts = experiment.build_experiment(config)
    with output.busy("loading the data"):
        dataset = experiment.load_data(parts.config)
    leader = devices.is_leader()
    if leader:
        workdir.check_beside(workdir_of_run)
        print(f"data: {dataset.source}, {len(dataset.train.labels):,} training images")
        print(f"device: {devices.describe(parts.mesh)}\ncompiling …", flush=True)
    found = run_range_test(parts, dataset)
    if not leader:
        return
    folder = workdir.make_folder_beside(workdir_of_run, "find_rate")
    values = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in found._asdict().items()}
    what = {"config": parts.config.to_dict(), "device": devices.describe(parts.mesh)}
    workdir.write_json(folder / "find_rate.json", what | values)
    range_test.draw(
        folder / "find_rate.png",
        found.rates,
        found.losses,
        found.smoothed,
        {"steepest": found.steepest, "a tenth of the minimum's": found.tenth},
        f"{workdir_of_run.resolve().name}, {dataset.source} data",
    )
    print(describe(found))
    print(f"wrote {folder}/find_rate.png and find_rate.json")
