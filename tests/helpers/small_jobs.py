"""Jobs of a net small enough for seconds."""

import json

from conftest import config_of

from jaxcifar.launch.jobs import Job, Place

SMALL = {"data.source": "synthetic", "data.train_examples": 256, "num_epochs": 1}


def job(seed, run="small", **changes):
    config = config_of("simple_cnn.py:base", seed=seed, **SMALL | changes)
    return Job(run, seed, 1.0, 1, config)


def place_in(folder):
    return Place(folder / "results", folder / "checkpoints")


def without_clock(file):
    record = json.loads(file.read_text())
    for part in (record, *record["epochs"]):
        for key in ("seconds", "examples_per_second", "finished"):
            part.pop(key, None)
    return record
