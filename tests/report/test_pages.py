"""The pages: their numbers are the runs', and what is not there is said to be left out."""

import re
import shutil
import types

import numpy as np
import pytest
from conftest import ROOT, TEST

from jaxcifar.claims.reports import CLAIMS
from jaxcifar.report import findings, of_runs, of_study
from jaxcifar.report.__main__ import main

PARTS = "summary curves configuration classes confusion calibration mistakes filters gates weights"


def ids(text):
    return re.findall(r'<section id="([^"]+)"', text)


def test_the_scores_are_what_training_logged(trained):
    folder, results = trained
    runs = findings.read([folder / name for name in results], "latest", None)
    for run, result in zip(runs, results.values(), strict=True):
        assert run.scores.right.mean() == result.lines[-1]["test_accuracy"]
        assert run.scores.matrix.sum() == TEST
        assert run.scores.matrix.trace() == run.scores.right.sum()
        assert run.lines == result.lines
    assert [run.name for run in runs] == list(results)
    assert findings.differing(runs) == ["num_epochs", "seed"]


def test_runs_of_one_name_are_told_apart_by_their_folders(trained):
    folder = trained[0] / "plain"
    names = [run.name for run in findings.read([folder, folder / ".." / "plain"], "latest", None)]
    assert names == [str(folder), str(folder / ".." / "plain")]


def test_a_page_has_every_part(pages):
    text = pages["one"].read_text()
    assert ids(text) == [*PARTS.split(), "seconds-and-versions"]
    assert "Left out" not in text
    assert "On synthetic data, not CIFAR-10" in text
    assert "What differs" in pages["two"].read_text()


def test_the_pictures_are_the_mistakes_most_sure_and_the_hits_least_sure(trained, pages):
    (run,) = findings.read([trained[0] / next(iter(trained[1]))], "latest", None)
    sure, right = run.scores.probabilities.max(1), run.scores.right
    mistakes, hits = re.findall(r'<ul class="cards">.*?</ul>', pages["one"].read_text(), re.DOTALL)
    shown, unsure = (
        [int(n) for n in re.findall(r"<small> no\. (\d+)</small>", part)]
        for part in (mistakes, hits)
    )
    assert not right[shown].any()
    assert right[unsure].all()
    others = np.setdiff1d(np.flatnonzero(~right), shown)
    assert sure[shown].min() >= sure[others].max(initial=0)
    assert sure[unsure].max() <= sure[np.setdiff1d(np.flatnonzero(right), unsure)].min(initial=1)


def test_without_data_the_page_says_what_it_lacks(trained, run, tmp_path, monkeypatch):
    from jaxcifar import data
    from jaxcifar.errors import UserError

    def none(*_):
        raise UserError("no data anywhere")

    monkeypatch.setattr(data, "load", none)
    monkeypatch.setattr(findings.experiment, "load_data", none)
    out = tmp_path / "a.html"
    status, told, _ = run(main, [trained[0] / "plain", f"--out={out}"])
    assert status == 0
    assert told.startswith(f"wrote {out}, ")
    text = out.read_text()
    assert "no data, so nothing that needs predictions (no data anywhere)" in text
    assert "takes: classes, confusion, calibration, mistakes, gates." in text
    assert {"curves", "filters", "weights"} < set(ids(text))


def test_without_weights_or_metrics_there_is_what_is_left(trained, tmp_path):
    lone = tmp_path / "lone"
    lone.mkdir()
    shutil.copy(trained[0] / "plain" / "config.json", lone)
    text = of_runs.page(findings.read([lone], "latest", None))
    assert ids(text) == ["summary", "configuration", "seconds-and-versions"]
    assert "no saved weights" in text
    assert "no metrics.jsonl" in text


@pytest.mark.parametrize("words", [[], ["a", "--study=b"]])
def test_runs_or_a_study_are_needed(run, words):
    status, _, told = run(main, words)
    assert (status, told.count("\n")) == (2, 1)
    assert "expected one or more runs' folders, or --study=results" in told


def test_a_folder_that_is_no_runs_is_named(run, tmp_path):
    status, _, told = run(main, [tmp_path, f"--out={tmp_path / 'a.html'}"])
    assert (status, told.count("\n")) == (2, 1)
    assert f"{tmp_path} is not a run's folder" in told


@pytest.mark.parametrize(
    ("params", "batch_stats", "shape"),
    [
        ({"conv0": {"kernel": (5, 5, 3, 8)}, "conv1": {"kernel": (3, 3, 8, 16)}}, {}, (5, 5, 3, 8)),
        ({"net": {"conv": {"kernel": (3, 3, 24, 8)}}}, {"whitening": (2, 2, 3, 24)}, (2, 2, 3, 24)),
        ({"head": {"dense0": {"kernel": (3072, 9)}}}, {}, (32, 32, 3, 9)),
        ({"head": {"kernel": (64, 10)}}, {}, None),
    ],
)
def test_the_filters_are_those_that_see_the_image(params, batch_stats, shape):
    def zeros(tree):
        return {k: zeros(v) if isinstance(v, dict) else np.zeros(v) for k, v in tree.items()}

    variables = {"params": zeros(params), "batch_stats": zeros(batch_stats)}
    found = findings.first_filters(types.SimpleNamespace(variables=variables))
    assert (None if found is None else found.shape) == shape


def test_the_study_has_every_claim_and_its_links_lead_somewhere(pages):
    text = pages["study"].read_text()
    articles = re.findall(r'<article id="claim-([^"]+)"', text)
    assert sorted(articles) == sorted(claim.id for claim in CLAIMS)
    links = set(re.findall(r'href="([^"]+)"', text))
    inside = {link[1:] for link in links if link.startswith("#")}
    assert inside <= set(re.findall(r' id="([^"]+)"', text))
    outside = {link for link in links if not link.startswith("#")}
    assert len(outside) > 100
    assert all((pages["study"].parent / link).is_file() for link in outside)


def test_a_study_without_records_has_the_claims_alone(tmp_path):
    text = of_study.page(tmp_path, tmp_path / "a.html")
    assert text.count('<p class="note">Needs runs of') == len(CLAIMS)
    assert "figures" not in ids(text)


def test_the_readme_shows_pictures_that_are_there_and_small():
    shown = re.findall(r"\]\((docs/[^)]+\.png)\)", (ROOT / "README.md").read_text())
    assert shown
    assert all(10_000 < (ROOT / name).stat().st_size < 200_000 for name in shown)
