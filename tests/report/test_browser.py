"""The pages in a browser: nothing is logged, all is drawn, and keys do what they say."""

import html
import json
import re
import shutil
import subprocess

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(not BROWSER, reason=f"needs one of {', '.join(BROWSERS)}")

# Stands before all else on the page, and leaves what it sees in an attribute of its body.
WATCH = """<script>
const seen = { errors: [] };
const note = (text) => seen.errors.push(String(text));
addEventListener("error", (event) => note(event.message ?? event.target.outerHTML), true);
addEventListener("securitypolicyviolation", (event) => note(event.violatedDirective));
console.error = console.warn = (...words) => note(words.join(" "));
addEventListener("load", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const pictures = [...document.images];
  const charts = [...document.querySelectorAll("figure.chart")];
  seen.pictures = pictures.length;
  seen.charts = charts.length;
  seen.alike = pictures.filter((p) => !p.alt).length;
  seen.undrawn = pictures.filter((p) => !(p.complete && p.naturalWidth && p.width)).length;
  seen.flat = charts.filter((c) => !(c.querySelector(":scope > svg").getBoundingClientRect().height > 50
    && c.querySelector(".ticks text") && c.querySelector(".series").getTotalLength() > 0)).length;
  seen.unnamed = charts.filter((c) => !c.querySelector(":scope > svg").ariaLabel).length;
  seen.wide = document.documentElement.scrollWidth - innerWidth;
  if (charts.length) seen.used = use(charts[0]);
  document.body.dataset.seen = JSON.stringify(seen);
});

function use(figure) {
  const svg = figure.querySelector(":scope > svg");
  const key = (name) => svg.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
  const values = () => [...figure.querySelectorAll(".legend output")].map((o) => o.textContent);
  const numbers = () => [...figure.querySelectorAll(".ticks text")].map((t) => [t.textContent, +t.getAttribute("x"), +t.getAttribute("y")]);
  const line = figure.querySelector("path[data-y]");
  const points = [...line.getAttribute("d").matchAll(/[ML]([-\\d.]+) ([-\\d.]+)/g)].map((p) => [+p[1], +p[2]]);
  const shown = () => { // where the picture has the points of the first line
    const matrix = line.parentNode.transform.baseVal.consolidate().matrix;
    const clip = line.closest("svg");
    return points.map(([x, y]) => [+clip.getAttribute("x") + matrix.a * x + matrix.e, +clip.getAttribute("y") + matrix.d * y + matrix.f]);
  };
  const used = { x: JSON.parse(line.dataset.x), y: JSON.parse(line.dataset.y), idle: values(), before: shown() };
  key("Home");
  used.reading = figure.querySelector(".reading").textContent;
  used.first = values();
  key("+");
  used.zoomed = shown();
  used.numbers = numbers();
  used.cursor = +figure.querySelector(".cursor").getAttribute("d").match(/M([-\\d.]+)/)[1];
  key("0");
  used.after = shown();
  key("Escape");
  used.left = values();
  const button = figure.querySelector(".legend button");
  button.click();
  used.hidden = [button.ariaPressed, getComputedStyle(line).display];
  return used;
}
</script>"""


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
