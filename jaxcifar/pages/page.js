// Lets a pointer and keys read, zoom and hide the lines of the charts that svg.py has drawn.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const TICKS = 5; // as in svg.py
const DEEPEST = 1e-3; // of the whole span

function make(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  made.append(...children);
  return made;
}

function niceStep(low, high, whole) {
  const rough = (high - low) / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => power * m).find((s) => s >= rough * 0.999);
  return whole ? Math.max(step, 1) : step;
}

function ticks(low, high, whole) {
  const step = niceStep(low, high, whole);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n <= Math.floor(high / step + 1e-9); n++) found.push(n * step);
  return found;
}

const short = (value, digits) => String(Number(value.toPrecision(digits)));
const shown = (value) => // as in svg.py
  Math.abs(value) >= 1e-3 && Math.abs(value) < 10 ? value.toFixed(4) : short(value, 4);

class Chart {
  constructor(figure) {
    this.svg = figure.querySelector(":scope > svg");
    [this.left, this.right, this.top, this.bottom] = JSON.parse(this.svg.dataset.box);
    this.whole = JSON.parse(this.svg.dataset.spans); // [x low, x high, y low, y high]
    this.log = this.svg.dataset.log === "1";
    this.counts = this.svg.dataset.whole === "1";
    this.plot = this.svg.querySelector(".plot");
    this.grid = this.svg.querySelector(".ticks");
    this.buttons = [...figure.querySelectorAll(".legend button")];
    this.lines = [...this.plot.querySelectorAll("path[data-y]")].map((path, i) => ({
      path,
      band: path.previousElementSibling?.matches(".band, .whisker") ? path.previousElementSibling : null,
      x: JSON.parse(path.dataset.x),
      y: JSON.parse(path.dataset.y),
      button: this.buttons[i],
      last: this.buttons[i].querySelector("output").textContent,
      shown: true,
    }));
    this.reading = figure.querySelector(".reading");
    this.idle = this.reading.textContent;
    this.cursor = make("path", { class: "cursor" });
    this.selection = make("rect", { class: "selection hidden", y: this.top, height: this.bottom - this.top });
    this.svg.append(this.cursor, this.selection);
    this.at = null;
    this.span = [...this.whole];
    this.listen(figure);
  }

