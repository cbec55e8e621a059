"""The runs of a sweep: every combination of the swept values, with seeds."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxcifar.claims.records import Records
from jaxcifar.config import overrides
from jaxcifar.errors import UserError
from jaxcifar.launch import jobs
from jaxcifar.stats.intervals import mean_std

ASSUMED_MINUTES = 5.0  # of a run, until one has been


class Swept(NamedTuple):
    """A key of the config, and the texts of the values that it is to have."""

    key: str
    values: tuple[str, ...]


class Grid(NamedTuple):
    """The runs of a sweep: their names, and the words that make each of the page."""

    page: str
    swept: tuple[Swept, ...]
    runs: Mapping[str, tuple[str, ...]]

    def config_of(self, run: str, seed: int) -> ConfigDict:
        """Returns the config of a run with a seed."""
        return overrides.load_config(self.page, [*self.runs[run], f"--config.seed={seed}"])


def read_swept(text: str) -> Swept:
    """Returns "KEY=V1,V2,…" read; a comma inside brackets does not part values."""
    key, _, listed = text.partition("=")
    values = tuple(part.strip() for part in re.split(r",(?![^(\[]*[)\]])", listed))
    key = key.strip().removeprefix("config.")
    if not key or not all(values):
        raise UserError(f"--sweep={text}; expected KEY=V1,V2,… with a value between the commas")
    if len(set(values)) < len(values):
        raise UserError(f"--sweep={text} has a value twice")
    if key == "seed":
        raise UserError("--sweep=seed: the seeds are 0 to N−1 of --seeds=N")
    return Swept(key, values)


def make_grid(page: str, swept: Sequence[Swept], words: Sequence[str]) -> Grid:
    """Returns every combination of the values; each of their configs is checked.

    Raises:
      UserError: a key is swept twice or unknown, or a value is none for it.
    """
    if len({one.key for one in swept}) < len(swept):
        raise UserError("--sweep: a key is swept twice")
    runs = {}
    for values in itertools.product(*(one.values for one in swept)):
        pairs = [f"{one.key}={value}" for one, value in zip(swept, values, strict=True)]
        name = ",".join(re.sub(r"[^\w.=+-]", "_", pair) for pair in pairs)
        runs[name] = (*words, *(f"--config.{pair}" for pair in pairs))
    grid = Grid(page, tuple(swept), runs)
    for run in runs:
        grid.config_of(run, 0)
    return grid


def plan(grid: Grid, seeds: int, cores: int, found: Records) -> list[jobs.Job]:
    """Returns the runs that are missing, seed by seed, so that an early look compares all."""
    minutes = [record["seconds"] / 60 for of_run in found.values() for record in of_run.values()]
    expected = mean_std(minutes)[0] if minutes else ASSUMED_MINUTES
    return [
        jobs.Job(run, seed, expected, cores, grid.config_of(run, seed))
        for seed in range(seeds)
        for run in grid.runs
        if seed not in found[run]
    ]
