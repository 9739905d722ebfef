// The points of sweeps: charts, table, one chosen subnet.
const main = document.querySelector("main");

const AXES = {
  energy_mJ: "energy per inference, mJ", latency_ms: "latency, ms", macs: "multiply-accumulates, millions", params: "parameters, millions",
};
const UNIT = { energy_mJ: 1, latency_ms: 1, macs: 1e6, params: 1e6 };
const targets = Object.keys(data.targets).sort();
const methods = [...new Set(data.points.map((point) => point.method))];
const SHAPES = ["●", "■", "▲", "◆"];
const colour = (target) => COLOURS[targets.indexOf(target) % COLOURS.length];
const found = data.points.filter((point) => point.status === "found");
const several = data.sweeps.length > 1;
const state = {
  axis: Object.keys(AXES).find((axis) => found.some((point) => point[axis] !== null)) || "macs",
  targets: new Set(targets), methods: new Set(methods), words: "", sort: ["point", 1],
  chosen: found.reduce((best, point) => (best === null || point.top1 > best.top1 ? point : best), null),
};

function shown() {
  const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
  return data.points.filter((point) => {
    const text = [point.target, point.bundle, point.predictor, point.budget, point.method, point.status, data.sweeps[point.sweep]].join(" ").toLowerCase();
    return state.targets.has(point.target) && state.methods.has(point.method) && words.every((word) => text.includes(word));
  });
}

// Points of one target, bundle, predictor, budget and method over all seeds are one mark.
function marks() {
  const groups = new Map();
  for (const point of shown()) {
    if (point.status !== "found" || point[state.axis] === null) continue;
    const key = [point.sweep, point.target, point.bundle, point.predictor, point.budget, point.method].join("\n");
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(point);
  }
  return [...groups.values()].map((points) => {
    const scores = points.map((point) => point.top1);
    const best = points[scores.indexOf(Math.max(...scores))];
    // The error of the prediction; where that is not known, what its models differ by.
    const between = best.top1_std || best.top1_spread || 0;
    return {
      points, best, x: mean(points.map((point) => point[state.axis])) / UNIT[state.axis], y: mean(scores),
      low: Math.min(...scores) - between, high: Math.max(...scores) + between,
      std: best[state.axis + "_std"] || 0,
    };
  });
}

