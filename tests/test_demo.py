"""What `make demo` predicts, in a clone with no data."""

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
def test_a_picture_is_what_its_script_draws(name):
    with Image.open(DEMO / f"{name}.png") as image:
        kept = np.asarray(image.convert("RGB"), int)
    difference = np.abs(kept - np.asarray(DRAWING["drawn"](name), int))
    assert difference.mean() < 1  # of 255: 64 colours are kept; Pillow's versions may differ a bit


def test_as_many_drawings_are_named_rightly_as_the_readme_says(run, monkeypatch, nothing_outside):
    monkeypatch.chdir(ROOT)
    makefile = (ROOT / "Makefile").read_text()
    command = re.search(r"^demo:.*\n\t\$\(BIN\)/python -m jaxcifar\.predict (.*)$", makefile, re.M)
    status, out, err = run(predict.main, [*command[1].split(), "--csv"])
    assert (status, err) == (0, "")
    first = [row for row in csv.DictReader(io.StringIO(out)) if row["rank"] == "1"]
    assert [row["image"] for row in first] == [f"docs/demo/{n}.png" for n in DRAWING["PICTURES"]]
    right = [row["image"] for row in first if f"/{row['class']}.png" in row["image"]]
    numbers = "zero one two three four five six seven eight nine ten".split()  # noqa: SIM905
    assert f"of ten drawings: {numbers[len(right)]} are named rightly" in (
        (ROOT / "README.md").read_text()
    )
