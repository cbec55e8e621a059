"""Claims: every one can be measured, verdicts at their bounds, tables made from the records."""

import json
import math
import re

import pytest
from conftest import ROOT, page

from jaxcifar import config as configs
from jaxcifar.claims import judge, records, tables
from jaxcifar.claims.judge import Claim
from jaxcifar.claims.reports import CLAIMS, HEADLINES, RUNS
from jaxcifar.errors import UserError

RESULTS = ROOT / "results"


def record(epochs=60, **changes):
    """A record of a run: rising accuracies, falling losses, whatever is asked for last."""
    lines = [
        {
            "train_accuracy": 0.5 + 0.005 * epoch,
            "test_accuracy": 0.5 + 0.004 * epoch,
            "train_loss": 2.0 / (1 + epoch),
            "test_loss": 2.1 / (1 + epoch),
        }
        for epoch in range(epochs)
    ]
    lines[-1] |= {key: value for key, value in changes.items() if key in lines[-1]}
    return {
        **{key: {} for key in records.KEYS},
        "epochs": lines,
        "initial_loss": 2.31,
        "examples_per_second": 300.0,
        "weights": {"share_below": {"0.001": 0.1}},
        **{key: value for key, value in changes.items() if key not in lines[-1]},
    }


def keep(out, run, seed, record, **overrides):
    """Writes a record under the run's own config, except for the overrides."""
    name, colon, variant = run.partition(":")
    config = page(f"{name}.py{colon}{variant}", seed=seed, **overrides)
    known = {"run": run, "seed": seed, "config": json.loads(configs.to_json(config))}
    return records.write(out, record | known)


def read(out):
    return records.read(out, RUNS)


def claim_of(reported=None, bound=None, lower=False, key="test_accuracy"):
    run = "simple_cnn:base"
    measure = lambda runs: records.last(runs[run], key)  # noqa: E731
    return Claim("x", "", (run,), "", measure, reported=reported, bound=bound, lower=lower)


def verdict(tmp_path, claim, values):
    for seed, value in enumerate(values):
        keep(tmp_path, "simple_cnn:base", seed, record(test_accuracy=value))
    return judge.judge(claim, read(tmp_path))


@pytest.mark.parametrize(
    ("claim", "values", "expected", "better"),
    [
        # one seed: 1.5 points of an accuracy, a tenth of a loss
        (claim_of(reported=0.70), [0.6851], "holds", False),
        (claim_of(reported=0.70), [0.6849], "does not hold", False),
        (claim_of(reported=0.70), [0.7151], "holds", True),
        (claim_of(reported=1.0, lower=True), [1.09], "holds", False),
        (claim_of(reported=1.0, lower=True), [1.11], "does not hold", False),
        (claim_of(reported=1.0, lower=True), [0.89], "holds", True),
        # several: two sample standard deviations, 0.02 here
        (claim_of(reported=0.70), [0.65, 0.66, 0.67], "does not hold", False),
        (claim_of(reported=0.679), [0.65, 0.66, 0.67], "holds", False),
        (claim_of(reported=0.681), [0.65, 0.66, 0.67], "does not hold", False),
        # a statement: the mean reaches the bound, whatever the spread
        (claim_of(bound=0.66), [0.61, 0.73], "holds", False),
        (claim_of(bound=0.68), [0.61, 0.73], "does not hold", False),
        (claim_of(bound=0.66, lower=True), [0.61, 0.73], "does not hold", False),
        (claim_of(bound=0.68, lower=True), [0.61, 0.73], "holds", False),
        (claim_of(bound=0.5), [], "not yet measured", False),
    ],
)
def test_a_verdict_turns_at_its_bound(claim, values, expected, better, tmp_path):
    judgement = verdict(tmp_path, claim, values)
    assert (judgement.verdict, judgement.better) == (expected, better)
    assert judgement.values == tuple(values)


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
    assert judge.judge(claim_of(bound=0.0), read(tmp_path)).verdict == "not yet measured"


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


def test_a_record_under_another_ones_name_does_not_count(tmp_path):
    file = keep(tmp_path, "simple_cnn:base", 0, record())
    file.rename(records.path_of(tmp_path, "simple_cnn:base", 1))
    assert read(tmp_path)["simple_cnn:base"] == {}


