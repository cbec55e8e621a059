"""`make demo` works in a clone without data, and predicts what the README says."""

import csv
import io
import re
import runpy

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from jaxcifar import predict

DEMO = ROOT / "docs" / "demo"
DRAWING = runpy.run_path(str(DEMO / "draw.py"))


@pytest.mark.parametrize("name", DRAWING["PICTURES"])
def test_each_drawing_matches_its_script(name):
    with Image.open(DEMO / f"{name}.png") as image:
        kept = np.asarray(image.convert("RGB"), int)
    difference = np.abs(kept - np.asarray(DRAWING["drawn"](name), int))
    assert difference.mean() < 1  # of 255; the file has 64 colours, and Pillow versions differ


def test_the_readme_gives_the_number_of_correct_drawings(run, monkeypatch, nothing_outside):
    monkeypatch.chdir(ROOT)
    makefile = (ROOT / "Makefile").read_text()
    command = re.search(r"^demo:.*\n\t\$\(BIN\)/python -m jaxcifar\.predict (.*)$", makefile, re.M)
    status, out, err = run(predict.main, [*command[1].split(), "--csv"])
    assert (status, err) == (0, "")
    first = [row for row in csv.DictReader(io.StringIO(out)) if row["rank"] == "1"]
    assert [row["image"] for row in first] == [f"docs/demo/{n}.png" for n in DRAWING["PICTURES"]]
    right = [row["image"] for row in first if f"/{row['class']}.png" in row["image"]]
    numbers = "zero one two three four five six seven eight nine ten".split()  # noqa: SIM905
    readme = (ROOT / "README.md").read_text()
    assert f"ten drawings with released weights ({numbers[len(right)]} correct)" in readme
