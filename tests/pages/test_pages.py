"""Pages show the numbers of the runs, name what is missing, and work in a browser."""

import dataclasses
import html
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from conftest import ROOT, TEST, TRAIN, tiny, use_few_images

from jaxcifar.claims.reports import CLAIMS
from jaxcifar.errors import UserError
from jaxcifar.pages import predictions, run_page, study_page
from jaxcifar.pages.runs import Run, differing, load_runs
from jaxcifar.report import main
from jaxcifar.stats.accuracy import wilson
from jaxcifar.training import experiment, trainer

HOSTILE = '"><script>boom()<'
PARTS = "curves confusion mistakes classes calibration summary configuration filters gates weights"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
# Comes first on the page, and leaves what it sees in an attribute of the body.
WATCH = f"<script>{pathlib.Path(__file__).with_name('watch.js').read_text()}</script>"


@pytest.fixture(scope="module")
def few_images(synthetic):
    """Provides a few synthetic images whose classes have hostile names."""
    names = tuple(f"<script>boom({i})</script>" for i in range(10))
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_few_images(dataclasses.replace(synthetic, class_names=names), monkeypatch)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, few_images):
    """Returns the folders of two runs, and the results of their training."""
    folder = tmp_path_factory.mktemp("runs")
    configs = {HOSTILE: tiny(num_epochs=3), "plain": tiny(num_epochs=1, seed=1)}
    results = {name: trainer.train(config, folder / name) for name, config in configs.items()}
    assert results[HOSTILE].state.step == 3 * (TRAIN // 16)
    return folder, results


@pytest.fixture(scope="module")
def pages(tmp_path_factory, trained):
    """Returns the files of the pages of one run, of two, and of the study with its results."""
    out = tmp_path_factory.mktemp("pages")
    folders = [trained[0] / name for name in trained[1]]
    shutil.copytree(ROOT / "results", out / "results")
    texts = {
        "one": run_page.page(load_runs(folders[:1], "latest", None)),
        "two": run_page.page(load_runs(folders, "latest", None)),
        "study": study_page.page(out / "results", out / "docs" / "study.html"),
    }
    broken = '<img src="data:image/png;base64,AAAA" alt="a"><script>boom()</script></main>'
    texts["broken"] = texts["study"].replace("</main>", broken)
    (out / "docs").mkdir()
    files = {name: out / "docs" / f"{name}.html" for name in texts}
    for name, file in files.items():
        file.write_text(texts[name])
    return files


def ids(text):
    return re.findall(r'<section id="([^"]+)"', text)


def test_the_scores_are_those_that_training_logged(trained):
    folder, results = trained
    runs = load_runs([folder / name for name in results], "latest", None)
    for run, result in zip(runs, results.values(), strict=True):
        assert run.scores.right.mean() == result.lines[-1]["test_accuracy"]
        assert run.scores.matrix.sum() == TEST
        assert run.scores.matrix.trace() == run.scores.right.sum()
        assert run.lines == result.lines
    assert [run.name for run in runs] == list(results)
    assert differing(runs) == ["num_epochs", "seed"]


def test_runs_of_the_same_name_are_named_by_their_folders(trained):
    folder = trained[0] / "plain"
    names = [run.name for run in load_runs([folder, folder / ".." / "plain"], "latest", None)]
    assert names == [str(folder), str(folder / ".." / "plain")]


def test_a_page_has_every_section(pages):
    text = pages["one"].read_text()
    assert ids(text) == [*PARTS.split(), "time-and-versions"]
    assert "Left out" not in text
    assert "synthetic images, not CIFAR-10" in text
    assert "Values that differ" in pages["two"].read_text()


def test_two_nets_are_compared_image_by_image(trained, pages):
    runs = load_runs([trained[0] / name for name in trained[1]], "latest", None)
    a, b = (run.scores.right for run in runs)
    page = pages["two"].read_text()
    told = re.search(r"is right on (\d+) images, and only plain on (\d+);", page)
    assert int(told[1]) - int(told[2]) == a.sum() - b.sum()
    assert int(told[1]) + int(told[2]) == (a != b).sum()


def test_the_images_are_the_most_confident_mistakes_and_the_least_confident_hits(trained, pages):
    (run,) = load_runs([trained[0] / next(iter(trained[1]))], "latest", None)
    sure, right = run.scores.probabilities.max(1), run.scores.right
    mistakes, hits = re.findall(r'<ul class="cards">.*?</ul>', pages["one"].read_text(), re.DOTALL)
    shown, unsure = (
        [int(n) for n in re.findall(r"<small>test image (\d+)</small>", part)]
        for part in (mistakes, hits)
    )
    assert not right[shown].any()
    assert right[unsure].all()
    others = np.setdiff1d(np.flatnonzero(~right), shown)
    assert sure[shown].min() >= sure[others].max(initial=0)
    assert sure[unsure].max() <= sure[np.setdiff1d(np.flatnonzero(right), unsure)].min(initial=1)


def test_without_data_the_page_names_what_is_missing(trained, run, tmp_path, monkeypatch):
    def none(*_):
        raise UserError("no data anywhere")

    monkeypatch.setattr(experiment, "load_data", none)
    out = tmp_path / "a.html"
    status, told, _ = run(main, [trained[0] / "plain", f"--out={out}"])
    assert status == 0
    assert told.startswith(f"wrote {out}, ")
    text = out.read_text()
    assert "everything that needs predictions is left out (no data anywhere)" in text
    assert "data for them: confusion, mistakes, classes, calibration, gates." in text
    assert {"curves", "filters", "weights"} < set(ids(text))


def test_another_dataset_than_in_training_is_reported(trained, monkeypatch):
    load = experiment.load_data
    other = dataclasses.replace(load(tiny()), checksum="another")
    monkeypatch.setattr(experiment, "load_data", lambda config: other)
    (run,) = load_runs([trained[0] / "plain"], "latest", None)
    (note,) = run.notes
    assert f"plain was trained on other data: their checksum is {load(tiny()).checksum}" in note


def test_without_weights_or_metrics_the_page_shows_the_rest(trained, tmp_path):
    lone = tmp_path / "lone"
    lone.mkdir()
    shutil.copy(trained[0] / "plain" / "config.json", lone)
    text = run_page.page(load_runs([lone], "latest", None))
    assert ids(text) == ["summary", "configuration", "time-and-versions"]
    assert f"everything that needs them is left out (no checkpoint in {lone}; train first)" in text
    with pytest.raises(UserError, match="no checkpoint"):
        load_runs([lone], "4", None)
    assert "metrics.jsonl is missing" in text


def test_a_run_scored_once_has_no_best_epoch_and_no_rates_it_did_not_log():
    line = {"epoch": 2, "step": 50, "train_loss": 1.0, "train_accuracy": 0.5}
    line |= {"test_loss": 1.0, "test_accuracy": 0.5}
    config = {"model.name": "x", "data.source": "cifar10", "num_epochs": 2, "seed": 0}
    once = Run("once", config, [line], {}, None, None, ())
    with_rate = dataclasses.replace(
        once, lines=[line | {"epoch": n, "learning_rate": 0.1} for n in (1, 2)]
    )
    assert run_page.page([once]).count("Learning rate, log scale") == 0
    assert run_page.page([with_rate]).count("Learning rate, log scale") >= 1
    assert "selected on test" not in run_page.page([once])
    assert "selected on test" in run_page.page([with_rate])


def test_a_page_leads_with_the_accuracy_and_its_interval(trained, pages):
    (run,) = load_runs([trained[0] / next(iter(trained[1]))], "latest", None)
    right = run.scores.right
    low, high = wilson(int(right.sum()), len(right))
    text = pages["one"].read_text()
    head = text[: text.index("<nav")]
    assert f"<b>{right.mean():.4f}</b>" in head
    assert f"95 % interval {low:.4f} to {high:.4f}, {len(right)} images" in head
    assert f"trained on {TRAIN} synthetic images" in head
    assert run.meta["date"] in head
    # the images that the net was trained on, whatever it is scored on
    other = dataclasses.replace(run, meta=run.meta | {"images": {"train": 1234}})
    assert "trained on 1,234 synthetic images" in run_page.page([other])
    old = {key: value for key, value in run.meta.items() if key != "images"}
    full = run.config | {"data.train_examples": 0, "data.validation": 1000}
    other = dataclasses.replace(run, meta=old, config=full)
    assert "trained on 9,000 synthetic images" in run_page.page([other])
    imported = old | {"imported": {"file": "a.pt", "sha256": "0"}}
    other = dataclasses.replace(run, meta=imported)
    assert "trained on synthetic images" in run_page.page([other])


def test_what_is_missing_is_a_footnote_that_a_star_leads_to(trained, tmp_path):
    lone = tmp_path / "lone"
    lone.mkdir()
    shutil.copy(trained[0] / "plain" / "config.json", lone)
    text = run_page.page(load_runs([lone], "latest", None))
    assert text.index("metrics.jsonl is missing") > text.index('<footer id="notes"')
    assert 'href="#notes"' in text[: text.index("<nav")]


def test_a_chart_of_a_single_dot_is_not_drawn():
    line = {"epoch": 1, "step": 50, "train_loss": 1.0, "train_accuracy": 0.5}
    scored = line | {"epoch": 2, "test_loss": 1.0, "test_accuracy": 0.5}
    config = {"model.name": "x", "data.source": "cifar10", "num_epochs": 2, "seed": 0}
    at_the_end = Run("a", config, [line, scored], {}, None, None, ())
    text = run_page.page([at_the_end])
    assert text.count('class="chart"') == 2  # the training curves are lines
    assert "Only the last epoch was scored: a." in text
    alone = run_page.page([dataclasses.replace(at_the_end, lines=[scored])])
    assert 'class="chart"' not in alone
    assert "Only the last epoch was scored: a." in alone


def test_the_mistakes_say_what_is_labelled_and_what_is_predicted(trained):
    (run,) = load_runs([trained[0] / next(iter(trained[1]))], "latest", None)
    scores = run.scores
    i = int(np.flatnonzero(~scores.right)[0])
    words = "".join(predictions.card(scores, i).find("p").itertext())
    best = scores.probabilities[i].argmax()
    names = scores.class_names
    assert words.startswith(
        f"labelled {names[scores.examples.labels[i]]}, predicted {names[best]}"
        f" {scores.probabilities[i].max():.2f}"
    )


@pytest.mark.parametrize("words", [[], ["a", "--study=b"]])
def test_runs_or_a_study_are_needed(run, words):
    status, _, told = run(main, words)
    assert (status, told.count("\n")) == (2, 1)
    assert "give either the folders of runs or --study=DIR" in told


def test_a_folder_that_is_not_a_run_is_named(run, tmp_path):
    status, _, told = run(main, [tmp_path, f"--out={tmp_path / 'a.html'}"])
    assert (status, told.count("\n")) == (2, 1)
    assert f"{tmp_path} is not a run's folder" in told


def test_the_study_gives_each_claim_in_words_next_to_its_code(pages):
    text = pages["study"].read_text()
    overview = text[text.index('id="verdicts"') : text.index('id="report-000"')]
    for claim in CLAIMS:
        assert claim.id in overview
        assert html.escape(claim.text, quote=False) in overview


def test_the_study_has_every_claim_and_no_broken_link(pages):
    text = pages["study"].read_text()
    articles = re.findall(r'<article id="claim-([^"]+)"', text)
    assert sorted(articles) == sorted(claim.id for claim in CLAIMS)
    links = set(re.findall(r'href="([^"]+)"', text))
    inside = {link[1:] for link in links if link.startswith("#")}
    assert inside <= set(re.findall(r' id="([^"]+)"', text))
    outside = {link for link in links if not link.startswith("#")}
    assert len(outside) > 100
    assert all((pages["study"].parent / link).is_file() for link in outside)


def test_a_study_without_records_has_only_the_claims(tmp_path):
    text = study_page.page(tmp_path, tmp_path / "a.html")
    assert text.count('<p class="note">Needs runs of') == len(CLAIMS)
    assert "charts" not in ids(text)


def test_the_images_in_the_readme_exist_and_are_small():
    shown = re.findall(r"\]\((docs/[^)]+\.png)\)", (ROOT / "README.md").read_text())
    assert shown
    assert all(10_000 < (ROOT / name).stat().st_size < 200_000 for name in shown)


@pytest.fixture(scope="module")
def seen(pages, tmp_path_factory):
    """look(name) -> what watch.js saw on a page, and what the browser logged."""
    known = {}

    if not BROWSER:
        pytest.skip(f"needs one of {', '.join(BROWSERS)}")

    def look(name):
        if name not in known:
            file = pages[name].with_name(f"watched_{name}.html")
            text = pages[name].read_text()
            file.write_text(text.replace("<head>", "<head>" + WATCH, 1))
            profile = tmp_path_factory.mktemp("profile")
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900"]
            options += [f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--dump-dom"]
            command = [BROWSER, *options, "--enable-logging=stderr", file.as_uri()]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            found = re.search(r'data-seen="([^"]*)"', done.stdout)
            assert found, done.stderr[-2000:]
            known[name] = json.loads(html.unescape(found[1])), done.stderr
        return known[name]

    return look


@pytest.mark.parametrize("name", ["two", "study"])
def test_the_browser_logs_nothing_and_draws_everything(seen, name):
    found, logged = seen(name)
    assert found["errors"] == []
    assert "CONSOLE" not in logged
    assert found["charts"] > 5
    assert found["pictures"] > 20 or name == "study"
    assert {k: found[k] for k in ("alike", "undrawn", "flat", "unnamed")} == {
        "alike": 0,
        "undrawn": 0,
        "flat": 0,
        "unnamed": 0,
    }
    assert found["wide"] <= 0  # on a narrow screen too, nothing but tables scrolls sideways


def test_a_broken_page_is_noticed(seen):
    found, _ = seen("broken")
    assert found["undrawn"] == 1
    assert any("boom" in error for error in found["errors"])


def test_keys_read_the_values(seen):
    used = seen("two")[0]["used"]
    assert used["reading"] == "epoch 1"
    assert float(used["first"][0]) == pytest.approx(used["y"][0], rel=1e-3)
    assert float(used["idle"][0]) == pytest.approx(used["y"][-1], rel=1e-3)
    assert used["left"] == used["idle"]


def test_zooming_keeps_the_line_in_step_with_the_grid(seen):
    """The numbers of the grid tell where the line should be, and it is there."""
    used = seen("two")[0]["used"]
    assert used["zoomed"] != used["before"]
    assert used["after"] == [pytest.approx(point, abs=1e-3) for point in used["before"]]
    assert used["cursor"] == pytest.approx(used["zoomed"][0][0], abs=0.05)
    beside = [(float(t), y - 4) for t, x, y in used["numbers"] if x < 50]
    below = [(float(t), x) for t, x, y in used["numbers"] if x >= 50]
    for axis, ticks, values in ((0, below, used["x"]), (1, beside, used["y"])):
        (a, at_a), (b, at_b) = ticks[0], ticks[-1]
        expected = [at_a + (v - a) / (b - a) * (at_b - at_a) for v in values]
        assert [point[axis] for point in used["zoomed"]] == pytest.approx(expected, abs=0.6)


def test_clicking_a_name_in_the_legend_hides_its_line(seen):
    assert seen("two")[0]["used"]["hidden"] == ["false", "none"]
