"""Every claim can be measured, and the tables are made from the committed records."""

import json
import math
import re
import shutil

import pytest
from conftest import ROOT, config_of

from jaxcifar import data
from jaxcifar.claims import judge, records, tables
from jaxcifar.claims.claim import last_epoch, no_better_than_guessing
from jaxcifar.claims.reports import CLAIMS, HEADLINES, RUNS
from jaxcifar.config import schema
from jaxcifar.errors import UserError
from jaxcifar.run import provenance

RESULTS = ROOT / "results"
SPLITS = ("train", "test")


def record(epochs=60, **changes):
    """Returns a record with rising accuracies and falling losses, changed in the last epoch."""
    lines = [
        {
            "epoch": epoch + 1,
            "train_accuracy": 0.5 + 0.005 * epoch,
            "test_accuracy": 0.5 + 0.004 * epoch,
            "train_loss": 2.0 / (1 + epoch),
            "test_loss": 2.1 / (1 + epoch),
        }
        for epoch in range(epochs)
    ]
    lines[-1] |= {key: value for key, value in changes.items() if key in lines[-1]}
    return {
        **{key: "" for key, form in records.FORM.items() if form == (str,)},
        **{key: {} for key, form in records.FORM.items() if isinstance(form, dict)},
        "versions": {"jax": "0.10.2"},
        "seconds": 60.0,
        "epochs": lines,
        "initial_loss": 2.31,
        "examples_per_second": 300.0,
        "class_names": ["a"] * 10,
        "device": "1 × cpu",
        "weights": {"range": [-1, 1], "counts": [1], "total": 1, "share_below": {"0.001": 0.1}},
        **{key: value for key, value in changes.items() if key not in lines[-1]},
    }


def keep(out, run, seed, record, **overrides):
    """Writes a record with the run's config, changed by the overrides."""
    name, colon, variant = run.partition(":")
    config = config_of(f"{name}.py{colon}{variant}", seed=seed, **overrides)
    known = {"run": run, "seed": seed, "config": json.loads(schema.to_json(config))}
    return records.write(out, record | known)


def read(out):
    return records.read(out, RUNS)


@pytest.mark.parametrize(
    "change",
    [
        {"data.source": "synthetic"},
        {"data.train_examples": 10_000},
        {"num_epochs": 29},
        {"optimizer.learning_rate": 0.02},
    ],
    ids=str,
)
def test_a_record_of_another_config_never_counts(change, tmp_path):
    keep(tmp_path, "simple_cnn:base", 0, record(), **change)
    assert read(tmp_path)["simple_cnn:base"] == {}


