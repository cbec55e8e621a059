"""Jobs side by side: the same bits as one after another; stopped, failed and shared out."""

import math
import os
import pathlib
import signal
import threading
import time

import pytest
from small_jobs import job, place_in, without_clock

from jaxcifar.claims import records
from jaxcifar.errors import UserError
from jaxcifar.launch import jobs, sweep_results
from jaxcifar.launch.overview import progress
from jaxcifar.run import workdir
from jaxcifar.system import slots


def test_results_do_not_depend_on_how_many_run_and_a_failure_harms_no_other(tmp_path, capfd):
    """Bit for bit: two at a time with one that fails between them, and one at a time."""
    both, single = place_in(tmp_path / "both"), place_in(tmp_path / "single")
    bad = job(0, "taken")
    with workdir.claim_workdir(both.workdir(bad), job(7).config):
        pass  # it is another run's folder from now on
    outcome = jobs.side_by_side([job(0), bad, job(1)], both, slots.share(2, 1, 3) * 2, math.inf)
    assert not outcome.stopped
    ((failed, why),) = outcome.failed
    assert str(failed) == "taken seed 0"
    assert "holds a run of another config" in why
    out = capfd.readouterr().out
    assert "small seed 0: started" in out
    assert "small seed 1: recorded" in out
    with pytest.raises(SystemExit) as end:
        jobs.end(outcome)
    assert end.value.code == 1
    assert capfd.readouterr().err.startswith("failed: taken seed 0: ")

    jobs.side_by_side([job(1)], single, slots.share(1, 1, 1), math.inf)
    one, two = (records.path_of(place.out, "small", 1) for place in (single, both))
    assert without_clock(one) == without_clock(two)


def test_a_run_that_diverges_is_done_and_its_record_says_so(tmp_path):
    place = place_in(tmp_path)
    one = job(0, num_epochs=3, **{"optimizer.learning_rate": 1e30})
    assert jobs.run_one(one, place)
    file = records.path_of(place.out, "small", 0)
    record = records.read_record(file)
    assert [line["train_loss"] for line in record["epochs"]] == [None]
    assert "small (diverged)" in sweep_results.table({"small": {0: record}})
    file.unlink()
    assert jobs.run_one(one, place)  # from its folder, without training again
    assert records.read_record(file) == record


def test_ctrl_c_stops_all_and_each_saves(tmp_path):
    place = place_in(tmp_path)
    long = [job(seed, num_epochs=500) for seed in (0, 1)]

    def interrupt():
        files = [place.workdir(one) / "metrics.jsonl" for one in long]
        while not all(file.exists() and file.stat().st_size for file in files):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    outcome = jobs.side_by_side(long, place, slots.share(2, 1, 2) * 2, math.inf)
    assert outcome == jobs.Outcome(True, [])
    assert not (place.out / "runs").exists()
    for one in long:
        assert "stopping after this step to save" in place.log(one).read_text()
        assert list(place.workdir(one).rglob("*model*")), "no checkpoint"
    with pytest.raises(SystemExit) as end:
        jobs.end(outcome)
    assert end.value.code == 130


def test_nothing_starts_once_the_budget_is_spent(tmp_path, capsys):
    place = place_in(tmp_path)
    assert jobs.run_all([job(0), job(1)], place, 1, 0.0) == jobs.Outcome(False, [])
    assert "the budget is spent; 2 left" in capsys.readouterr().out
    assert not place.out.exists()


def test_shards_are_all_the_jobs_each_once():
    items = list(range(10))
    shards = [jobs.shard(items, f"{i}/3") for i in range(3)]
    assert shards == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
    for wrong in ("3/3", "-1/3", "1", "a/b", "0/0"):
        with pytest.raises(UserError, match="expected I/N"):
            jobs.shard(items, wrong)


@pytest.fixture
def machine(monkeypatch):
    """machine(cores, gpus): a machine with so many."""

    def machine(cores, gpus=()):
        monkeypatch.setattr(slots, "_cores", lambda: list(range(cores)))
        monkeypatch.setattr(slots, "_gpus", lambda: list(gpus))

    return machine


def test_each_job_has_cores_of_its_own(machine):
    machine(8)
    assert [slot.cores for slot in slots.share(0, 3, 9)] == [(0, 1, 2), (3, 4, 5)]
    assert [slot.cores for slot in slots.share(1, 3, 9)] == [(0, 1, 2)]
    assert [slot.cores for slot in slots.share(0, 0, 9)] == [tuple(range(8))]
    assert len(slots.share(0, 1, 2)) == 2  # no more than there are jobs
    again = [slot.cores for slot in slots.share(3, 4, 9)]
    assert again == [(0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 2, 3)]
    for jobs_wanted, cores in ((-1, 1), (1, 9), (1, -1)):
        with pytest.raises(UserError, match="those of this machine"):
            slots.share(jobs_wanted, cores, 2)


def test_each_job_has_a_gpu_of_its_own(machine, monkeypatch):
    machine(8, ["GPU-a", "GPU-b"])
    assert [slot.gpu for slot in slots.share(0, 1, 9)] == ["GPU-a", "GPU-b"]
    assert [slot.gpu for slot in slots.share(3, 1, 9)] == ["GPU-a", "GPU-b", "GPU-a"]
    monkeypatch.undo()
    monkeypatch.setattr(slots.importlib.util, "find_spec", lambda name: True)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert slots._gpus() == ["2", "5"]
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert slots._gpus() == []


def test_the_overview_tells_how_far_a_run_is():
    lines = [{"test_accuracy": 0.1 * epoch, "seconds": 30.0} for epoch in range(1, 5)]
    assert progress(lines, 10) == ("4/10", "0.4000", "about 3.0 min left")
    assert progress([], 10) == ("0/10", "–", "–")
    assert progress([{"test_accuracy": None, "seconds": 30.0}], 2)[1] == "nan"


def test_each_job_has_a_folder_and_a_log_of_its_own(tmp_path):
    place = place_in(tmp_path)
    several = [job(seed, run) for run in ("p:lr0.01", "p:lr0.001") for seed in (0, 1)]
    assert len({place.log(one) for one in several} | {place.workdir(one) for one in several}) == 8


def test_a_log_tells_its_last_word(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("one\ntwo\n\n")
    assert jobs.last_line(log) == "two"
    log.write_text("")
    assert str(log) in jobs.last_line(pathlib.Path(log))
    assert records.path_of(tmp_path, "a:b", 3).name == "a_b-seed3.json"
