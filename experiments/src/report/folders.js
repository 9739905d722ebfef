// Folders that are no sweeps: how a training went, what a predictor is worth, the steps of a refinement, what a search found.

// Series of points over an axis: { name, points: [[x, y, words, error]], line }. Values that are fractions of images are
// shown in percent.
function plot(title, xName, yName, series, { scale = 1, diagonal = false } = {}) {
  const width = 560, height = 330, left = 58, right = 14, top = 12, bottom = 44;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title, class: "plot" });
  const all = series.flatMap((one) => one.points);
  const within = (values) => {
    const low = Math.min(...values), high = Math.max(...values), room = 0.05 * (high - low || Math.abs(high) || 1);
    return [low - room, high + room];
  };
  let [x0, x1] = within(all.map((point) => point[0])), [y0, y1] = within(all.map((point) => scale * point[1]));
  if (diagonal) [x0, x1, y0, y1] = [Math.min(x0, y0), Math.max(x1, y1), Math.min(x0, y0), Math.max(x1, y1)];
  const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right), py = (y) => height - bottom - ((scale * y - y0) / (y1 - y0)) * (height - top - bottom);
  for (const y of ticks(y0, y1, 5)) {
    svg.append(make("line", { class: "grid", x1: left, x2: width - right, y1: py(y / scale), y2: py(y / scale) }));
    svg.append(make("text", { class: "faint", x: left - 7, y: py(y / scale) + 4, "text-anchor": "end" }, number(y, 4)));
  }
  for (const x of ticks(x0, x1, 6)) {
    svg.append(make("line", { class: "grid", x1: px(x), x2: px(x), y1: top, y2: height - bottom }));
    svg.append(make("text", { class: "faint", x: px(x), y: height - bottom + 17, "text-anchor": "middle" }, number(x, 4)));
  }
  svg.append(make("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, xName));
  svg.append(make("text", { transform: `translate(13 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, yName));
  if (diagonal) svg.append(make("line", { class: "grid", stroke: "var(--faint)", x1: px(x0), y1: py(x0 / scale), x2: px(x1), y2: py(x1 / scale) }));
  series.forEach(({ points, line, small }, at) => {
    const stroke = COLOURS[at % COLOURS.length];
    if (line) svg.append(make("path", { class: "front", stroke, d: points.map(([x, y], at) => `${at ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("") }));
    for (const [x, y, words, error] of points) {
      if (error) svg.append(make("line", { class: "error", stroke, x1: px(x), x2: px(x), y1: py(y - error), y2: py(y + error) }));
      const mark = make("circle", { cx: px(x), cy: py(y), r: small ? 1.6 : 3.2, fill: stroke, "fill-opacity": small ? 0.45 : 1 });
      if (words) mark.append(make("title", {}, words));
      svg.append(mark);
    }
  });
  const legend = make("div", { class: "controls" });
  if (series.length > 1) series.forEach((one, at) => legend.append(make("span", {}, make("span", { class: "swatch", style: `background:${COLOURS[at % COLOURS.length]}` }), " " + one.name)));
  const save = make("button", { type: "button", onclick: () => saved(svg, title.replace(/[^a-z0-9]+/gi, "-") + ".svg") }, "save as SVG");
  return make("figure", {}, make("figcaption", {}, title), svg, legend, save);
}

function listing(header, rows) {
  const head = make("tr", {}, ...header.map((name, at) => make("th", { class: at ? "number" : null }, name)));
  const body = make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell, at) => make("td", { class: at ? "number" : null }, cell)))));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), body));
}

const million = (value) => (value === null || value === undefined ? "–" : number(value / 1e6) + " M");
const standardError = (top1, images) => Math.sqrt((top1 * (1 - top1)) / images);

// What is measured after epochs: as rows name it, and as people do.
const NETWORKS = [["largest", "largest_top1"], ["middle", "middle_top1"], ["smallest", "smallest_top1"], ["the network", "held_out_top1"]];

