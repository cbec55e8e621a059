"""The figures show the numbers of the records."""

import statistics

import pytest
from conftest import ROOT

from jaxcifar.claims import figures, judge, records
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.figures import png


@pytest.fixture
def drawn(monkeypatch):
    """Collects figures by file name instead of writing them."""
    found = {}
    monkeypatch.setattr(png, "save", lambda fig, path: found.update({path.name: fig}))
    return found


def test_the_overview_shows_every_measured_claim_at_its_number(drawn, tmp_path):
    found = records.read(ROOT / "results", RUNS)
    judged = judge.judge_all(CLAIMS, found)
    forests = figures.forests(judged)
    png.draw_forests(tmp_path / "a.png", forests, "", figures.COLOURS, figures.MARKERS)
    rows = [t.get_text() for axis in drawn["a.png"].axes for t in axis.get_yticklabels()]
    assert sorted(rows) == sorted(claim.id for claim in CLAIMS if judged[claim].n)
    accuracy = drawn["a.png"].axes[0]
    points = [line for line in accuracy.lines if line.get_marker() in "oD"]
    swish = next(claim for claim in CLAIMS if claim.id == "003-swish")
    ours = statistics.mean(judged[swish].tests[0].values)
    assert any(line.get_xdata() == pytest.approx([ours - 0.7258]) for line in points)


def test_without_records_nothing_is_drawn(drawn, tmp_path):
    nothing = {run: {} for run in RUNS}
    assert figures.draw(tmp_path, nothing, judge.judge_all(CLAIMS, nothing)) == []
    assert not drawn


def test_every_figure_of_a_run_that_diverged_can_be_drawn(drawn, tmp_path):
    """Its losses are infinite: the overview leaves them out of the scale."""
    found = records.read(ROOT / "results", RUNS)
    line = found["pooled_cnn:lr0.005"][0]["epochs"][-1] | {"train_loss": None}
    found["pooled_cnn:lr0.005"][0]["epochs"][-1] = line
    judged = judge.judge_all(CLAIMS, found)
    figures.draw(tmp_path, found, judged)
    (forest,) = (f for f in figures.forests(judged) if f.title.startswith("loss"))
    assert -2 < forest.span[0] < forest.span[1] < 2


def test_the_figures_in_the_readme_are_the_files_in_the_folder():
    names = {f.name for f in (ROOT / "results" / "figures").glob("*.png")}
    page = (ROOT / "results" / "README.md").read_text()
    assert names == {part.partition(")")[0] for part in page.split("](figures/")[1:]}
    assert page.index("figures/claims.png") < page.index("| claim |")
    assert all((ROOT / "results" / "figures" / name).stat().st_size > 10_000 for name in names)
