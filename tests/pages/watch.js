// Records for test_pages.py what a page does in a browser: errors, undrawn images, keys.
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
  const points = [...line.getAttribute("d").matchAll(/[ML]([-\d.]+) ([-\d.]+)/g)].map((p) => [+p[1], +p[2]]);
  const shown = () => { // where the chart shows the points of the first line
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
  used.cursor = +figure.querySelector(".cursor").getAttribute("d").match(/M([-\d.]+)/)[1];
  key("0");
  used.after = shown();
  key("Escape");
  used.left = values();
  const button = figure.querySelector(".legend button");
  button.click();
  used.hidden = [button.ariaPressed, getComputedStyle(line).display];
  return used;
}
