"""`reproduce`: runs what is missing, once; stops and goes on; restores what was deleted."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, tiny
from ml_collections import ConfigDict

from jaxcifar import reproduce
from jaxcifar.claims import measure, records, results
from jaxcifar.claims.claim import Claim, Comparison, Metric, column
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.launch import claim_runs, jobs
from jaxcifar.run import provenance
from jaxcifar.run.progress import RunLog
from jaxcifar.system.slots import Slot

FIRST, SECOND = "simple_cnn:base", "simple_cnn:augment"
ONE = Metric("one", lambda record: 1.0, "share")
TINY_CLAIMS = tuple(
    Claim(id, f"claim {id}", tuple(Comparison(ONE, run, 0.5) for run in runs))
    for id, runs in {"901-one": (FIRST,), "901-both": (FIRST, SECOND)}.items()
)
EPOCHS = {FIRST: 2, SECOND: 1}


@pytest.fixture
def tiny_runs(small_data, monkeypatch, tmp_path):
    """Two claims, of two runs of a net small enough for seconds; a folder to be in."""

    def config_of(run, seed):
        return tiny(seed=seed, num_epochs=EPOCHS[run])

    monkeypatch.setattr(records, "config_of", config_of)
    monkeypatch.setattr(claim_runs, "CLAIMS", TINY_CLAIMS)
    monkeypatch.setattr(results, "CLAIMS", TINY_CLAIMS)
    monkeypatch.setattr(jobs, "share", lambda *_: [Slot((), "")])  # one after another, in here
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "runs"


def texts(folder):
    return {file.name: file.read_text() for file in folder.glob("*")}


def without_clock(text):
    """A record without what a clock says."""
    record = json.loads(text)
    for line in (record, *record["epochs"]):
        for key in ("seconds", "examples_per_second", "finished"):
            line.pop(key, None)
    return record


def test_what_is_missing_is_run_once_and_a_deleted_record_comes_back_alone(
    tiny_runs, run, tmp_path, monkeypatch
):
    status, out, err = run(reproduce.main, [])
    assert (status, err) == (0, "")
    first = texts(tiny_runs)
    assert sorted(first) == ["simple_cnn_augment-seed0.json", "simple_cnn_base-seed0.json"]
    assert "run 1/2: simple_cnn:base seed 0" in out  # cheapest first; both estimates are equal
    assert (tmp_path / "results" / "README.md").read_text().count("holds") >= 2

    status, out, _ = run(reproduce.main, [])
    assert status == 0
    assert "run 1/" not in out
    assert texts(tiny_runs) == first

    # from its checkpoint: to the byte, and still as what made it
    deleted = tiny_runs / "simple_cnn_base-seed0.json"
    deleted.unlink()
    with monkeypatch.context() as later:
        later.setattr(provenance, "commit", lambda: "a later commit")
        status, out, _ = run(reproduce.main, [])
    assert status == 0
    assert "run 1/1: simple_cnn:base seed 0" in out
    assert "epoch 1/2" not in out
    assert texts(tiny_runs) == first

    # and trained anew, where that is gone too
    deleted.unlink()
    workdir = tmp_path / claim_runs.WORKDIRS / deleted.stem
    workdir.rename(tmp_path / "elsewhere")
    run(reproduce.main, [])
    again = texts(tiny_runs)
    assert without_clock(again[deleted.name]) == without_clock(first[deleted.name])
    assert {**again, deleted.name: ""} == {**first, deleted.name: ""}


def test_a_stopped_run_goes_on_and_is_recorded_once(tiny_runs, run, monkeypatch):
    def progress(self, epoch, done, sums, rate):
        if (epoch, done) == (2, 1):
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as stopping:
        stopping.setattr(RunLog, "progress", progress)
        status, out, _ = run(reproduce.main, ["--claims=901-one"])
    assert status == 130
    assert "the same command goes on" in out
    assert not tiny_runs.exists()
    status, out, _ = run(reproduce.main, ["--claims=901-one"])
    assert status == 0
    assert "resumed at step 5" in out
    (record,) = (json.loads(text) for text in texts(tiny_runs).values())
    assert [line["epoch"] for line in record["epochs"]] == [1, 2]


def test_a_run_that_is_not_scored_every_epoch_is_recorded_and_read(tiny_runs, run, monkeypatch):
    def config_of(run, seed):
        config = tiny(seed=seed, num_epochs=3).to_dict()
        return ConfigDict(config | {"evaluation": {"every_epochs": 2}})

    monkeypatch.setattr(records, "config_of", config_of)
    status, _, _ = run(reproduce.main, ["--claims=901-one"])
    assert status == 0
    (record,) = records.read(tiny_runs.parent, [FIRST])[FIRST].values()
    assert len(column(record, "train_loss")) == 3
    assert len(column(record, "test_loss")) == 2  # of epochs 2 and 3


@pytest.mark.parametrize("mode", [[], ["--list"]])
@pytest.mark.parametrize(
    "word", ["--seeds=0", "--jobs=-1", "--cores=-5", "--budget_minutes=nan", "--budget_minutes=-1"]
)
def test_numbers_that_nothing_can_run_with_are_refused(word, mode, run, monkeypatch):
    monkeypatch.setattr(jobs, "run_all", lambda *_: pytest.fail("it started"))
    status, _, err = run(reproduce.main, [word, *mode])
    assert status == 2
    assert word.rpartition("=")[0] in err
    assert err.count("\n") == 1


def test_no_run_starts_once_the_budget_is_spent(tiny_runs, run):
    status, out, _ = run(reproduce.main, ["--budget_minutes=0"])
    assert status == 0
    assert "the budget is spent; 2 left" in out
    assert not tiny_runs.exists()


def test_a_record_says_what_the_run_was(tiny_runs, run):
    run(reproduce.main, ["--claims=901-one", "--seeds=2"])
    found = records.read(tiny_runs.parent, [FIRST])[FIRST]
    assert list(found) == [0, 1]
    for seed, record in found.items():
        assert record["seed"] == record["config"]["seed"] == seed
        assert record["data"]["source"] == "synthetic"
        assert record["device"] == "1 × cpu"
        assert {"jax", "flax", "numpy"} <= set(record["versions"])
        assert record["final"]["test_accuracy"] == record["epochs"][-1]["test_accuracy"]
        assert record["initial_loss"] == pytest.approx(np.log(10), abs=0.5)
        assert 0 < sum(record["weights"]["counts"]) <= record["weights"]["total"]
        for means in record["gates"].values():
            assert np.shape(means) == (10, 2)  # classes, branches


def test_the_list_names_every_claim_and_what_it_needs(run, tmp_path):
    status, out, _ = run(reproduce.main, ["--list", f"--out={tmp_path}"])
    assert status == 0
    for claim in CLAIMS:
        (line,) = (x for x in out.splitlines() if x.startswith(f"{claim.id} "))
        assert "not yet measured" in line
    assert f"{len(CLAIMS)} claims; missing runs: about" in out
    assert "needs resnet20 seed 0 (about 800 min)" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["--list", "--table"])
def test_lists_and_tables_need_neither_jax_nor_orbax(what, tmp_path):
    out = tmp_path / "results"
    shutil.copytree(ROOT / "results", out, ignore=shutil.ignore_patterns("figures"))
    code = f"""
