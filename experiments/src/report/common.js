"use strict";
const data = JSON.parse(document.getElementById("data").textContent);

// Colours that people with any colour vision tell apart, on light and on dark (Okabe and Ito).
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#8f6bd1", "#7a7a7a"];

// Elements, with text that is only ever text.
function make(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "line", "path", "circle", "rect", "text", "title", "style"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}
const number = (value, digits = 3) => (value === null || value === undefined ? "–" : Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits }));
const percent = (value, digits = 2) => (value === null || value === undefined ? "–" : (100 * value).toFixed(digits) + " %");
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

function ticks(low, high, count) {
  const span = high - low || 1, raw = span / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= raw);
  const all = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) all.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return all;
}

// Blocks as boxes: height is the expand ratio, the number inside the kernel; stages stand apart.
function drawing(subnet) {
  const stages = subnet.json.stages, unit = 22, gap = 10, tall = 62;
  const blocks = stages.reduce((sum, stage) => sum + stage.length, 0), width = blocks * unit + stages.length * gap + 70;
  const most = Math.max(...stages.flat().map((block) => block.expand));
  const svg = make("svg", { viewBox: `0 0 ${width} ${tall + 34}`, role: "img", "aria-label": "the subnet, block by block", class: "drawing", style: `max-width:${1.3 * width}px` });
  let x = 0;
  stages.forEach((stage, at) => {
    svg.append(make("text", { class: "faint", x, y: tall + 28 }, String(at + 1)));
    for (const block of stage) {
      const high = 12 + ((tall - 12) * block.expand) / most;
      const shade = { 3: 0.35, 5: 0.65, 7: 0.95 }[block.kernel] || 0.5;
      svg.append(make("rect", { x, y: tall - high + 4, width: unit - 3, height: high, rx: 3, fill: "var(--accent)", "fill-opacity": shade, stroke: "var(--line)" }));
      svg.append(make("text", { x: x + (unit - 3) / 2, y: tall, "text-anchor": "middle" }, String(block.kernel)));
      x += unit;
    }
    x += gap;
  });
  svg.append(make("text", { class: "faint", x, y: tall }, `${subnet.json.resolution} px`));
  return svg;
}

// A chart as a file of its own, in the colours that are shown.
function fileOf(chart) {
  const copy = chart.cloneNode(true);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const styles = getComputedStyle(document.documentElement);
  const rules = ["--paper", "--ink", "--faint", "--line", "--accent"].map((name) => `${name}:${styles.getPropertyValue(name)}`).join(";");
  copy.prepend(make("style", {}, `svg{${rules};font-family:sans-serif;background:var(--paper)}text{fill:var(--ink);font-size:12px}.faint{fill:var(--faint)}.grid{stroke:var(--line)}.front{fill:none;stroke-width:1.6}.error{opacity:.55}`));
  return new XMLSerializer().serializeToString(copy);
}

function saved(chart, name) {
  make("a", { href: "data:image/svg+xml," + encodeURIComponent(fileOf(chart)), download: name }).click();
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
