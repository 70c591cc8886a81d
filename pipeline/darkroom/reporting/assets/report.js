// What all parts of the page share: its data, elements whose text is only ever text, choosers, the chosen cell.
// Also the table of cells.
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
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
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

// --- the chosen cell: what contact sheets and heat maps hold equal

const scoreMetric = metricByName.get(data.score_metric) ?? null;
const mainMetric = data.metrics.find((metric) => metric.order.length) ?? null;
let chosenCell = cellById.get(mainMetric?.order[0]) ?? data.cells[0] ?? null;
const whenChosen = [];

function chooseCell(id) {
  chosenCell = cellById.get(id) ?? chosenCell;
  markChosen();
  for (const follow of whenChosen) follow(chosenCell);
}

function markChosen() {
  for (const row of document.querySelectorAll("#cells-table tbody tr")) {
    row.classList.toggle("chosen", data.cells.length > 1 && row.dataset.cell === chosenCell?.id);
  }
}

// The cell with the settings, or undefined: not every combination need be there.
function cellWith(settings) {
  return data.cells.find((cell) => axes.every((axis) => cell.settings[axis.name] === settings[axis.name]));
}

// --- the table

function sortValue(row, column) {
  const value = row.cells[column].dataset.value ?? "";
  return value !== "" && Number.isFinite(Number(value)) ? Number(value) : value;
}

// Missing figures stay last in both directions.
function compare(one, other, direction) {
  if (one === "" || other === "") return (one === "") - (other === "");
  if (typeof one === "number" && typeof other === "number") return direction * (one - other);
  return direction * String(one).localeCompare(String(other), undefined, { numeric: true });
}

function sortTable(table, column) {
  const heading = table.tHead.rows[0].cells[column];
  const before = heading.getAttribute("aria-sort") ?? { ascending: "descending", descending: "ascending" }[heading.dataset.first];
  const direction = before === "ascending" ? -1 : 1;
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, other) => compare(sortValue(one, column), sortValue(other, column), direction));
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => sortTable(table, column));
  });
}

document.getElementById("hide-dominated")?.addEventListener("change", (event) => {
  document.getElementById("cells-table").classList.toggle("hides-dominated", event.target.checked);
});

document.addEventListener("click", (event) => {
  const name = event.target.closest(".cell-name");
  if (name) chooseCell(name.closest("[data-cell]").dataset.cell);
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

markChosen();
