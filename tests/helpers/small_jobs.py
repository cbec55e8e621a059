"""Jobs that train a model small enough to finish in seconds."""

import json
import time

from conftest import config_of

from jaxcifar.launch.job import Folders, Job

SMALL = {"data.source": "synthetic", "data.train_examples": 256, "num_epochs": 1}


def job(seed, run="small", **changes):
    config = config_of("simple_cnn.py:base", seed=seed, **SMALL | changes)
    return Job(run, seed, 1.0, 1, config)


def folders_in(folder):
    return Folders(folder / "results", folder / "checkpoints")


def without_clock(file):
    """Returns a record without its timings and date."""
    record = json.loads(file.read_text())
    for part in (record, *record["epochs"]):
        for key in ("seconds", "examples_per_second", "finished"):
            part.pop(key, None)
    return record


def spend_budget_after_an_epoch(monkeypatch, modules, workdir):
    """Makes the clock of the modules jump by hours once the run in `workdir` has a new epoch."""

    def lines():
        file = workdir / "metrics.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    class Clock:
        before, sleep = lines(), time.sleep

        @classmethod
        def monotonic(cls):
            return 1e6 if lines() > cls.before else 0.0

    for module in modules:
        monkeypatch.setattr(module, "time", Clock)
