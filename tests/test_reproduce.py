"""`reproduce`: trains missing runs once, stops and resumes, restores a deleted record."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, tiny
from ml_collections import ConfigDict
from small_jobs import job, spend_budget_after_an_epoch, without_clock

from jaxcifar import reproduce
from jaxcifar.claims import measure, records, results
from jaxcifar.claims.claim import Claim, Comparison, Metric, column
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.launch import claim_runs, jobs, parallel
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
    """Two claims about two tiny runs, in a folder of their own; returns the records' folder."""

    def config_of(run, seed):
        return tiny(seed=seed, num_epochs=EPOCHS[run])

    monkeypatch.setattr(records, "config_of", config_of)
    monkeypatch.setattr(claim_runs, "CLAIMS", TINY_CLAIMS)
    monkeypatch.setattr(results, "CLAIMS", TINY_CLAIMS)
    monkeypatch.setattr(jobs, "divide_machine", lambda *_: [Slot((), "")])  # in this process
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "runs"


def texts(folder):
    return {file.name: file.read_text() for file in folder.glob("*")}


def test_a_missing_run_is_trained_once_and_only_a_deleted_record_is_restored(
    tiny_runs, run, tmp_path, monkeypatch
):
    status, out, err = run(reproduce.main, [])
    assert (status, err) == (0, "")
    first = texts(tiny_runs)
    assert sorted(first) == ["simple_cnn_augment-seed0.json", "simple_cnn_base-seed0.json"]
    assert "run 1/2: simple_cnn:base seed 0" in out  # the shortest first; both estimates are equal
    assert (tmp_path / "results" / "README.md").read_text().count("holds") >= 2

    status, out, _ = run(reproduce.main, [])
    assert status == 0
    assert "run 1/" not in out
    assert texts(tiny_runs) == first

    # from its checkpoint: byte for byte, with the commit that trained it
    deleted = tiny_runs / "simple_cnn_base-seed0.json"
    deleted.unlink()
    with monkeypatch.context() as later:
        later.setattr(provenance, "commit", lambda: "a later commit")
        status, out, _ = run(reproduce.main, [])
    assert status == 0
    assert "run 1/1: simple_cnn:base seed 0" in out
    assert "epoch 1/2" not in out
    assert texts(tiny_runs) == first

    # by training again, if the checkpoint is gone too
    before = deleted.rename(tmp_path / "before.json")
    workdir = tmp_path / "checkpoints" / "reproduce" / deleted.stem
    workdir.rename(tmp_path / "elsewhere")
    run(reproduce.main, [])
    again = texts(tiny_runs)
    assert without_clock(deleted) == without_clock(before)
    assert {**again, deleted.name: ""} == {**first, deleted.name: ""}


def test_a_stopped_run_resumes_and_is_recorded_once(tiny_runs, run, monkeypatch):
    def progress(self, epoch, done, sums, rate):
        if (epoch, done) == (2, 1):
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as stopping:
        stopping.setattr(RunLog, "progress", progress)
        status, out, _ = run(reproduce.main, ["--claims=901-one"])
    assert status == 130
    assert "run the same command to continue" in out
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
    assert len(column(record, "test_loss")) == 2  # epochs 2 and 3


@pytest.mark.parametrize("mode", [[], ["--list"]])
@pytest.mark.parametrize(
    "word",
    [
        *("--seeds=0", "--seeds=1000000000", "--jobs=-1", "--cores=-5"),
        *("--budget_minutes=nan", "--budget_minutes=-1"),
    ],
)
def test_numbers_out_of_range_are_rejected(word, mode, run, monkeypatch):
    monkeypatch.setattr(jobs, "run_all", lambda *_: pytest.fail("it started"))
    status, _, err = run(reproduce.main, [word, *mode])
    assert status == 2
    assert word.rpartition("=")[0] in err
    assert err.count("\n") == 1


def test_no_run_starts_once_the_budget_is_spent(tiny_runs, run):
    status, out, _ = run(reproduce.main, ["--budget_minutes=0"])
    assert status == 0
    assert "the budget is spent; runs left: 2; run the same command to continue" in out
    assert not tiny_runs.exists()


def test_the_budget_stops_a_running_job_which_resumes_next_time(tiny_runs, run, monkeypatch):
    monkeypatch.setattr(records, "config_of", lambda run, seed: job(seed, num_epochs=500).config)
    workdir = claim_runs.folders_of(tiny_runs.parent).workdirs / "simple_cnn_base-seed0"
    for _ in range(2):
        with monkeypatch.context() as patch:
            spend_budget_after_an_epoch(patch, (jobs, parallel), workdir)
            words = ["--claims=901-one", "--seeds=2", "--jobs=1", "--budget_minutes=2"]
            status, out, err = run(reproduce.main, words)
        assert (status, err) == (0, "")
        assert "the budget is spent; runs left: 2; run the same command to continue" in out
    assert "resumed at step" in workdir.with_name(f"{workdir.name}.log").read_text()
    assert not workdir.with_name("simple_cnn_base-seed1.log").exists()
    assert not tiny_runs.exists()
    assert (tiny_runs.parent / "README.md").exists()


