"""Which runs are planned, in which order, and what reaches them."""

import types

from small_jobs import folders_in, job
from test_reproduce import ONE

from jaxcifar import sweep
from jaxcifar.claims.claim import Claim, Comparison
from jaxcifar.claims.reports import RUNS
from jaxcifar.launch import claim_runs, jobs
from jaxcifar.launch.job import Outcome
from jaxcifar.launch.options import missing


def test_the_shortest_runs_come_first_and_runs_of_hours_get_all_cores():
    found = {run: {} for run in RUNS} | {"simple_cnn:base": {0: {"seconds": 60.0}}}
    names = ("resnet20", "simple_cnn:base", "pooled_cnn:lr0.01")
    claim = Claim("x", "", tuple(Comparison(ONE, run, 0.5) for run in names))
    planned = claim_runs.plan_jobs([claim], 2, found)
    assert [(j.run, j.seed, j.minutes, j.cores) for j in planned] == [
        ("simple_cnn:base", 1, 1.0, 1),  # a measured time replaces the estimate
        ("pooled_cnn:lr0.01", 0, 2.0, 1),
        ("pooled_cnn:lr0.01", 1, 2.0, 1),
        ("resnet20", 0, 540.0, 0),
        ("resnet20", 1, 540.0, 0),
    ]
    shards = [claim_runs.plan_jobs([claim], 2, found, f"{i}/2") for i in range(2)]
    assert all(shards)
    names = [sorted((j.run, j.seed) for j in some) for some in ([*shards[0], *shards[1]], planned)]
    assert names[0] == names[1]


def test_a_shard_stays_the_same_while_records_come_in():
    every = [("a", seed) for seed in range(6)]
    for done in range(6):
        found = {"a": dict.fromkeys(range(done))}
        for i in range(2):
            left = [("a", seed) for seed in range(i, 6, 2) if seed >= done]
            assert missing(every, found, f"{i}/2") == left


def test_the_budget_is_in_minutes(tmp_path, monkeypatch):
    ends = []
    monkeypatch.setattr(jobs, "time", types.SimpleNamespace(monotonic=lambda: 7.0))
    monkeypatch.setattr(
        jobs, "run_parallel", lambda *words: ends.append(words[-1]) or Outcome(False, [])
    )
    jobs.run_all([job(0)], folders_in(tmp_path), 1, 2.5)
    assert ends == [7.0 + 150.0]


def test_the_options_reach_the_jobs(run, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(
        jobs, "run_all", lambda *words, **more: started.append((words, more)) or Outcome(False, [])
    )
    words = ["--config=configs/simple_cnn.py:base", "--sweep=batch_size=64,128"]
    words += ["--seeds=3", "--shard=1/2", "--jobs=1", "--cores=0", f"--out={tmp_path / 'out'}"]
    assert run(sweep.main, words)[0] == 0
    (((some, folders, parallel_jobs), more),) = started
    assert [(j.run, j.seed, j.cores) for j in some] == [
        ("batch_size=128", seed, 0) for seed in range(3)
    ]
    assert (folders.out, parallel_jobs, more) == (tmp_path / "out", 1, {"at_once": 1})
