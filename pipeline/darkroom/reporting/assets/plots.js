// Plots of figures and scores. What a plot's text shows is escaped: Plotly reads it as a kind of HTML.
"use strict";

const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const palette = () => ["--hue-1", "--hue-2", "--hue-3", "--hue-4", "--hue-5", "--hue-6"].map(css);
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "x"];
const PAPER_WIDTH = 980; // pixels of CSS, of an A4 sheet that lies
const redraws = [];
const narrow = matchMedia("(max-width: 720px)"); // where a legend beside a plot would leave it no room

const titled = (metric) => `${plain(metric.title)}${narrow.matches ? "<br>" : " "}(${metric.higher_is_better ? "higher" : "lower"} is better)`;
const round = (value) => Number(value.toPrecision(4));

function draw(name, traces, layout = {}) {
  const line = { gridcolor: css("--line"), linecolor: css("--line"), zerolinecolor: css("--line"), automargin: true };
  const above = narrow.matches ? { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", title: { ...layout.legend?.title, side: "top" } } : {};
  const numAbove = narrow.matches ? traces.filter((trace) => trace.type !== "heatmap" && trace.showlegend !== false).length : 0;
  const whole = {
    margin: narrow.matches ? { l: 45, r: 8, t: 10, b: 40 } : { l: 60, r: 20, t: 20, b: 50 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: narrow.matches ? 11 : 13, color: css("--ink") },
    hoverlabel: { align: "left", bgcolor: css("--paper"), bordercolor: css("--line"), font: { color: css("--ink") } },
    hovermode: "closest",
    ...layout,
    height: (layout.height ?? 440) + 24 * numAbove,
    legend: { font: { size: 12 }, tracegroupgap: 6, ...layout.legend, ...above },
    xaxis: { ...line, ...layout.xaxis },
    yaxis: { ...line, ...layout.yaxis },
  };
  return Plotly.react(`${name}-plot`, traces, whole, { responsive: true, displaylogo: false, displayModeBar: false });
}

// A plot's choice as flat names and values of the address: of an object (axis -> value) a name for each axis.
const flat = (name, choice) => Object.entries(choice).flatMap(([key, chosen]) => (
  typeof chosen === "object" ? axes.map((axis) => [`${name}.${key}.${axis.name}`, chosen[axis.name]]) : [[`${name}.${key}`, chosen]]));

// What the address says of a choice in the place of what is usual; only what there is of its kind.
function restore(name, choice) {
  const metrics = metricOptions().map((option) => option.value);
  const kind = (usual) => (metrics.includes(usual) ? metrics : byName(usual) ? axes.map((axis) => axis.name) : Object.keys(data.breakdown));
  for (const [key, usual] of Object.entries(choice)) {
    if (typeof usual !== "object") choice[key] = remembered(`${name}.${key}`, kind(usual), usual);
    else for (const axis of axes) usual[axis.name] = remembered(`${name}.${key}.${axis.name}`, axis.values, usual[axis.name]);
  }
}

// One place on the page: `make(choice)` draws, and choosers change `choice` and draw again.
function plot(name, choice, choosers, make) {
  const place = document.getElementById(`${name}-choosers`);
  if (!place) return;
  restore(name, choice);
  const update = () => {
    place.replaceChildren(...choosers(choice, (change) => {
      Object.assign(choice, change);
      remember(Object.fromEntries(flat(name, change)));
      update();
    }));
    const note = make(choice) ?? "";
    document.getElementById(`${name}-note`).textContent = note;
  };
  redraws.push(update);
  update();
  // A click on a cell's point chooses the cell.
  document.getElementById(`${name}-plot`).on("plotly_click", (event) => {
    const id = event.points[0]?.customdata;
    if (cellById.has(id)) chooseCell(id);
  });
}

function hover(cell) {
  const settings = axes.map((axis) => `${plain(axis.name)} ${plain(settingText(cell.settings[axis.name]))}`);
  const figures = data.metrics.map((metric) => `${plain(metric.title)} <b>${figureText(cell, metric)}</b>`);
  return [settings.join(" · ") || plain(cell.label), ...figures].join("<br>");
}

// Cells that differ in one axis alone, in its order. Colour tells the first of the other axes, dashes tell the rest.
// `only`: axis -> the one value to show.
function curves(along, only) {
  const others = axes.filter((axis) => axis !== along);
  const rest = [...new Set(data.cells.map((cell) => others.slice(1).map((axis) => settingText(cell.settings[axis.name])).join(" · ")))];
  const groups = new Map();
  const isShown = (cell) => others.every((axis) => only[axis.name] === undefined || only[axis.name] === cell.settings[axis.name]);
  for (const cell of data.cells.filter(isShown)) {
    const texts = others.map((axis) => settingText(cell.settings[axis.name]));
    const label = texts.join(" · ") || "all cells";
    if (!groups.has(label)) {
      const hue = others.length ? others[0].values.indexOf(cell.settings[others[0].name]) : 0;
      groups.set(label, { label, hue, style: rest.indexOf(texts.slice(1).join(" · ")), group: texts[0] ?? "", cells: [] });
    }
    groups.get(label).cells.push(cell);
  }
  const place = (cell) => along.values.indexOf(cell.settings[along.name]);
  for (const group of groups.values()) group.cells.sort((one, other) => place(one) - place(other));
  return [...groups.values()].sort((one, other) => one.hue - other.hue || one.style - other.style);
}

// What a curve's name consists of.
const legendOf = (along) => ({ title: { text: axes.filter((axis) => axis !== along).map((axis) => plain(axis.name)).join(" · ") } });

function curveTrace(curve, x, y, error) {
  const colors = palette();
  const color = colors[curve.hue % colors.length];
  return {
    type: "scatter",
    mode: "lines+markers",
    name: plain(curve.label),
    x: curve.cells.map(x),
    y: curve.cells.map(y),
    error_y: error,
    customdata: curve.cells.map((cell) => cell.id),
    text: curve.cells.map(hover),
    hovertemplate: "%{text}<extra></extra>",
    line: { color, width: 1.5, dash: DASHES[curve.style % DASHES.length] },
    marker: { color, size: 7, symbol: SYMBOLS[curve.style % SYMBOLS.length] },
  };
}

// One chooser for each axis but `along`: all of its values, or one.
const onlyChoosers = (choice, change) => axes.filter((axis) => axis.name !== choice.along).map((axis) => (
  chooser(axis.name, [{ label: "all", value: undefined }, ...optionsOf(axis.values)], choice.only[axis.name], (text) => change({ only: { ...choice.only, [axis.name]: text } }))));

const value = (cell, metric) => cell.figures[metric.name]?.[0] ?? null;
const preferredAxis = (...names) => names.map(byName).find(Boolean) ?? axes.find((axis) => axis.values.every(Number.isFinite)) ?? axes[0];

// --- one metric against another, with the Pareto front

function tradeoff(choice) {
  const [x, y, along] = [metricByName.get(choice.x), metricByName.get(choice.y), byName(choice.along)];
  const front = (data.fronts[x.name]?.[y.name] ?? []).map((id) => cellById.get(id));
  const traces = curves(along, choice.only).map((curve) => curveTrace(curve, (cell) => value(cell, x), (cell) => value(cell, y)));
  const ring = {
    type: "scatter", mode: "lines+markers", name: "Pareto front", hoverinfo: "skip",
    x: front.map((cell) => value(cell, x)), y: front.map((cell) => value(cell, y)),
    line: { color: css("--front"), width: 9 }, marker: { color: css("--front"), size: 20 },
  };
  const annotations = front.map((cell) => ({
    x: value(cell, x), y: value(cell, y), text: plain(settingText(cell.settings[along.name])),
    showarrow: false, yshift: y.higher_is_better ? 18 : -18, font: { size: 12, color: css("--ink") },
  }));
  draw("tradeoff", [ring, ...traces], { height: 520, annotations, legend: legendOf(along), xaxis: { title: { text: titled(x) } }, yaxis: { title: { text: titled(y) } } });
  const names = front.map((cell) => cell.label).join(",  ");
  return `Each curve holds everything but ${along.name} equal. No cell beats those on the front in both metrics: ${names}. Drag to zoom, double click to go back.`;
}

function tradeoffChoosers(choice, change) {
  return [
    chooser("Across", metricOptions().filter((option) => option.value !== choice.y), choice.x, (x) => change({ x })),
    chooser("Up", metricOptions().filter((option) => option.value !== choice.x), choice.y, (y) => change({ y })),
    chooser("Along a curve", axisOptions(), choice.along, (along) => change({ along })),
    ...onlyChoosers(choice, change),
  ];
}

// --- a metric over two axes, the others held equal

function heatmap(choice) {
  const [x, y, metric] = [byName(choice.x), byName(choice.y), metricByName.get(choice.metric)];
  const cells = y.values.map((down) => x.values.map((right) => cellWith({ ...choice.held, [x.name]: right, [y.name]: down })));
  const trace = {
    type: "heatmap",
    x: x.values.map((text) => plain(settingText(text))),
    y: y.values.map((text) => plain(settingText(text))),
    z: cells.map((row) => row.map((cell) => (cell ? value(cell, metric) : null))),
    text: cells.map((row) => row.map((cell) => (cell ? figureText(cell, metric).replace(" (", "<br>(") : ""))),
    customdata: cells.map((row) => row.map((cell) => cell?.id ?? "")),
    texttemplate: "%{text}", hoverongaps: false, xgap: 3, ygap: 3,
    hovertext: cells.map((row) => row.map((cell) => (cell ? hover(cell) : "no such cell"))),
    hovertemplate: "%{hovertext}<extra></extra>",
    colorscale: [[0, css("--heat-worst")], [1, css("--heat-best")]],
    reversescale: !metric.higher_is_better,
    colorbar: { title: { text: plain(metric.title), side: "right" }, thickness: 12, outlinewidth: 0 },
    showscale: !narrow.matches,
  };
  const bare = { type: "category", showgrid: false };
  draw("heatmap", [trace], {
    height: 150 + 68 * y.values.length,
    xaxis: { ...bare, title: { text: plain(x.name) } },
    yaxis: { ...bare, title: { text: plain(y.name) }, autorange: "reversed" },
  });
  return "The stronger the colour, the better. A click on a field chooses its cell.";
}

const equal = (choice, change, used) => axes
  .filter((axis) => !used.includes(axis.name))
  .map((axis) => chooser(axis.name, optionsOf(axis.values), choice.held[axis.name], (held) => change({ held: { ...choice.held, [axis.name]: held } })));

function heatmapChoosers(choice, change) {
  return [
    chooser("Metric", metricOptions(), choice.metric, (metric) => change({ metric })),
    chooser("Across", axisOptions().filter((option) => option.value !== choice.y), choice.x, (x) => change({ x })),
    chooser("Down", axisOptions().filter((option) => option.value !== choice.x), choice.y, (y) => change({ y })),
    ...equal(choice, change, [choice.x, choice.y]),
  ];
}

// --- a metric along one axis

function along(choice) {
  const [metric, axis] = [metricByName.get(choice.metric), byName(choice.along)];
  const end = (cell, index) => { const figure = cell.figures[metric.name]; return figure?.[index] == null ? 0 : Math.abs(figure[index] - figure[0]); };
  const traces = curves(axis, choice.only).map((curve) => curveTrace(curve, (cell) => cell.settings[axis.name], (cell) => value(cell, metric), {
    type: "data", symmetric: false, thickness: 0.8, width: 3,
    array: curve.cells.map((cell) => end(cell, 2)), arrayminus: curve.cells.map((cell) => end(cell, 1)),
  }));
  const numeric = axis.values.every(Number.isFinite);
  draw("along", traces, {
    legend: legendOf(axis),
    xaxis: { title: { text: plain(axis.name) }, type: numeric ? "linear" : "category", tickvals: numeric ? axis.values : undefined },
    yaxis: { title: { text: titled(metric) } },
  });
  return "Bars are the figures' intervals. A click in the legend hides a curve, a double click shows it alone.";
}

function alongChoosers(choice, change) {
  return [
    chooser("Metric", metricOptions(), choice.metric, (metric) => change({ metric })),
    chooser("Axis", axisOptions(), choice.along, (name) => change({ along: name })),
    ...onlyChoosers(choice, change),
  ];
}

// --- scores of single images

const SHOWN_CELLS = 60;

function distributions() {
  const colors = palette();
  const mean = (scores) => scores.reduce((sum, score) => sum + score, 0) / Math.max(1, scores.length);
  const scored = data.cells
    .map((cell) => ({ cell, scores: (data.scores[cell.id] ?? []).filter((score) => score !== null) }))
    .filter((entry) => entry.scores.length)
    .sort((one, other) => mean(other.scores) - mean(one.scores));
  const shown = scored.slice(0, SHOWN_CELLS);
  const hues = axes.length ? axes[0].values : [null];
  const traces = hues.map((hue, index) => {
    const own = shown.filter(({ cell }) => hue === null || cell.settings[axes[0].name] === hue);
    return {
      type: "violin", name: hue === null ? "scores" : plain(settingText(hue)), spanmode: "hard", points: false,
      x: own.flatMap(({ cell, scores }) => scores.map(() => plain(cell.label))), y: own.flatMap(({ scores }) => scores),
      line: { color: colors[index % colors.length], width: 1 }, box: { visible: true, width: 0.35 }, meanline: { visible: true },
      hoveron: "violins", showlegend: hue !== null, width: 0.9,
    };
  });
  draw("scores", traces, {
    height: 480,
    xaxis: { type: "category", categoryorder: "array", categoryarray: shown.map(({ cell }) => plain(cell.label)), tickangle: -60, showgrid: false, tickfont: { size: 11 } },
    yaxis: { title: { text: scoreMetric ? titled(scoreMetric) : "score" } },
    legend: { title: { text: axes.length ? plain(axes[0].name) : "" } },
  });
  const cut = shown.length < scored.length ? `The ${shown.length} of ${scored.length} cells with the highest means. ` : "";
  return `${cut}By falling mean, from ${Math.min(...shown.map(({ scores }) => scores.length))} or more images a cell.`;
}

// --- scores by a column of the prompt file

const SHOWN_VALUES = 40;

function breakdown(choice) {
  const colors = palette();
  const mean = (scores) => { const all = Object.values(scores); return all.reduce((sum, [score]) => sum + score, 0) / Math.max(1, all.length); };
  const groups = Object.entries(data.breakdown[choice.column]).sort(([, one], [, other]) => mean(one) - mean(other));
  const shown = groups.slice(0, SHOWN_VALUES);
  const hues = axes.length ? axes[0].values : [null];
  const traces = hues.map((hue, index) => {
    const points = shown.flatMap(([text, scores]) => data.cells
      .filter((cell) => scores[cell.id] && scores[cell.id][0] !== null && (hue === null || cell.settings[axes[0].name] === hue))
      .map((cell) => ({ text, cell, score: scores[cell.id] })));
    return {
      type: "scatter", mode: "markers", name: hue === null ? "cell" : plain(settingText(hue)), showlegend: hue !== null,
      x: points.map(({ score }) => score[0]), y: points.map(({ text }) => plain(text)), customdata: points.map(({ cell }) => cell.id),
      text: points.map(({ text, cell, score }) => `${plain(text)}<br>${plain(cell.label)}<br><b>${round(score[0])}</b>, ${score[1]} images`),
      hovertemplate: "%{text}<extra></extra>", marker: { color: colors[index % colors.length], size: 9, opacity: 0.65 },
    };
  });
  const own = shown.filter(([, scores]) => chosenCell && scores[chosenCell.id]);
  traces.push({
    type: "scatter", mode: "markers", name: `chosen: ${plain(chosenCell?.label ?? "")}`, hoverinfo: "skip",
    x: own.map(([, scores]) => scores[chosenCell.id][0]), y: own.map(([text]) => plain(text)),
    marker: { symbol: "line-ns-open", size: 22, color: css("--ink"), line: { width: 3 } },
  });
  draw("breakdown", traces, {
    height: 150 + 32 * shown.length,
    xaxis: { title: { text: `mean ${scoreMetric ? titled(scoreMetric) : "score"}` } },
    yaxis: { type: "category", categoryorder: "array", categoryarray: shown.map(([text]) => plain(text)), autorange: "reversed" },
    legend: { title: { text: axes.length ? plain(axes[0].name) : "" } },
  });
  const cut = shown.length < groups.length ? `The ${shown.length} of ${groups.length} values with the lowest means. ` : "";
  return `${cut}A dot is one cell's mean over its images of that ${choice.column}; the hardest come first.`;
}

const breakdownChoosers = (choice, change) => [
  chooser("Column", optionsOf(Object.keys(data.breakdown)), choice.column, (column) => change({ column })),
];

// --- all of them

// FID against CLIP score, where a sweep has them: what is best by one is rarely best by the other.
const acrossMetric = scoreMetric?.order.length ? scoreMetric : mainMetric;
const upMetric = data.metrics.find((metric) => metric !== acrossMetric && metric.order.length);
const held = () => Object.fromEntries(axes.map((axis) => [axis.name, chosenCell?.settings[axis.name]]));
const heat = { metric: mainMetric?.name, held: held() };
[heat.x, heat.y] = [axes[0]?.name, axes[1]?.name];

plot("tradeoff", { x: acrossMetric?.name, y: upMetric?.name, along: preferredAxis("guidance_scale")?.name, only: {} }, tradeoffChoosers, tradeoff);
plot("heatmap", heat, heatmapChoosers, heatmap);
plot("along", { metric: heat.metric, along: preferredAxis("num_inference_steps")?.name, only: {} }, alongChoosers, along);
plot("scores", {}, () => [], distributions);
plot("breakdown", { column: Object.keys(data.breakdown)[0] }, breakdownChoosers, breakdown);

whenChosen.push(() => {
  heat.held = held();
  remember(Object.fromEntries(flat("heatmap", { held: {} })));
  for (const redraw of redraws) redraw();
});
// On paper a plot is as wide as the paper's text.
addEventListener("beforeprint", () => { for (const place of document.querySelectorAll(".plot")) Plotly.relayout(place, { width: PAPER_WIDTH }); });
addEventListener("afterprint", () => { for (const redraw of redraws) redraw(); });
for (const media of [matchMedia("(prefers-color-scheme: dark)"), narrow]) {
  media.addEventListener("change", () => { for (const redraw of redraws) redraw(); });
}