  listen(figure) {
    const zoom = document.createElement("div");
    zoom.className = "zoom";
    for (const [text, name, act] of [
      ["+", "zoom in", () => this.zoom(0.5)],
      ["−", "zoom out", () => this.zoom(2)],
      ["all", "show all", () => this.show(this.whole)],
    ]) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: text, onclick: act, ariaLabel: name });
      zoom.append(button);
    }
    figure.prepend(zoom);
    for (const line of this.lines) line.button.onclick = () => this.toggle(line);
    this.svg.setAttribute("tabindex", "0");
    this.svg.setAttribute("role", "application"); // so that screen readers pass keys on
    this.svg.onkeydown = (event) => this.key(event);
    this.svg.onpointerdown = (event) => this.press(event);
    this.svg.onpointermove = (event) => this.move(event);
    this.svg.onpointerup = (event) => this.release(event);
    this.svg.onpointercancel = () => this.drag(null);
    this.svg.onpointerleave = () => this.from === undefined && this.read(null);
    this.svg.ondblclick = () => this.show(this.whole);
  }

  place(x) {
    return this.left + ((x - this.span[0]) / (this.span[1] - this.span[0])) * (this.right - this.left);
  }

  value(event) { // the x at a pointer
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    const share = (point.x - this.left) / (this.right - this.left);
    return this.span[0] + Math.min(Math.max(share, 0), 1) * (this.span[1] - this.span[0]);
  }

  stops() { // every x of the visible lines, within the visible range
    const all = this.lines.filter((line) => line.shown).flatMap((line) => line.x);
    const inside = all.filter((x) => x >= this.span[0] && x <= this.span[1]);
    return [...new Set(inside)].sort((a, b) => a - b);
  }

  read(x) { // shows the values at the stop nearest to x, or the last ones without x
    const stops = x === null ? [] : this.stops();
    this.at = stops.length ? stops.reduce((a, b) => (Math.abs(b - x) < Math.abs(a - x) ? b : a)) : null;
    this.reading.textContent = this.at === null ? this.idle : `${this.reading.dataset.of} ${short(this.at, 6)}`;
    for (const line of this.lines) {
      const y = line.y[line.x.indexOf(this.at)];
      const text = this.at === null ? line.last : y === undefined || y === null ? "–" : shown(y);
      line.button.querySelector("output").textContent = text;
    }
    const place = this.at === null ? 0 : this.place(this.at);
    this.cursor.setAttribute("d", this.at === null ? "" : `M${place} ${this.top}V${this.bottom}`);
  }

  zoom(factor) { // about the cursor, or the middle
    const [low, high] = this.span;
    const middle = this.at ?? (low + high) / 2;
    this.show([middle - (middle - low) * factor, middle + (high - middle) * factor]);
  }

  show([low, high]) { // shows x from low to high, and the y range of the lines there
    const [first, last] = this.whole;
    const width = Math.min(Math.max(high - low, DEEPEST * (last - first)), last - first);
    low = Math.min(Math.max(low, first), last - width);
    const all = width > (last - first) * 0.999;
    this.span = [low, low + width, ...(all ? this.whole.slice(2) : this.fit(low, low + width))];
    const [x0, x1, y0, y1] = this.whole;
    const [a, b, c, d] = this.span;
    const sx = (x1 - x0) / (b - a);
    const sy = (y1 - y0) / (d - c);
    const dx = ((x0 - a) / (b - a)) * (this.right - this.left);
    const dy = -((y0 - c) / (d - c)) * (this.bottom - this.top);
    this.plot.setAttribute("transform", `translate(${dx} ${this.bottom - this.top + dy}) scale(${sx} ${sy}) translate(${-this.left} ${-this.bottom})`);
    this.draw();
    this.read(this.at);
  }

  fit(low, high) {
    const up = this.log ? Math.log10 : (y) => y;
    const inside = this.lines.filter((line) => line.shown).flatMap((line) =>
      line.y.filter((y, i) => y !== null && (!this.log || y > 0) && line.x[i] >= low && line.x[i] <= high).map(up));
    const [least, most] = [Math.min(...inside), Math.max(...inside)];
    if (!(most > least)) return this.whole.slice(2);
    const margin = 0.06 * (most - least);
    return [Math.max(least - margin, this.whole[2]), Math.min(most + margin, this.whole[3])];
  }

  draw() { // the grid, as svg.py draws it
    const [a, b, c, d] = this.span;
    const across = ticks(a, b, this.counts).flatMap((value) => [
      make("path", { d: `M${this.place(value)} ${this.top}V${this.bottom}` }),
      make("text", { x: this.place(value), y: this.bottom + 15 }, short(value, 6)),
    ]);
    const up = ticks(c, d, this.log).flatMap((value) => {
      const y = this.bottom - ((value - c) / (d - c)) * (this.bottom - this.top);
      const text = make("text", { x: this.left - 5, y: y + 4, class: "y" });
      text.append(this.log ? `1e${value}` : short(value, 6));
      return [make("path", { d: `M${this.left} ${y}H${this.right}` }), text];
    });
    this.grid.replaceChildren(...across, ...up);
  }

  toggle(line) {
    line.shown = !line.shown;
    line.button.setAttribute("aria-pressed", line.shown);
    for (const part of [line.path, line.band]) part?.classList.toggle("hidden", !line.shown);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const stops = this.stops();
    const i = stops.indexOf(this.at);
    const width = this.span[1] - this.span[0];
    const act = {
      ArrowRight: () => (event.shiftKey ? this.pan(width / 4) : this.read(stops[Math.min(i + 1, stops.length - 1)] ?? null)),
      ArrowLeft: () => (event.shiftKey ? this.pan(-width / 4) : this.read(stops[i < 0 ? stops.length - 1 : Math.max(i - 1, 0)] ?? null)),
      Home: () => this.read(stops[0] ?? null),
      End: () => this.read(stops[stops.length - 1] ?? null),
      "+": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      0: () => this.show(this.whole),
      Escape: () => this.read(null),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  pan(by) {
    this.show([this.span[0] + by, this.span[1] + by]);
  }

  press(event) {
    if (event.button) return;
    this.svg.setPointerCapture(event.pointerId);
    this.from = this.value(event);
    this.read(this.from);
  }

  move(event) {
    const x = this.value(event);
    this.read(x);
    if (this.from !== undefined) this.drag(x);
  }

  drag(x) { // shades the selection
    const wide = x !== null && Math.abs(this.place(x) - this.place(this.from)) > 8;
    this.selection.classList.toggle("hidden", !wide);
    if (wide) {
      const [low, high] = [this.place(this.from), this.place(x)].sort((a, b) => a - b);
      this.selection.setAttribute("x", low);
      this.selection.setAttribute("width", high - low);
    }
    if (x === null) this.from = undefined;
    return wide;
  }

  release(event) {
    if (this.from === undefined) return;
    const [from, to] = [this.from, this.value(event)];
    const wide = this.drag(to);
    this.drag(null);
    if (wide) this.show([from, to].sort((a, b) => a - b));
  }
}

for (const figure of document.querySelectorAll("figure.chart")) new Chart(figure);

function markWide() { // says which boxes scroll sideways
  for (const box of document.querySelectorAll(".scroll"))
    box.classList.toggle("wide", box.scrollWidth > box.clientWidth + 1);
}
markWide();
addEventListener("resize", markWide);
document.addEventListener("toggle", markWide, true); // a table that was folded
