"""The grid of a sweep: every combination of the swept values, each with one or more seeds."""

import itertools
import math
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxcifar.claims.records import Records
from jaxcifar.config import overrides
from jaxcifar.errors import UserError
from jaxcifar.launch.job import Job
from jaxcifar.launch.options import missing
from jaxcifar.stats.intervals import mean_std

MAX_RUNS = 10_000
MAX_NAME = 200  # bytes; file systems allow 255, with what is added
ASSUMED_MINUTES = 5.0  # the time of a run, until one has been measured


class Swept(NamedTuple):
    """A config key and its values, as typed on the command line."""

    key: str
    values: tuple[str, ...]


class Grid(NamedTuple):
    """The runs of a sweep: the name of each, and its command-line overrides."""

    config_file: str
    swept: tuple[Swept, ...]
    runs: Mapping[str, tuple[str, ...]]

    def config_of(self, run: str, seed: int) -> ConfigDict:
        """Returns the config of a run with a seed."""
        return overrides.load_config(self.config_file, [*self.runs[run], f"--config.seed={seed}"])


def parse_swept(text: str) -> Swept:
    """Parses "KEY=V1,V2,…"; a comma inside brackets is part of a value."""
    key, _, listed = text.partition("=")
    if (parts := _split_outside_brackets(listed)) is None:
        raise UserError(f"--sweep={text}: the brackets do not match")
    values = tuple(part.strip() for part in parts)
    key = key.strip().removeprefix("config.")
    if not key or not all(values):
        raise UserError(f"--sweep={text}; expected KEY=V1,V2,… with a value between the commas")
    if len(set(values)) < len(values):
        raise UserError(f"--sweep={text} lists a value twice")
    if key == "seed":
        raise UserError("--sweep=seed: use --seeds=N instead, for seeds 0 to N−1")
    return Swept(key, values)


def _split_outside_brackets(text: str) -> list[str] | None:
    """Splits a text at the commas that are outside all brackets; None if these do not match."""
    depth, parts = 0, [""]
    for character in text:
        depth += (character in "([") - (character in ")]")
        if depth < 0:
            return None
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return None if depth else parts


def make_grid(config_file: str, swept: Sequence[Swept], words: Sequence[str]) -> Grid:
    """Returns every combination of the swept values, applied after the overrides `words`.

    Raises:
      UserError: a key is swept twice, or a combination is not a valid config.
    """
    keys = [one.key for one in swept]
    if twice := next((key for key in keys if keys.count(key) > 1), ""):
        raise UserError(f"--sweep: {twice} is given twice; list all its values in one --sweep")
    if (number := math.prod(len(one.values) for one in swept)) > MAX_RUNS:
        raise UserError(f"--sweep makes {number:,} combinations; expected at most {MAX_RUNS:,}")
    every = [
        tuple(f"{one.key}={value}" for one, value in zip(swept, values, strict=True))
        for values in itertools.product(*(one.values for one in swept))
    ]
    plain = {pairs: ",".join(re.sub(r"[^\w.=+-]", "_", pair) for pair in pairs) for pairs in every}
    same = Counter(plain.values())
    runs = {}
    for pairs, name in plain.items():
        short = name.encode()[:MAX_NAME].decode(errors="ignore")
        if same[name] > 1 or short != name:  # as of "a/b" and "a_b", or of a long path
            name = f"{short}-{zlib.crc32(repr(pairs).encode()):08x}"
        runs[name] = (*words, *(f"--config.{pair}" for pair in pairs))
    grid = Grid(config_file, tuple(swept), runs)
    for run in runs:
        grid.config_of(run, 0)
    return grid


def plan_jobs(
    grid: Grid, seeds: int, found: Records, shard: str = "0/1", cores: int = 1
) -> list[Job]:
    """Returns the shard's missing runs, seed by seed, so that the first results cover the grid."""
    minutes = [record["seconds"] / 60 for of_run in found.values() for record in of_run.values()]
    expected = mean_std(minutes)[0] if minutes else ASSUMED_MINUTES
    every = [(run, seed) for seed in range(seeds) for run in grid.runs]
    return [
        Job(run, seed, expected, cores, grid.config_of(run, seed))
        for run, seed in missing(every, found, shard)
    ]
