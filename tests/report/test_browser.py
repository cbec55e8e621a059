"""The pages in a browser: nothing is logged, all is drawn, and keys do what they say."""

import html
import json
import pathlib
import re
import shutil
import subprocess

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(not BROWSER, reason=f"needs one of {', '.join(BROWSERS)}")

# Stands before all else on the page, and leaves what it sees in an attribute of its body.
WATCH = f"<script>{pathlib.Path(__file__).with_name('watch.js').read_text()}</script>"


@pytest.fixture(scope="module")
def seen(pages, tmp_path_factory):
    """look(name) -> what a page's watch has seen, and what the browser logged."""
    known = {}

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
def test_nothing_is_logged_and_everything_is_drawn(seen, name):
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


def test_keys_read_the_values(seen):
    used = seen("two")[0]["used"]
    assert used["reading"] == "epoch 1"
    assert float(used["first"][0]) == pytest.approx(used["y"][0], rel=1e-3)
    assert float(used["idle"][0]) == pytest.approx(used["y"][-1], rel=1e-3)
    assert used["left"] == used["idle"]


def test_zooming_keeps_the_line_at_its_numbers(seen):
    """By the numbers of the grid where the line should be, and there it is."""
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


def test_a_line_is_hidden_by_its_name(seen):
    assert seen("two")[0]["used"]["hidden"] == ["false", "none"]