function chart() {
  const all = marks(), width = 720, height = 440, left = 64, right = 16, top = 14, bottom = 46;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `predicted top-1 over ${AXES[state.axis]}`, id: "chart" });
  if (!all.length) {
    svg.append(make("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing to show: no chosen point has this cost"));
    return svg;
  }
  const xs = all.map((mark) => mark.x), pad = (low, high, part) => [low - part * (high - low || 1), high + part * (high - low || 1)];
  let [x0, x1] = pad(Math.min(...xs), Math.max(...xs), 0.05);
  x0 = Math.max(0, x0);
  const [y0, y1] = pad(Math.min(...all.map((mark) => mark.low)), Math.max(...all.map((mark) => mark.high)), 0.06);
  const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right), py = (y) => height - bottom - ((y - y0) / (y1 - y0)) * (height - top - bottom);
  for (const y of ticks(100 * y0, 100 * y1, 6)) {
    svg.append(make("line", { class: "grid", x1: left, x2: width - right, y1: py(y / 100), y2: py(y / 100) }));
    svg.append(make("text", { class: "faint", x: left - 8, y: py(y / 100) + 4, "text-anchor": "end" }, number(y, 4)));
  }
  for (const x of ticks(x0, x1, 8)) {
    svg.append(make("line", { class: "grid", x1: px(x), x2: px(x), y1: top, y2: height - bottom }));
    svg.append(make("text", { class: "faint", x: px(x), y: height - bottom + 18, "text-anchor": "middle" }, number(x)));
  }
  svg.append(make("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, AXES[state.axis]));
  svg.append(make("text", { transform: `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, "top-1 predicted, %"));
  const lines = new Map();
  for (const mark of all) {
    const key = [mark.best.sweep, mark.best.target, mark.best.bundle, mark.best.method].join("\n");
    if (!lines.has(key)) lines.set(key, []);
    lines.get(key).push(mark);
  }
  for (const line of lines.values()) {
    line.sort((a, b) => a.x - b.x);
    const { target, method, sweep } = line[0].best, dashes = [null, "6 4", "2 4", "9 3 2 3"];
    const path = line.map((mark, at) => `${at ? "L" : "M"}${px(mark.x).toFixed(1)} ${py(mark.y).toFixed(1)}`).join("");
    svg.append(make("path", { class: "front", d: path, stroke: colour(target), "stroke-dasharray": dashes[(methods.indexOf(method) + 2 * sweep) % dashes.length], opacity: methods.indexOf(method) ? 0.75 : 1 }));
  }
  for (const mark of all) {
    const stroke = colour(mark.best.target), x = px(mark.x), y = py(mark.y);
    svg.append(make("line", { class: "error", stroke, x1: x, x2: x, y1: py(mark.low), y2: py(mark.high) }));
    const chosen = mark.points.includes(state.chosen);
    const attributes = {
      class: "mark" + (chosen ? " chosen" : ""), stroke, fill: mark.best.sweep ? "var(--paper)" : stroke, "data-point": mark.best.point, tabindex: 0, role: "button",
      "aria-label": describe(mark.best), onclick: () => choose(mark.best), onmousemove: (event) => tip(event, mark), onmouseleave: () => tip(null),
      onkeydown: (event) => (event.key === "Enter" ? choose(mark.best) : null),
    };
    const shape = methods.indexOf(mark.best.method) % SHAPES.length;
    if (shape === 0) svg.append(make("circle", { ...attributes, cx: x, cy: y, r: 5 }));
    else if (shape === 1) svg.append(make("rect", { ...attributes, x: x - 4.5, y: y - 4.5, width: 9, height: 9 }));
    else svg.append(make("path", { ...attributes, d: `M${x} ${y - 6}` + (shape === 2 ? "l6 10h-12z" : "l6 6l-6 6l-6-6z") }));
  }
  return svg;
}

// What all points have in common need not be said of each.
const varies = (key) => new Set(data.points.map((point) => point[key] ?? null)).size > 1;
const measured = (point) => `${percent(point.measured_top1)} ± ${(100 * point.measured_top1_std).toFixed(2)}`;
const describe = (point) => [point.target, varies("bundle") && point.bundle, varies("predictor") && `predictor ${point.predictor || "default"}`, point.budget, `${point.method}: ${percent(point.top1)}`].filter(Boolean).join(", ");

function tip(event, mark) {
  document.getElementById("tip")?.remove();
  if (!event) return;
  const { best, points, std } = mark;
  const lines = [describe(best), several ? data.sweeps[best.sweep] : null, `${number(mark.x)} ${AXES[state.axis].split(", ")[1]}${std ? " ± " + number(std, 2) : ""}`, `${points.length} seeds from ${percent(Math.min(...points.map((point) => point.top1)))} to ${percent(Math.max(...points.map((point) => point.top1)))}`];
  const box = make("div", { id: "tip", style: `left:${Math.min(event.clientX + 14, innerWidth - 350)}px;top:${event.clientY + 14}px` });
  lines.filter(Boolean).forEach((line) => box.append(make("div", {}, line)));
  document.body.append(box);
}

function choose(point) {
  state.chosen = point;
  draw();
}

// Where the cost goes, operator by operator.
function bars(subnet) {
  const key = { energy_mJ: "energy_mj", latency_ms: "latency_ms" }[state.axis];
  const values = (key && subnet.costs[key]) || subnet.costs.energy_mj || subnet.costs.latency_ms || subnet.macs.map((macs) => macs / 1e6);
  const unit = values === subnet.costs.energy_mj ? "mJ" : values === subnet.costs.latency_ms ? "ms" : "M MACs";
  const rows = subnet.operators.map((name, at) => [name, values[at]]), most = Math.max(...rows.map((row) => row[1]), 1e-12), high = 15;
  const svg = make("svg", { viewBox: `0 0 360 ${rows.length * high + 4}`, role: "img", "aria-label": `where the ${unit} go`, id: "bars" });
  rows.forEach(([name, value], at) => {
    const y = at * high + 11;
    svg.append(make("text", { class: "faint", x: 70, y, "text-anchor": "end" }, name));
    svg.append(make("rect", { x: 76, y: y - 9, width: Math.max(1, (200 * value) / most), height: 10, rx: 2, fill: "var(--accent)" }));
    svg.append(make("text", { x: 84 + (200 * value) / most, y }, `${number(value, 2)} ${unit}`));
  });
  return svg;
}

function panel() {
  const point = state.chosen;
  if (!point) return make("div", { class: "panel" }, make("p", { class: "facts" }, "Choose a point in the chart or a row of the table to see its subnet."));
  const subnet = data.subnets[point.subnet], list = make("dl");
  const facts = [["target", point.target], ["bundle", point.bundle], point.predictor ? ["predictor", point.predictor] : null, ["budget", point.budget], ["method", `${point.method}, seed ${point.seed}`]];
  if (several) facts.unshift(["sweep", data.sweeps[point.sweep]]);
  if (subnet) {
    const error = point.top1_std ? ` ± ${(100 * point.top1_std).toFixed(2)}` : "";
    const spread = !error && point.top1_spread ? ` ± ${(100 * point.top1_spread).toFixed(2)} (between models)` : "";
    const cost = (key, unit) => (point[key] === null ? null : [unit[0], `${number(point[key])} ${unit[1]} ± ${number(point[key + "_std"], 2)}`]);
    facts.push(["top-1", percent(point.top1) + error + spread + ", predicted"], cost("energy_mJ", ["energy", "mJ"]), cost("latency_ms", ["latency", "ms"]));
    if (typeof point.measured_top1 === "number") facts.splice(-2, 0, ["measured", `${measured(point)} (${point.measured_part})`]);
    if (point.network) facts.push(["network", point.network]);
    facts.push(["size", `${number(point.macs / 1e6)} M MACs, ${number(point.params / 1e6)} M parameters`]);
  } else facts.push([point.status, point.message]);
  facts.filter(Boolean).forEach(([name, value]) => list.append(make("dt", {}, name), make("dd", {}, value)));
  if (!subnet) return make("div", { class: "panel" }, list);
  const copy = make("button", { type: "button", id: "copy", onclick: () => copied(JSON.stringify(subnet.json)) }, "copy subnet.json");
  return make("div", { class: "panel" }, list, drawing(subnet), copy, make("h2", {}, "Where it goes"), bars(subnet));
}

function copied(text) {
  const done = () => (document.getElementById("copy").textContent = "copied");
  const byHand = () => {
    const area = make("textarea", {}, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    done();
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, byHand);
  else byHand();
}

// One point of a front of hundreds: the knee, and the cheapest that is hardly worse than the best.
function picks() {
  const row = make("div", { class: "controls", id: "picks" });
  for (const target of targets.filter((target) => state.targets.has(target))) {
    const all = shown().filter((point) => point.target === target && point.status === "found" && point[state.axis] !== null && point.method === methods[0]);
    if (all.length < 3) continue;
    const front = all.filter((a) => !all.some((b) => b[state.axis] <= a[state.axis] && b.top1 >= a.top1 && (b[state.axis] < a[state.axis] || b.top1 > a.top1))).sort((a, b) => a[state.axis] - b[state.axis]);
    const [first, last] = [front[0], front[front.length - 1]];
    const along = (point) => (point[state.axis] - first[state.axis]) / (last[state.axis] - first[state.axis] || 1);
    const up = (point) => (point.top1 - first.top1) / (last.top1 - first.top1 || 1);
    const knee = front.reduce((best, point) => (up(point) - along(point) > up(best) - along(best) ? point : best), first);
    const near = front.find((point) => point.top1 >= last.top1 - 0.005);
    const dot = make("span", { class: "swatch", style: `background:${colour(target)}` });
    row.append(make("span", {}, dot, " ", target), make("button", { type: "button", onclick: () => choose(knee) }, "knee"), make("button", { type: "button", onclick: () => choose(near) }, "cheapest within 0.5 points"));
  }
  return row;
}

const COLUMNS = [
  ["point", "#", (p) => p.point, (p) => String(p.point)], ["target", "target", (p) => p.target], ["budget", "budget", (p) => p.budget], ["method", "method", (p) => p.method],
  ["seed", "seed", (p) => p.seed, (p) => String(p.seed)], ["top1", "top-1", (p) => p.top1, (p) => (p.top1 === null ? p.status : percent(p.top1))],
  ["energy_mJ", "mJ", (p) => p.energy_mJ, (p) => number(p.energy_mJ)], ["latency_ms", "ms", (p) => p.latency_ms, (p) => number(p.latency_ms)],
  ["macs", "M MACs", (p) => p.macs, (p) => number(p.macs === null ? null : p.macs / 1e6)], ["params", "M parameters", (p) => p.params, (p) => number(p.params === null ? null : p.params / 1e6)],
  ["resolution", "px", (p) => p.resolution, (p) => number(p.resolution)],
];
for (const key of ["predictor", "bundle"]) if (varies(key)) COLUMNS.splice(2, 0, [key, key, (p) => p[key] || "default"]);
if (varies("measured_top1")) COLUMNS.splice(COLUMNS.findIndex(([key]) => key === "top1") + 1, 0, ["measured_top1", "measured", (p) => p.measured_top1 ?? null, (p) => (typeof p.measured_top1 === "number" ? measured(p) : "–")]);
if (several) COLUMNS.splice(1, 0, ["sweep", "sweep", (p) => data.sweeps[p.sweep]]);

function rows() {
  const [key, direction] = state.sort, value = COLUMNS.find((column) => column[0] === key)[2];
  const order = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return direction * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
  };
  const body = make("tbody");
  for (const point of shown().sort(order)) {
    const row = make("tr", { class: point === state.chosen ? "chosen" : null, onclick: () => choose(point) });
    COLUMNS.forEach(([, , value, words]) => row.append(make("td", { class: words ? "number" : null }, words ? words(point) : String(value(point)))));
    body.append(row);
  }
  const head = make("tr");
  for (const [name, title, , words] of COLUMNS) {
    const arrow = name === key ? (direction > 0 ? " ▲" : " ▼") : "";
    const sort = () => {
      state.sort = [name, name === key ? -direction : 1];
      draw();
    };
    head.append(make("th", { class: words ? "number" : null, "aria-sort": name === key ? (direction > 0 ? "ascending" : "descending") : null }, make("button", { type: "button", "data-sort": name, onclick: sort }, title + arrow)));
  }
  return make("div", { class: "scroll" }, make("table", { id: "points" }, make("thead", {}, head), body));
}

function sources() {
  const body = make("tbody");
  for (const target of targets) {
    const { device, source, licence, answers } = data.targets[target];
    const grades = Object.entries(answers).map(([name, answer]) => `${name}: ${answer.words}, grade ${answer.grade}, ${answer.scope.replace("_", " ")}`).join("; ");
    body.append(make("tr", {}, make("td", {}, target), make("td", {}, device || "–"), make("td", { class: "wide" }, grades), make("td", { class: "wide" }, source || "–"), make("td", {}, licence || "–")));
  }
  const head = make("tr", {}, ...["target", "device", "costs", "source", "licence"].map((name) => make("th", {}, name)));
  return make("div", { class: "scroll" }, make("table", { id: "sources" }, make("thead", {}, head), body));
}

function controls() {
  const row = make("div", { class: "controls" });
  const axis = make("select", { id: "axis", onchange: (event) => { state.axis = event.target.value; draw(); } });
  for (const [name, words] of Object.entries(AXES)) {
    if (found.some((point) => point[name] !== null)) axis.append(make("option", { value: name, selected: name === state.axis ? "" : null }, words));
  }
  row.append(make("label", {}, "cost ", axis));
  const box = (set, name, mark) => make("label", {}, make("input", { type: "checkbox", checked: set.has(name) ? "" : null, "data-name": name, onchange: () => { set.has(name) ? set.delete(name) : set.add(name); draw(); } }), mark, name);
  targets.forEach((target) => row.append(box(state.targets, target, make("span", { class: "swatch", style: `background:${colour(target)}` }))));
  if (methods.length > 1) methods.forEach((method, at) => row.append(box(state.methods, method, SHAPES[at % SHAPES.length] + " ")));
  return row;
}

function draw() {
  const search = document.activeElement?.id === "words", at = search ? document.activeElement.selectionStart : 0;
  const nothing = data.points.filter((point) => point.status === "infeasible").length, failed = data.points.filter((point) => point.status === "failed").length;
  const facts = `${data.points.length} points on ${targets.length} targets; nothing fits ${nothing}` + (failed ? `; ${failed} failed` : "") + `. Accuracies are predicted; bars show the range over seeds and between models. ofa ${data.version}.`;
  const words = make("input", { id: "words", type: "search", placeholder: "filter: pixel3 40%", value: state.words, oninput: (event) => { state.words = event.target.value; draw(); } });
  main.replaceChildren(
    make("p", { class: "facts" }, facts), controls(), picks(),
    make("div", { class: "columns" }, make("div", {}, chart(), make("button", { type: "button", id: "svg", onclick: () => saved(document.getElementById("chart"), "front.svg") }, "save as SVG")), panel()),
    make("h2", {}, "Points"), make("div", { class: "controls" }, words), rows(),
    make("h2", {}, "Where the numbers come from"), sources(),
  );
  if (search) {
    const again = document.getElementById("words");
    again.focus();
    again.setSelectionRange(at, at);
  }
}

draw();
