"""Pages to look at: of two small runs whose names are an attack, and of the study."""

import dataclasses
import shutil

import pytest
from conftest import ROOT, TRAIN, tiny, use_few_images

from jaxcifar import train
from jaxcifar.report import findings, of_runs, of_study

HOSTILE = '"><script>boom()<'


@pytest.fixture(scope="package")
def few_images(synthetic):
    """The first few synthetic images, whose classes have hostile names."""
    names = tuple(f"<script>boom({i})</script>" for i in range(10))
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_few_images(dataclasses.replace(synthetic, class_names=names), monkeypatch)
        yield


@pytest.fixture(scope="package")
def trained(tmp_path_factory, few_images):
    """The folders of two runs, and what training them returned."""
    folder = tmp_path_factory.mktemp("runs")
    configs = {HOSTILE: tiny(num_epochs=3), "plain": tiny(num_epochs=1, seed=1)}
    results = {name: train.train(config, folder / name) for name, config in configs.items()}
    assert results[HOSTILE].state.step == 3 * (TRAIN // 16)
    return folder, results


@pytest.fixture(scope="package")
def pages(tmp_path_factory, trained):
    """The files of a page of one run, of two, and of the study; the last beside its results."""
    out = tmp_path_factory.mktemp("pages")
    folders = [trained[0] / name for name in trained[1]]
    shutil.copytree(ROOT / "results", out / "results")
    texts = {
        "one": of_runs.page(findings.read(folders[:1], "latest", None)),
        "two": of_runs.page(findings.read(folders, "latest", None)),
        "study": of_study.page(out / "results", out / "docs" / "study.html"),
    }
    (out / "docs").mkdir()
    files = {name: out / "docs" / f"{name}.html" for name in texts}
    for name, file in files.items():
        file.write_text(texts[name])
    return files
