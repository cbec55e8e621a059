"""The commands of docs/tutorial.md, run in order, print what it shows, within 0.15."""

import importlib
import json
import math
import re
import runpy
import shlex

import jax
import pytest
from conftest import ROOT

from jaxcifar import data

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
NOTEBOOK = runpy.run_path(str(ROOT / "docs" / "notebook.py"))["notebook"](TUTORIAL)
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?")
IGNORED = re.compile(r"  \d[\d.]* s$|█")  # seconds and bars


def near(shown, printed, line):
    """Whether a printed number agrees with the shown one; integers are equal, except counts."""
    a, b = (float(text.replace(",", "")) for text in (shown, printed))
    if "e-" in shown + printed:
        return math.log(a) / 2 > math.log(b) > math.log(a) * 2
    if "." not in shown:
        return abs(a - b) <= ("alone" in line) * 0.15 * 2000
    return abs(a - b) <= (25 if f"{shown}%" in line else 0.15)


def missing(shown, printed):
    """Yields the lines of `shown` that `printed` lacks; the order of the lines matters."""
    rest = iter([" ".join(IGNORED.sub("", line).split()) for line in printed.splitlines()])
    for line in shown.splitlines():
        wanted = " ".join(IGNORED.sub("", line).split())
        if wanted == "…":
            continue
        for found in rest:
            if NUMBER.sub("#", found) == NUMBER.sub("#", wanted):
                pairs = zip(NUMBER.findall(wanted), NUMBER.findall(found), strict=True)
                if all(near(*pair, wanted) for pair in pairs):
                    break
        else:
            yield line


def test_the_notebook_matches_the_tutorial():
    assert json.loads((ROOT / "docs" / "tutorial.ipynb").read_text()) == NOTEBOOK


@pytest.mark.parametrize(
    ("shown", "printed"),
    [("acc 0.51", "acc 0.67"), ("2 of 9", "3 of 9"), ("p = 1e-9", "p = 0.3"), ("a\nb", "b\na")],
)
def test_missing_lines_are_found(shown, printed):
    assert not list(missing(shown, shown))
    assert list(missing(shown, printed)) == [shown.splitlines()[-1]]


@pytest.fixture
def optimised():
    """Turns XLA's optimisations on, as for users: here training takes longer than compiling."""
    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, False)
    yield
    jax.config.update(name, before)


@pytest.mark.usefixtures("optimised")
def test_the_commands_print_what_the_tutorial_shows(run, monkeypatch, tmp_path, synthetic):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(data.SOURCES, "synthetic", lambda dir: synthetic)  # drawn once
    compared = 0
    for cell in NOTEBOOK["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown" or source.startswith("%"):
            continue
        if not source.startswith("!"):
            exec(source, {})
            continue
        python, _, name, *words = shlex.split(source[1:])
        assert python == ".venv/bin/python"
        module = importlib.import_module(name)
        main = getattr(module, "main", None) or importlib.import_module(f"{name}.__main__").main
        status, out, err = run(main, words)
        assert (status, err) == (0, ""), source
        for output in cell["outputs"]:
            assert list(missing("".join(output["text"]), out)) == [], out
            compared += 1
    assert compared == TUTORIAL.count("```text\n") > 3