DAMAGE = {
    "not JSON": lambda text: text[: len(text) // 2],
    "not UTF-8": lambda text: text.encode() + b"\xff",
    "another list": lambda text: "[]",
    "no epochs": lambda text: json.dumps(json.loads(text) | {"epochs": []}),
    "an epoch without metrics": lambda text: json.dumps(json.loads(text) | {"epochs": [{}]}),
    "no device": lambda text: text.replace('"device"', '"devize"'),
    "an unknown key of its config": lambda text: text.replace('"batch_size"', '"batch_sise"'),
    "a seed that is none": lambda text: text.replace('"seed": 0', '"seed": "a"'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_record_that_cannot_be_read_names_its_file_in_one_line(damage, tmp_path):
    file = keep(tmp_path, "simple_cnn:base", 0, record())
    damaged = damage(file.read_text())
    file.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    with pytest.raises(UserError) as found:
        read(tmp_path)
    assert str(file) in str(found.value)
    assert "\n" not in str(found.value)


def test_a_record_under_the_name_of_another_does_not_count(tmp_path):
    file = keep(tmp_path, "simple_cnn:base", 0, record())
    file.rename(records.path_of(tmp_path, "simple_cnn:base", 1))
    assert read(tmp_path)["simple_cnn:base"] == {}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_is_complete_and_can_be_measured(claim):
    assert set(claim.runs) <= set(RUNS)
    assert claim.report in ("000", "001", "002", "003", "004")
    if claim.reported is not None:
        assert len(claim.comparisons) == 1
    found = {run: {0: record(device="1 × NVIDIA H200")} for run in claim.runs}
    for part in claim.comparisons:
        (value,) = part.values(found, claim.device)
        assert math.isfinite(value)


def test_ids_are_unique_and_every_run_is_used_by_a_claim():
    ids = [claim.id for claim in CLAIMS]
    assert len(ids) == len(set(ids))
    assert {run for claim in CLAIMS for run in claim.runs} == set(RUNS)


# The change of a record that refutes each statement.
REFUTED_BY = {
    "000-gap": {"adaptive": {"train_accuracy": 0.80, "test_accuracy": 0.78}},
    "000-speed": {"adaptive": {"examples_per_second": 225.3}},
    "001-consistent": {"adaptive_softmax": {"test_accuracy": 0.89}},
    "002-best": {"pooled_cnn:lr0.01": {"test_accuracy": 0.99}},
    "002-similar": {"pooled_cnn:lr0.01": {"test_accuracy": 0.99}},
    "002-worst": {"pooled_cnn:lr0.001": {"test_accuracy": 0.3}},
    "003-initial-loss": {"simple_cnn:base": {"initial_loss": 2.4}},
    "003-base-train": {"simple_cnn:base": {"train_accuracy": 0.5}},
    "003-base-stall": {"simple_cnn:base": {"test_accuracy": 0.99}},
    "003-base-loss": {"simple_cnn:base": {"test_loss": 0.0}},
    "003-decay-no-help": {"simple_cnn:decay": {"test_accuracy": 0.99}},
    "003-augment-gain": {"simple_cnn:base": {"test_accuracy": 0.99}},
    "003-augment-fit": {"simple_cnn:augment": {"test_loss": 3.0}},
    "003-batchnorm-gain": {"simple_cnn:augment": {"test_accuracy": 0.99}},
    "003-bn-high-rate": {"simple_cnn:nobn_lr0.1": {"test_accuracy": 0.99}},
    "003-bn-high-rate-loss": {"simple_cnn:bn_lr0.1": {"test_loss": 3.0}},
    "003-swish-gain": {"simple_cnn:bn_lr0.1": {"test_accuracy": 0.99}},
    "003-lr1": {"simple_cnn:lr1": {"train_accuracy": 0.3}},
    "003-lr0.05": {"simple_cnn:batchnorm": {"test_accuracy": 0.99}},
    "003-lr-small": {"simple_cnn:lr0.001": {"test_accuracy": 0.99}},
    "003-l2-best": {"simple_cnn:l2_0": {"test_accuracy": 0.99}},
    "003-l2-big": {"simple_cnn:l2_1e-2": {"test_accuracy": 0.99}},
    "003-l2-none": {"simple_cnn:l2_0": {"test_accuracy": 0.99}},
    "003-l1-zero": {"simple_cnn:l1": {"weights": {"share_below": {"0.001": 0.05}}}},
    "003-resnet20-decay": {},  # a loss without a step
    "004-fit": {"adaptive_prelu": {"train_accuracy": 0.97, "test_accuracy": 0.88}},
}


@pytest.mark.parametrize(
    "claim", [c for c in CLAIMS if c.reported is None], ids=lambda claim: claim.id
)
def test_a_statement_is_refuted_by_its_opposite(claim):
    changes = REFUTED_BY[claim.id]
    found = {run: {0: record(**changes.get(run, {}))} for run in claim.runs}
    assert min(part.margin(*part.values(found)) for part in claim.comparisons) < 0


def test_a_loss_that_was_not_finite_is_infinite_and_its_run_no_better_than_guessing():
    broken = record(train_loss=None)
    assert last_epoch("train_loss").of(broken) == math.inf
    assert no_better_than_guessing({0: record(), 1: broken})
    assert no_better_than_guessing(
        {0: record(train_loss=2.31)}
    )  # guessing among ten: ln 10 = 2.303
    assert not no_better_than_guessing({0: record(train_loss=2.29)})


@pytest.mark.parametrize("epochs", [1, 5, 12, 50])
def test_runs_that_ended_early_can_be_judged(epochs):
    """Such as runs that diverged; the claims about later epochs stay undecided."""
    runs = {run for claim in CLAIMS for run in claim.runs}
    ended = {seed: record(epochs, train_loss=None) for seed in (0, 1)}
    judged = judge.judge_all(CLAIMS, dict.fromkeys(runs, ended))
    late = {"003-base-train": 10, "003-base-stall": 16, "003-resnet20-decay": 51}
    for claim, judgement in judged.items():
        assert judgement.verdict in judge.VERDICTS
        if late.get(claim.id, 0) > epochs:
            assert judgement.verdict == judge.UNDECIDED


def test_a_record_takes_the_place_of_another_only_after_that_was_moved(tmp_path):
    run = "simple_cnn:base"
    for accuracy in (0.1, 0.2, 0.3, 0.3):  # the same again moves nothing
        keep(tmp_path, run, 0, record(train_accuracy=accuracy))
    file = records.path_of(tmp_path, run, 0)
    found = sorted(path.name for path in file.parent.iterdir())
    assert found == [file.name, f"{file.name}.old1", f"{file.name}.old2"]
    assert list(records.read(tmp_path, [run])[run]) == [0]


def test_the_committed_tables_match_the_committed_records():
    found = read(RESULTS)
    judged = judge.judge_all(CLAIMS, found)
    for table, file in (
        (tables.headline_table(judged), ROOT / "README.md"),
        (tables.claims_table(judged), RESULTS / "README.md"),
        (tables.runs_table(found), RESULTS / "README.md"),
    ):
        assert table in file.read_text(), f"{file}: run python -m jaxcifar.reproduce --table"


def test_the_headlines_are_at_most_ten_rows_and_every_claim_is_in_its_table_once():
    found = read(RESULTS)
    judged = judge.judge_all(CLAIMS, found)
    headlines = tables.headline_table(judged)
    assert len([line for line in headlines.splitlines() if line.startswith("| ")]) <= 11
    whole = tables.claims_table(judged)
    for claim in CLAIMS:
        assert len(re.findall(rf"\b{re.escape(claim.id)}( \||\b \()", whole)) == 1
    assert {claim.id for claim in CLAIMS} >= set(HEADLINES)


REAL_DATA = {"source": "cifar10", "checksum": "9bb26ea52d5b3953"}
FILES = sorted((RESULTS / "runs").glob("*.json"))


@pytest.fixture(scope="module")
def committed():
    """Returns every record that counts, by its file."""
    return {
        records.path_of(RESULTS, run, seed): record
        for run, seeds in read(RESULTS).items()
        for seed, record in seeds.items()
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_committed_record_is_a_complete_run_on_the_real_data(file, committed):
    """It has the config and seed of its name, and the commit and versions that made it."""
    assert file in committed, f"{file} is of another config than the file in configs/"
    found = committed[file]
    assert found["config"]["seed"] == found["seed"]
    epochs = list(range(1, found["config"]["num_epochs"] + 1))
    assert [line["epoch"] for line in found["epochs"]] == epochs
    steps = 50_000 // found["config"]["batch_size"]
    assert [line["step"] for line in found["epochs"]] == [steps * epoch for epoch in epochs]
    assert all(0 <= line[f"{split}_accuracy"] <= 1 for line in found["epochs"] for split in SPLITS)
    assert found["data"] == REAL_DATA
    assert provenance.COMMIT.fullmatch(found["commit"])
    assert {"python", "jax", "jaxlib", "flax", "optax", "numpy"} <= set(found["versions"])
    assert sum(found["weights"]["counts"]) <= found["weights"]["total"]


def test_every_small_run_has_five_seeds():
    for run, seeds in read(RESULTS).items():
        if run.startswith(("simple_cnn", "pooled_cnn")):
            assert set(seeds) >= set(range(5)), run


def test_the_checksum_of_the_records_is_that_of_the_real_data(real_data):
    dataset = data.load_dataset("cifar10", real_data, 0, 0)
    assert dataset.checksum == REAL_DATA["checksum"]


def test_seeds_trained_on_different_data_are_not_averaged(tmp_path):
    run = "simple_cnn:base"
    (tmp_path / "runs").mkdir()
    for seed in (0, 1):
        shutil.copy(records.path_of(RESULTS, run, seed), tmp_path / "runs")
    assert set(records.read(tmp_path, [run])[run]) == {0, 1}
    record = records.read_record(records.path_of(tmp_path, run, 1))
    record["data"]["checksum"] = "another"
    records.write(tmp_path, record)
    with pytest.raises(UserError, match=r"seed0.json and .*seed1.json were trained on different"):
        records.read(tmp_path, [run])
