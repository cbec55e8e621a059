"""Describes learning curves: loss and accuracy against the epoch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcifar.figures.chart import Chart, Series
from jaxcifar.stats.intervals import mean_std

SPLITS = ("train", "test", "validation")
Lines = Sequence[Mapping[str, Any]]  # the metrics of each epoch


def learning_curves(runs: Mapping[str, Sequence[Lines]]) -> list[Chart]:
    """Returns the charts of loss and accuracy, one colour per run.

    A run with several seeds is drawn as their mean with a band of one sample standard deviation.
    The mean ends where a seed diverged, because the mean of the others is another quantity.
    """
    return [
        Chart(metric.capitalize(), list(_series(runs, metric)), "epoch", metric, integers=True)
        for metric in ("loss", "accuracy")
    ]


def _series(runs: Mapping[str, Sequence[Lines]], metric: str) -> Iterable[Series]:
    for number, (run, seeds) in enumerate(runs.items()):
        for split in SPLITS:
            key = f"{split}_{metric}"
            by_seed = [{line["epoch"]: line[key] for line in s if key in line} for s in seeds]
            longest = max(by_seed, key=len)
            if not longest:
                continue
            values = np.array([[seed.get(e) for e in longest] for seed in by_seed], float)
            stats = [mean_std(of_epoch) for of_epoch in values.T.tolist()]
            band: dict[str, list[float]] = {}
            if len(seeds) > 1:
                band = {"low": [m - s for m, s in stats], "high": [m + s for m, s in stats]}
            name = f"{run} {split}" if len(runs) > 1 else split
            yield Series(name, list(longest), [mean for mean, _ in stats], number, split, **band)