def test_runs_are_compared_seed_by_seed(tmp_path):
    """Only of the seeds that both runs have: differences, then their mean and spread."""
    gain = judge.gain_claim("x", "simple_cnn:augment", "simple_cnn:base", 0.015, "")
    for seed, (ours, theirs) in enumerate([(0.83, 0.80), (0.85, 0.84), (0.99, None)]):
        keep(tmp_path, "simple_cnn:augment", seed, record(test_accuracy=ours))
        if theirs is not None:
            keep(tmp_path, "simple_cnn:base", seed, record(test_accuracy=theirs))
    judgement = judge.judge(gain, read(tmp_path))
    assert judgement.values == pytest.approx((0.03, 0.01))
    assert judgement.verdict == "holds"
    assert tables.spread(judgement.values) == "0.0200 ± 0.0141"


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_is_whole_and_can_be_measured(claim):
    assert set(claim.runs) <= set(RUNS)
    assert (claim.reported is None) != (claim.bound is None)
    assert claim.report in ("000", "001", "002", "003", "004")
    runs = {run: record() for run in claim.runs}
    assert math.isfinite(claim.measure(runs))


def test_ids_are_unique_and_every_run_serves_a_claim():
    ids = [claim.id for claim in CLAIMS]
    assert len(ids) == len(set(ids))
    assert {run for claim in CLAIMS for run in claim.runs} == set(RUNS)


# What would have to be seen for a statement to fail: a record changed in one run.
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
    "003-resnet20-decay": {},  # a smooth fall
    "004-fit": {"adaptive_prelu": {"train_accuracy": 0.97, "test_accuracy": 0.88}},
}


@pytest.mark.parametrize(
    "claim", [c for c in CLAIMS if c.reported is None], ids=lambda claim: claim.id
)
def test_a_statement_is_refuted_by_its_opposite(claim):
    changes = REFUTED_BY[claim.id]
    runs = {run: record(**changes.get(run, {})) for run in claim.runs}
    value = claim.measure(runs)
    assert value > claim.bound if claim.lower else value < claim.bound


def test_a_loss_that_was_not_finite_is_infinite():
    broken = record(train_loss=None)
    assert records.last(broken, "train_loss") == math.inf
    assert records.mean_std([math.inf, 1.0]) == (math.inf, 0.0)


@pytest.mark.parametrize(
    ("values", "mean", "std"), [([2.0], 2.0, 0.0), ([1.0, 3.0], 2.0, math.sqrt(2))]
)
def test_mean_and_sample_deviation(values, mean, std):
    assert records.mean_std(values) == pytest.approx((mean, std))


def test_the_committed_tables_are_those_of_the_committed_records():
    found = read(RESULTS)
    judged = judge.judge_all(CLAIMS, found)
    for table, file in (
        (tables.headline_table(judged), ROOT / "README.md"),
        (tables.claims_table(judged), RESULTS / "README.md"),
        (tables.runs_table(found), RESULTS / "README.md"),
    ):
        assert table in file.read_text(), f"{file}: run python -m jaxcifar.reproduce --table"


def test_the_headlines_are_at_most_ten_rows_and_every_claim_is_in_its_table_once(tmp_path):
    judged = judge.judge_all(CLAIMS, read(RESULTS))
    headlines = tables.headline_table(judged)
    assert len([line for line in headlines.splitlines() if line.startswith("| ")]) <= 11
    whole = tables.claims_table(judged)
    for claim in CLAIMS:
        assert len(re.findall(rf"\b{re.escape(claim.id)}( \||\b \()", whole)) == 1
    assert {claim.id for claim in CLAIMS} >= set(HEADLINES)


def test_the_committed_records_are_of_whole_runs_on_the_real_data():
    files = sorted((RESULTS / "runs").glob("*.json"))
    assert files
    counted = {
        records.path_of(RESULTS, run, seed): record
        for run, seeds in read(RESULTS).items()
        for seed, record in seeds.items()
    }
    for file in files:
        assert file in counted, f"{file} is of another config than the page describes"
        found = counted[file]
        assert len(found["epochs"]) == found["config"]["num_epochs"]
        assert found["data"]["source"] == "cifar10"
        assert not found["commit"].endswith("+dirty"), file