import sys
for name in ("jax", "jaxlib", "flax", "optax", "orbax", "tensorflow_datasets"):
    sys.modules[name] = None  # importing it is an ImportError
sys.argv = ["reproduce", {what!r}, "--out={out}"]
import jaxcifar.reproduce
if {what!r} == "--table":
    jaxcifar.reproduce.figures.draw = lambda *_: []  # the pictures take most of the time
jaxcifar.reproduce.main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not yet measured" in done.stdout


def test_a_readme_of_something_else_is_left_alone_and_all_else_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr(results.figures, "draw", lambda *_: [])
    (tmp_path / "README.md").write_text("Of something else.\n")
    status, out, err = run(reproduce.main, ["--table", f"--out={tmp_path / 'results'}"])
    assert status == 0
    assert f"wrote {tmp_path / 'results' / 'README.md'}" in out
    assert err.startswith(f"no table beside {tmp_path / 'results'}: {tmp_path / 'README.md'} lacks")
    assert err.count("\n") == 1
    assert (tmp_path / "README.md").read_text() == "Of something else.\n"
    assert (tmp_path / "results" / "README.md").read_text().startswith("# Results")


@pytest.mark.parametrize("words", [["--claims=901-one"], ["--table"]], ids=str)
def test_where_nothing_can_be_written_is_told_before_anything_runs(tiny_runs, run, tmp_path, words):
    (tmp_path / "file").touch()
    told = f"error: cannot write to --out {tmp_path / 'file'}: File exists\n"
    assert run(reproduce.main, [*words, f"--out={tmp_path / 'file'}"])[::2] == (2, told)
    assert not (tmp_path / "checkpoints").exists()


def test_no_seeds_are_refused(run):
    told = "error: --seeds=0; expected at least 1\n"
    assert run(reproduce.main, ["--list", "--seeds=0"]) == (2, "", told)


def test_an_unknown_claim_is_one_line(run):
    status, _, err = run(reproduce.main, ["--claims=999"])
    assert status == 2
    assert err == "error: --claims: no claim '999'; --list shows them all\n"


def test_weights_are_counted_around_zero():
    params = {"a": np.array([0.0, 5e-4, -5e-4, 5e-3]), "b": np.array([[1.0, -0.29]])}
    found = measure.weight_histogram(params)
    assert found["total"] == 6
    assert sum(found["counts"]) == 5  # 1.0 is outside
    assert found["counts"][measure.HISTOGRAM_BINS // 2] == 3
    assert found["share_below"] == {"0.001": 0.5, "0.01": pytest.approx(4 / 6)}


def test_gates_are_averaged_by_class_and_over_channels():
    labels = np.array([0, 1, 1])
    gates = np.array([[1.0, 0.0], [0.2, 0.8], [0.4, 0.6]])
    expected = [[1.0, 0.0], [pytest.approx(0.3), pytest.approx(0.7)]]
    assert measure.class_means(gates, labels, 2) == expected
    by_channel = np.stack([gates - 0.1, gates + 0.1], axis=2)
    assert measure.class_means(by_channel, labels, 2) == expected


def test_the_pages_of_every_run_are_there():
    for name in RUNS:
        assert (ROOT / "configs" / f"{name.partition(':')[0]}.py").is_file()
