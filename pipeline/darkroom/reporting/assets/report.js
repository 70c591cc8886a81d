// What all parts of the page share: its data, elements whose text is only ever text, choosers, the chosen cell, and
// what is looked at, which the address holds: whoever gets the address sees the same.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const cellById = new Map(data.cells.map((cell) => [cell.id, cell]));
const metricByName = new Map(data.metrics.map((metric) => [metric.name, metric]));
// Axes along which the cells differ, with the values that a cell has.
const axes = data.axes
  .map((axis) => ({ ...axis, values: axis.values.filter((value) => data.cells.some((cell) => cell.settings[axis.name] === value)) }))
  .filter((axis) => axis.values.length > 1);
const byName = (name) => axes.find((axis) => axis.name === name);

// children: elements or strings; strings become text, never HTML.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function settingText(value) {
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : String(value);
}

function figureText(cell, metric) {
  const [value, low, high] = cell.figures[metric.name] ?? [null, null, null];
  if (value === null) return "–";
  const text = (number) => number.toFixed(metric.decimals);
  return low === null || high === null ? text(value) : `${text(value)} (${text(low)} – ${text(high)})`;
}

function scoreText(score) {
  return score === null ? "no score" : `score ${score.toFixed(scoreMetric?.decimals ?? 3)}`;
}

// A labelled <select>. options: [{label, value}]; `change` gets the chosen value.
function chooser(label, options, chosen, change) {
  const list = element("select", { change: () => change(options[list.selectedIndex].value) });
  for (const option of options) list.append(element("option", { selected: option.value === chosen }, option.label));
  return element("label", {}, element("span", {}, label), list);
}

const optionsOf = (values) => values.map((value) => ({ label: settingText(value), value }));
const axisOptions = (list = axes) => list.map((axis) => ({ label: axis.name, value: axis.name }));
const metricOptions = () => data.metrics.filter((metric) => metric.order.length).map((metric) => ({ label: metric.title, value: metric.name }));

// --- the address: names and values after its #

const whole = location.hash.slice(1); // of a link to a section its name alone
const view = new URLSearchParams(document.getElementById(whole) ? { at: whole } : whole);

// values: null forgets the name.
function remember(values) {
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === "") view.delete(name);
    else view.set(name, value);
  }
  history.replaceState(null, "", view.size ? `#${view}` : location.href.split("#")[0]);
}

// The value whose text the address gives by this name; `usual` where it gives none that there is.
function remembered(name, values, usual) {
  const text = view.get(name);
  const found = values.findIndex((value) => String(value) === text);
  return text === null || found < 0 ? usual : values[found];
}

document.querySelector("nav").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link) return;
  event.preventDefault();
  remember({ at: link.hash.slice(1) });
  document.getElementById(view.get("at")).scrollIntoView();
});

addEventListener("hashchange", () => location.reload());
addEventListener("load", () => document.getElementById(view.get("at") ?? "")?.scrollIntoView());

// --- the chosen cell: what contact sheets and heat maps hold equal

const scoreMetric = metricByName.get(data.score_metric) ?? null;
const mainMetric = data.metrics.find((metric) => metric.order.length) ?? null;
const usualCell = cellById.get(data.decided[0] ?? mainMetric?.order[0]) ?? data.cells[0] ?? null;
let chosenCell = cellById.get(view.get("cell")) ?? usualCell;
const whenChosen = [];

function chooseCell(id) {
  chosenCell = cellById.get(id) ?? chosenCell;
  remember({ cell: chosenCell === usualCell ? null : chosenCell.id });
  for (const follow of whenChosen) follow(chosenCell);
}

// The cell with the settings, or undefined: not every combination need be there.
function cellWith(settings) {
  return data.cells.find((cell) => axes.every((axis) => cell.settings[axis.name] === settings[axis.name]));
}

// --- clicks that work everywhere

document.addEventListener("click", (event) => {
  const copy = event.target.closest(".copy");
  if (copy) copyText(copy);
});

async function copyText(button) {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code); // no clipboard here: ready for the keyboard
    button.textContent = "Selected";
  }
}
