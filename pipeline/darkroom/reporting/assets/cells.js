// The table of cells: sorted by a column, cut down to the cells that are asked for.
"use strict";

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

function sortTable(table, heading, direction) {
  const column = heading.cellIndex;
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, other) => compare(sortValue(one, column), sortValue(other, column), direction === "ascending" ? 1 : -1));
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction);
  table.tBodies[0].append(...rows);
}

const OPPOSITE = { ascending: "descending", descending: "ascending" };

function pressHeading(table, heading) {
  const before = heading.getAttribute("aria-sort");
  const direction = before ? OPPOSITE[before] : heading.dataset.first;
  sortTable(table, heading, direction);
  remember({ sort: heading.dataset.name, order: direction });
}

function setUpTable(table) {
  const headings = [...table.tHead.rows[0].cells];
  for (const heading of headings) heading.querySelector("button").addEventListener("click", () => pressHeading(table, heading));
  const sorted = headings.find((heading) => heading.dataset.name === view.get("sort"));
  if (sorted) sortTable(table, sorted, OPPOSITE[OPPOSITE[view.get("order")]] ?? sorted.dataset.first);
}

// --- which cells are shown

const cellsTable = document.getElementById("cells-table");
const hideGrey = document.getElementById("hide-dominated");
const shownCells = {
  only: Object.fromEntries(axes.map((axis) => [axis.name, remembered(`only.${axis.name}`, axis.values)])), // undefined: all
  tied: metricByName.get(view.get("tied")) ?? null, // only cells that share its best
};
if (hideGrey) hideGrey.checked = view.get("grey") === "hidden";

function isShown(cell) {
  return axes.every((axis) => [undefined, cell.settings[axis.name]].includes(shownCells.only[axis.name]))
    && !(hideGrey?.checked && cell.dominated)
    && (!shownCells.tied || shownCells.tied.tied.includes(cell.id));
}

function showCells() {
  remember({
    ...Object.fromEntries(axes.map((axis) => [`only.${axis.name}`, shownCells.only[axis.name]])),
    tied: shownCells.tied?.name,
    grey: hideGrey?.checked ? "hidden" : null,
  });
  const rows = [...cellsTable.tBodies[0].rows];
  for (const row of rows) row.hidden = !isShown(cellById.get(row.dataset.cell));
  const count = rows.filter((row) => !row.hidden).length;
  document.getElementById("cells-count").textContent = count < rows.length ? `${count} of ${rows.length} cells` : "";
}

function cellsChoosers() {
  const all = { label: "all", value: undefined };
  const ofAxis = (axis) => chooser(axis.name, [all, ...optionsOf(axis.values)], shownCells.only[axis.name], (value) => { shownCells.only[axis.name] = value; showCells(); });
  const ranked = data.metrics.filter((metric) => metric.tied.length && metric.tied.length < data.cells.length);
  const ties = [{ label: "all", value: null }, ...ranked.map((metric) => ({ label: metric.title, value: metric }))];
  const tie = chooser("best or not told apart by", ties, shownCells.tied, (metric) => { shownCells.tied = metric; showCells(); });
  return [...axes.map(ofAxis), ...(ranked.length ? [tie] : [])];
}

function drawCellsChoosers() {
  const place = document.getElementById("cells-choosers");
  for (const old of place.querySelectorAll("label:not(.check)")) old.remove();
  place.prepend(...cellsChoosers());
}

function showTied(name) {
  shownCells.tied = metricByName.get(name);
  drawCellsChoosers();
  showCells();
  document.getElementById("cells").scrollIntoView();
}

function markChosen() {
  for (const row of cellsTable.tBodies[0].rows) row.classList.toggle("chosen", row.dataset.cell === chosenCell?.id);
}

if (cellsTable) {
  setUpTable(cellsTable);
  drawCellsChoosers();
  showCells();
  markChosen();
  whenChosen.push(markChosen);
  hideGrey?.addEventListener("change", showCells);
}

document.addEventListener("click", (event) => {
  const name = event.target.closest(".cell-name");
  if (name) chooseCell(name.closest("[data-cell]").dataset.cell);
  const tied = event.target.closest("[data-tied]");
  if (tied) showTied(tied.dataset.tied);
});
