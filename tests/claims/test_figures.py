"""Pictures: the lines are the numbers of the records."""

import statistics

import pytest
from conftest import ROOT

from jaxcifar.claims import figures, judge, records
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.figures import plots


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, by file name; nothing is written."""
    found = {}
    monkeypatch.setattr(plots, "save", lambda fig, path: found.update({path.name: fig}))
    return found


def epochs(*accuracies, loss=1.0):
    return [
        {
            "epoch": number,
            **{f"{split}_accuracy": value for split in ("train", "test")},
            **{f"{split}_loss": loss for split in ("train", "test")},
        }
        for number, value in enumerate(accuracies, 1)
    ]


def test_curves_are_means_in_bands_of_one_standard_deviation(drawn, tmp_path):
    seeds = [epochs(0.1, 0.5), epochs(0.3, 0.6), epochs(0.2, 0.4)]
    plots.curves(tmp_path / "a.png", {"many": seeds, "one": seeds[:1]}, "")
    axis = drawn["a.png"].axes[1]
    assert axis.lines[0].get_ydata() == pytest.approx([0.2, 0.5])
    assert axis.lines[2].get_ydata() == pytest.approx([0.1, 0.5])
    assert len(axis.collections) == 2  # train and test of the run that has seeds
    band = axis.collections[0].get_paths()[0].vertices
    std = statistics.stdev([0.1, 0.3, 0.2])
    assert band[:, 1].min() == pytest.approx(0.2 - std)


def test_a_loss_far_beyond_the_others_does_not_flatten_them(drawn, tmp_path):
    peak = epochs(*[0.1] * 100)
    peak[0]["train_loss"] = 1e30
    peak[1]["train_loss"] = None
    plots.curves(tmp_path / "a.png", {"a": [peak]}, "")
    assert drawn["a.png"].axes[0].get_ylim()[1] < 2
    never = epochs(0.1, 0.1, loss=None)
    plots.curves(tmp_path / "b.png", {"a": [never]}, "")


def test_the_overview_has_every_claim_where_its_number_is(drawn, tmp_path):
    found = records.read(ROOT / "results", RUNS)
    judged = judge.judge_all(CLAIMS, found)
    figures.draw_claims(tmp_path / "a.png", judged)
    rows = [t.get_text() for axis in drawn["a.png"].axes for t in axis.get_yticklabels()]
    assert sorted(rows) == sorted(claim.id for claim in CLAIMS)
    accuracy = drawn["a.png"].axes[0]
    points = [line for line in accuracy.lines if line.get_marker() in "oD"]
    swish = next(claim for claim in CLAIMS if claim.id == "003-swish")
    ours = statistics.mean(judged[swish].tests[0].values)
    assert any(line.get_xdata() == pytest.approx([ours - 0.7258]) for line in points)


def test_without_records_there_is_the_overview_alone(drawn, tmp_path):
    nothing = {run: {} for run in RUNS}
    assert figures.draw(tmp_path, nothing, judge.judge_all(CLAIMS, nothing)) == []
    assert list(drawn) == ["claims.png"]


def test_every_picture_on_the_page_is_there():
    names = {f.name for f in (ROOT / "results" / "figures").glob("*.png")}
    page = (ROOT / "results" / "README.md").read_text()
    assert names == {part.partition(")")[0] for part in page.split("](figures/")[1:]}
    assert page.index("figures/claims.png") < page.index("| claim |")
    assert all((ROOT / "results" / "figures" / name).stat().st_size > 10_000 for name in names)