def test_another_out_folder_gets_the_checkpoints_too(tiny_runs, run, tmp_path):
    status, _, _ = run(reproduce.main, ["--claims=901-one", "--out=other"])
    assert status == 0
    assert [file.name for file in tmp_path.iterdir()] == ["other"]
    assert (tmp_path / "other" / "checkpoints" / "simple_cnn_base-seed0" / "steps").is_dir()
    assert claim_runs.folders_of(tmp_path / "results").workdirs.parts == (
        "checkpoints",
        "reproduce",
    )


def test_a_record_describes_its_run(tiny_runs, run):
    run(reproduce.main, ["--claims=901-one", "--seeds=2"])
    found = records.read(tiny_runs.parent, [FIRST])[FIRST]
    assert list(found) == [0, 1]
    for seed, record in found.items():
        assert record["seed"] == record["config"]["seed"] == seed
        assert record["data"]["source"] == "synthetic"
        assert record["device"] == "1 × cpu"
        assert {"jax", "flax", "numpy"} <= set(record["versions"])
        assert record["initial_loss"] == pytest.approx(np.log(10), abs=0.5)
        assert 0 < sum(record["weights"]["counts"]) <= record["weights"]["total"]
        for means in record["gates"].values():
            assert np.shape(means) == (10, 2)  # classes, branches


def test_the_list_has_every_claim_and_the_runs_it_needs(run, tmp_path):
    status, out, _ = run(reproduce.main, ["--list", f"--out={tmp_path}"])
    assert status == 0
    for claim in CLAIMS:
        (line,) = (x for x in out.splitlines() if x.startswith(f"{claim.id} "))
        assert "not yet measured" in line
    assert f"{len(CLAIMS)} claims; missing runs: about" in out
    assert "needs resnet20 seed 0 (about 540 min)" in out
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
    jaxcifar.claims.results.figures.draw = lambda *_: []  # charts take most of the time
jaxcifar.reproduce.main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not yet measured" in done.stdout


def test_a_readme_without_the_marks_is_left_alone_and_the_rest_is_written(
    run, tmp_path, monkeypatch
):
    monkeypatch.setattr(results.figures, "draw", lambda *_: [])
    (tmp_path / "README.md").write_text("Something else.\n")
    status, out, err = run(reproduce.main, ["--table", f"--out={tmp_path / 'results'}"])
    assert status == 0
    assert f"wrote {tmp_path / 'results' / 'README.md'}" in out
    assert err.startswith(f"no table beside {tmp_path / 'results'}: {tmp_path / 'README.md'} lacks")
    assert err.count("\n") == 1
    assert (tmp_path / "README.md").read_text() == "Something else.\n"
    assert (tmp_path / "results" / "README.md").read_text().startswith("# Results")


@pytest.mark.parametrize("words", [["--claims=901-one"], ["--table"]], ids=str)
def test_an_out_folder_that_cannot_be_written_is_an_error_before_anything_runs(
    tiny_runs, run, tmp_path, words
):
    (tmp_path / "file").touch()
    told = f"error: cannot write to --out {tmp_path / 'file'}: File exists\n"
    assert run(reproduce.main, [*words, f"--out={tmp_path / 'file'}"])[::2] == (2, told)
    assert not (tmp_path / "checkpoints").exists()


def test_zero_seeds_are_rejected(run):
    told = "error: --seeds=0; expected at least 1\n"
    assert run(reproduce.main, ["--list", "--seeds=0"]) == (2, "", told)


def test_an_unknown_claim_is_a_one_line_error(run):
    status, _, err = run(reproduce.main, ["--claims=999"])
    assert status == 2
    assert err == "error: --claims: no claim '999'; --list shows them all\n"


def test_a_claim_that_two_prefixes_name_is_chosen_once():
    names = [claim.id for claim in claim_runs.choose_claims("003-lr,003-lr1")]
    assert "003-lr1" in names
    assert sorted(set(names)) == sorted(names)


def test_the_weight_histogram_counts_around_zero():
    params = {"a": np.array([0.0, 5e-4, -5e-4, 5e-3]), "b": np.array([[1.0, -0.29]])}
    found = measure.weight_histogram(params)
    assert found["total"] == 6
    assert sum(found["counts"]) == 5  # 1.0 is out of range
    assert found["counts"][measure.HISTOGRAM_BINS // 2] == 3
    assert found["share_below"] == {"0.001": 0.5, "0.01": pytest.approx(4 / 6)}


def test_gates_are_averaged_by_class_and_over_channels():
    labels = np.array([0, 1, 1])
    gates = np.array([[1.0, 0.0], [0.2, 0.8], [0.4, 0.6]])
    expected = [[1.0, 0.0], [pytest.approx(0.3), pytest.approx(0.7)]]
    assert measure.class_means(gates, labels, 2) == expected
    by_channel = np.stack([gates - 0.1, gates + 0.1], axis=2)
    assert measure.class_means(by_channel, labels, 2) == expected


def test_every_run_has_a_config_file():
    for name in RUNS:
        assert (ROOT / "configs" / f"{name.partition(':')[0]}.py").is_file()
