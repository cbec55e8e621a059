"""Records against the run they describe, and the rules of judging at their edges."""

import dataclasses
import math

import jax
import numpy as np
import optax
import pytest
from conftest import tiny
from test_claims import record
from test_judge import FIVE, METRIC, runs

import jaxcifar
from jaxcifar.claims import judge, measure, reports
from jaxcifar.claims.claim import ACCURACY, BEST, Claim, Comparison
from jaxcifar.claims.judge import FAILS, HOLDS, UNDECIDED
from jaxcifar.claims.reports import CLAIMS
from jaxcifar.stats import intervals
from jaxcifar.stats.intervals import Spread
from jaxcifar.training import trainer

ERROR = intervals.mean_std(FIVE)[1] / math.sqrt(5)  # of the mean; at three of them p = 0.04


def test_claims_that_are_not_measured_are_not_among_the_tests_to_correct_for():
    missing = [Claim(str(i), "", (Comparison(METRIC, "b", 0.1),)) for i in range(20)]
    claim = Claim("x", "", (Comparison(METRIC, "a", 0.7 + 3 * ERROR),))
    found = runs(a=FIVE) | {"b": {}}
    assert judge.judge_all([claim, *missing], found)[claim].verdict == FAILS


def test_two_comparisons_need_stronger_evidence_than_one_to_hold():
    part = Comparison(METRIC, "a", 0.7 - 3 * ERROR)
    assert judge.judge(Claim("x", "", (part,)), runs(a=FIVE)).verdict == HOLDS
    both = Claim("x", "", (part, part))
    judgement = judge.judge(both, runs(a=FIVE))
    assert judgement.verdict == UNDECIDED
    for more, verdict in ((judgement.more_seeds, HOLDS), (judgement.more_seeds - 1, UNDECIDED)):
        shape = np.sin(np.arange(5 + int(more)) * 2.0)
        same = 0.7 + math.sqrt(5) * ERROR * (shape - shape.mean()) / shape.std(ddof=1)
        assert judge.judge(both, runs(a=list(same))).verdict == verdict


def test_one_seed_of_one_run_decides_beyond_five_times_the_spread_of_a_run():
    others = {"p:c": [0.50, 0.52, 0.54, 0.50, 0.52, 0.54]}  # the spread is 0.0179
    claim = Claim("x", "", (Comparison(METRIC, "p:a", 0.5),))
    for gain, expected in (
        (0.085, UNDECIDED),
        (0.095, HOLDS),
        (-0.085, UNDECIDED),
        (-0.095, FAILS),
    ):
        found = runs(**{"p:a": [0.5 + gain], **others})
        assert judge.judge(claim, found).verdict == expected


def test_the_p_value_of_a_figure_reaches_the_level_where_the_verdict_changes():
    """0.8 stands for 0.75 to 0.85: the prediction interval around 0.7 just reaches it."""
    std = 0.05 / intervals.prediction_half_width(Spread(1.0, 4), 5)
    judgement = judge.judge_figure(Comparison(METRIC, "a", 0.8), FIVE, Spread(std, 4))
    assert judgement.p_against == pytest.approx(0.05)


@pytest.mark.parametrize(
    "claim", [c for c in CLAIMS if c.reported is not None], ids=lambda claim: claim.id
)
def test_a_figure_is_the_number_in_its_text_and_accuracies_of_001_and_003_are_the_best_epochs(
    claim,
):
    number, (part,) = claim.reported, claim.comparisons
    assert f"{number:g}" in claim.text or f"{100 * number:.2f} %" in claim.text
    assert part.bound == number
    if part.metric.unit == ACCURACY:
        assert (part.metric is BEST) == (claim.report in ("001", "003"))


def test_a_record_sums_up_the_lines_and_measures_the_net(small_data, tmp_path):
    result = trainer.train(tiny(num_epochs=3), tmp_path / "run")
    times = zip((1.0, 2.0, 9.0), (100.0, 10.0, 40.0), strict=True)
    lines = [
        line | {"seconds": seconds, "examples_per_second": rate}
        for line, (seconds, rate) in zip(result.lines, times, strict=True)
    ]
    record = measure.measure_run("x", tiny(num_epochs=3), result._replace(lines=lines))
    assert record["seconds"] == 12.0
    assert record["examples_per_second"] == 40.0  # the median
    net, (images, labels) = jaxcifar.load(tmp_path / "run"), result.dataset.test
    want = {
        name: [gate[labels == c].mean(0) for c in range(10)]
        for name, gate in net.predict(images).gates.items()
    }
    assert record["gates"].keys() == want.keys()
    for name, means in record["gates"].items():
        np.testing.assert_allclose(means, want[name], atol=1e-4)
    images, labels = result.dataset.train
    start = result.parts.start(optax.identity(), images).state.eval_variables()
    untrained = dataclasses.replace(net, variables=start).predict(images)
    log_p = jax.nn.log_softmax(untrained.logits)[np.arange(len(labels)), labels]
    assert record["initial_loss"] == pytest.approx(-float(log_p.mean()), rel=1e-5)


def test_metrics_over_epochs_read_the_epochs_that_they_name():
    made = record(60)
    for epoch, line in enumerate(made["epochs"], 1):
        line["train_loss"] = 2.0 if epoch <= 50 else 0.5  # the rate falls after epoch 50
        line["train_accuracy"], line["test_loss"] = epoch / 100, abs(epoch - 20) / 10
        line["test_accuracy"] = {15: 0.7, 16: 0.9}.get(epoch, 0.5)
    assert reports.FIRST_DECAY.of(made) == 0.25
    assert reports.LATE_TRAINING.of(made) == pytest.approx(0.6 - 0.1)
    assert reports.LATE_TEST.of(made) == pytest.approx(0.9 - 0.7)
    assert reports.LOSS_RISE.of(made) == pytest.approx(4.0)