// Epochs are counted through all phases.
function curves(epochs, section, charts) {
  let before = 0, phase = null, last = 0;
  const at = epochs.map((row) => {
    if (row.phase !== undefined && row.phase !== phase) [phase, before] = [row.phase, last];
    last = before + row.epoch;
    return [last, `${row.phase ? row.phase + ", " : ""}epoch ${row.epoch}${row.global_step === undefined ? "" : `, step ${row.global_step}`}`];
  });
  const series = (name, key) => ({ name, line: true, points: epochs.map((row, n) => [at[n][0], row[key], at[n][1]]).filter((point) => typeof point[1] === "number") });
  const accuracies = NETWORKS.map(([name, key]) => series(name, key)).filter((one) => one.points.length);
  if (accuracies.length) charts.append(plot("top-1 on held-out images", "epoch", "top-1, %", accuracies, { scale: 100 }));
  for (const [title, name, key] of [["loss on training images", "loss", "loss"], ["learning rate", "learning rate", "learning_rate"], ["speed of training", "images/s", "images_per_second"], ["distance of the channels' masks", "mask distance", "mask_distance"]]) {
    const line = series(name, key);
    if (line.points.length) charts.append(plot(title, "epoch", name, [line]));
  }
  section.append(make("details", {}, make("summary", {}, `all ${epochs.length} epochs`), measured(epochs)));
}

// What was measured after each epoch.
function measured(epochs) {
  const has = (key) => epochs.some((row) => typeof row[key] === "number");
  const columns = [["epoch", "epoch", String], ["steps", "global_step", String], ["loss", "loss", (value) => number(value, 4)], ["learning rate", "learning_rate", number], ["images/s", "images_per_second", (value) => number(value, 4)], ["mask distance", "mask_distance", (value) => value.toFixed(3)], ...NETWORKS.map(([name, key]) => [`top-1 ${name}`, key, percent])].filter(([, key]) => has(key));
  const cells = (row) => columns.map(([, key, words]) => (typeof row[key] === "number" ? words(row[key]) : "–"));
  const phases = epochs.some((row) => row.phase);
  return listing([...(phases ? ["phase"] : []), ...columns.map(([name]) => name)], epochs.map((row) => [...(phases ? [row.phase] : []), ...cells(row)]));
}

function agreement({ pairs, report }, section, charts) {
  const resolutions = [...new Set(pairs.map((pair) => pair.resolution))].sort((a, b) => a - b);
  const series = resolutions.map((resolution) => ({
    name: `${resolution} px`, small: pairs.length > 400,
    points: pairs.filter((pair) => pair.resolution === resolution).map((pair) => [100 * pair.predicted, pair.measured, `predicted ${percent(pair.predicted)}, measured ${percent(pair.measured)} ± ${percent(pair.error)}, ${million(pair.macs)} MACs`, pair.error]),
  }));
  charts.append(plot("predicted and measured top-1", "predicted, %", "measured on held-out images, %", series, { scale: 100, diagonal: true }));
  if (!report || !report.test) return;
  const { rmse, bias, kendall_tau_b, spearman } = report.test, ceiling = report.ceiling || {};
  section.append(make("p", { class: "facts" }, `Predictor: fitted to ${report.train_pairs} subnets, judged by ${report.test_pairs} others: RMSE ${(100 * rmse).toFixed(2)} points (label noise ${number(100 * ceiling.label_noise, 2)}), bias ${(100 * bias).toFixed(2)}, Kendall τ-b ${number(kendall_tau_b)} (label noise leaves ${number(ceiling.kendall_tau_b)} at best), Spearman ${number(spearman)}. The chart shows all of them.`));
}

const COSTS = [["energy_mJ", "energy, mJ", 1], ["latency_ms", "latency, ms", 1], ["macs", "multiply-accumulates, millions", 1e6]];
const costOf = (rows) => COSTS.find(([key]) => rows.some((row) => typeof row[key] === "number"));

function refinement(steps, section, charts) {
  const [key, words, unit] = costOf(steps), met = steps.filter((step) => step.met);
  const points = (all) => all.map((step) => [step[key] / unit, step.top1, `step ${step.step}: ${step.change || "start"}`]);
  charts.append(plot("steps of the refinement", words, "top-1 as it was judged, %", [{ name: "steps", line: true, points: points(met.length ? met : steps) }], { scale: 100 }));
  section.append(listing(["change", "step", "top-1", words.replace("multiply-accumulates, millions", "M MACs"), "parameters"], steps.map((step) => [step.change || "start", String(step.step), percent(step.top1), number(step[key] / unit), million(step.params)])));
}

function searched(folder, section, charts) {
  const all = [...(folder.evaluations || []), ...(folder.found || [])], cost = costOf(all);
  if (cost) {
    const [key, words, unit] = cost, series = [];
    const points = (rows) => rows.filter((row) => typeof row[key] === "number").map((row) => [row[key] / unit, row.top1, percent(row.top1)]);
    if (folder.found) series.push({ name: "found", points: points(folder.found) });
    if (folder.evaluations) series.push({ name: "evaluated on the way", small: true, points: points(folder.evaluations).map((point) => point.slice(0, 2)) });
    charts.append(plot("what the search looked at", words, "top-1 predicted, %", series, { scale: 100 }));
  }
  for (const one of (folder.found || []).slice(0, 12)) {
    const facts = [percent(one.top1) + " predicted", one.energy_mJ ? number(one.energy_mJ) + " mJ" : null, one.latency_ms ? number(one.latency_ms) + " ms" : null, million(one.macs) + " MACs", million(one.params) + " parameters", one.target || null];
    const box = make("div", { class: "panel" }, make("p", { class: "facts" }, facts.filter(Boolean).join(", ")));
    if (one.subnet && one.subnet.stages) box.append(drawing({ json: one.subnet }));
    section.append(box);
  }
}

function energy(facts) {
  const where = (facts.activities || []).filter((one) => one.steps).map((one) => `${one.name} ${number(one.energy_j / 3600)}`);
  const co2 = facts.co2_g === null || facts.co2_g === undefined ? "" : `, ${number(facts.co2_g)} g of CO₂ at ${facts.grid_intensity_g_per_kwh} g/kWh`;
  return `Energy ${number(facts.energy_j / 3600)} Wh in ${number(facts.seconds / 60)} minutes (${facts.energy_method}; ${number(100 * facts.measured_share)} % measured)${co2}${where.length ? "; by phase, Wh: " + where.join(", ") : ""}. Counted: ${facts.scope}.`;
}

function tested(rows) {
  if (rows[0].kind === undefined) {
    const [row] = rows, words = [];
    if (row.top1 !== undefined) words.push(`${percent(row.top1)} ± ${percent(standardError(row.top1, row.images))} on ${row.images} images (${row.part})`);
    if (row.held_out_top1 !== undefined) words.push(`${percent(row.held_out_top1)} on ${row.held_out_images} held-out images${row.held_out_top1_before === undefined ? "" : ", before " + percent(row.held_out_top1_before)}`);
    return make("p", {}, "Top-1 " + words.join("; "));
  }
  return listing(["subnet", "input", "MACs", "top-1 on test images"], rows.map((row) => [row.kind, row.resolution ? `${row.resolution} px` : "–", million(row.macs), `${percent(row.top1)} ± ${(100 * standardError(row.top1, row.images)).toFixed(2)}`]));
}

const place = document.getElementById("folders");
for (const folder of data.folders) {
  const section = make("section", { "data-folder": folder.name }), charts = make("div", { class: "charts" });
  if (data.folders.length > 1 || data.sweeps.length) section.append(make("h2", {}, folder.name));
  section.append(charts);
  if (folder.epochs) curves(folder.epochs, section, charts);
  if (folder.energy) section.append(make("p", { class: "facts" }, energy(folder.energy)));
  if (folder.tests) section.append(tested(folder.tests));
  if (folder.calibration) agreement(folder.calibration, section, charts);
  if (folder.steps) refinement(folder.steps, section, charts);
  if (folder.found || folder.evaluations) searched(folder, section, charts);
  place.append(section);
}
