// The contact sheet: pictures of cells side by side, everything else equal; and the search for prompts.
"use strict";

const PROMPT = "prompt";
const SAMPLE = "sample_index";
const REST = "all other axes"; // rows: every combination of what the columns are not
const FEW_ROWS = 6; // of which every cell is shown at once
const SIZES = { small: 104, medium: 168, large: 256 }; // pixels of a tile

const sheetPictures = data.pictures.filter((picture) => picture.in_sheet);
const prompts = new Map(sheetPictures.map((picture) => [picture.prompt_id, picture.prompt]));
const samples = [...new Set(sheetPictures.map((picture) => picture.sample_index))].sort((one, other) => one - other);
const pictureKey = (cellId, promptId, sample) => JSON.stringify([cellId, promptId, sample]);
const pictureAt = new Map(sheetPictures.map((picture) => [pictureKey(picture.cell_id, picture.prompt_id, picture.sample_index), picture]));

// --- axes of the sheet; a combo is axis's name -> value, of one row or column

const settingAxes = axes.map((axis) => ({ name: axis.name, values: axis.values, text: settingText }));
const promptAxis = () => ({ name: PROMPT, values: [...prompts.keys()].filter((id) => isAskedFor(prompts.get(id))), text: (id) => prompts.get(id) || "(empty)" });
const sampleAxis = { name: SAMPLE, values: samples, text: String };
const sheetAxes = () => [...settingAxes, promptAxis(), sampleAxis].filter((axis) => axis.name === PROMPT || axis.values.length > 1);
const sheetAxis = (name) => sheetAxes().find((axis) => axis.name === name);
const restAxes = () => settingAxes.filter((axis) => axis.name !== sheet.columns);
const placeOf = (axis, cell) => axis.values.indexOf(cell.settings[axis.name]);
const short = (text) => (text.length > 70 ? `${text.slice(0, 69)}…` : text);

// What cells have on some axes, each combination once, in the axes' order.
function combinations(list) {
  const found = new Map(data.cells.map((cell) => [JSON.stringify(list.map((axis) => placeOf(axis, cell))), cell]));
  const before = (one, other) => { const axis = list.find((each) => placeOf(each, one) !== placeOf(each, other)); return axis ? placeOf(axis, one) - placeOf(axis, other) : 0; };
  return [...found.values()].sort(before).map((cell) => Object.fromEntries(list.map((axis) => [axis.name, cell.settings[axis.name]])));
}

function combosOf(name) {
  if (name === REST) return combinations(restAxes());
  return sheetAxis(name).values.map((value) => ({ [name]: value }));
}

const comboText = (combo) => short(Object.entries(combo).map(([name, value]) => sheetAxis(name).text(value)).join(" · "));

// --- what is shown

const heldOf = (cell) => Object.fromEntries(axes.map((axis) => [axis.name, cell?.settings[axis.name]]));
const columnsUsual = axes[0]?.name ?? (samples.length > 1 ? SAMPLE : null);
const numRest = combinations(settingAxes.slice(1)).length;
const rowsUsual = axes.length < 2 ? PROMPT : axes.length > 2 && numRest <= FEW_ROWS ? REST : axes[1].name;
const sizeUsual = matchMedia("(max-width: 720px)").matches || rowsUsual === REST ? "small" : columnsUsual ? "medium" : "large";
const names = [...settingAxes.map((axis) => axis.name), PROMPT, ...(samples.length > 1 ? [SAMPLE] : [])];
const sheet = {
  columns: remembered("columns", columnsUsual ? names : [], columnsUsual),
  rows: remembered("rows", columnsUsual ? [...names, REST] : [], rowsUsual),
  size: remembered("size", Object.keys(SIZES), sizeUsual),
  held: {
    ...Object.fromEntries(Object.entries(heldOf(chosenCell)).map(([name, value]) => [name, remembered(`held.${name}`, byName(name).values, value)])),
    [PROMPT]: remembered("held.prompt", [...prompts.keys()], [...prompts.keys()][0]),
    [SAMPLE]: remembered("held.sample_index", samples, samples[0]),
  },
  search: view.get("search") ?? "",
};
if (sheet.rows === sheet.columns || (sheet.rows === REST && !byName(sheet.columns))) Object.assign(sheet, { columns: columnsUsual, rows: rowsUsual });

function setSheet(change) {
  Object.assign(sheet, change);
  const all = promptAxis().values;
  if (all.length && !all.includes(sheet.held[PROMPT])) sheet.held[PROMPT] = all[0];
  const usual = { ...heldOf(chosenCell), [PROMPT]: [...prompts.keys()][0], [SAMPLE]: samples[0] };
  const held = Object.entries(sheet.held).map(([name, value]) => [`held.${name}`, value === usual[name] ? null : value]);
  remember({
    columns: sheet.columns === columnsUsual ? null : sheet.columns,
    rows: sheet.rows === rowsUsual ? null : sheet.rows,
    size: change.size ?? view.get("size"),
    search: sheet.search,
    ...Object.fromEntries(held),
  });
  drawSheet();
}

function pictureWith(settings) {
  const cell = axes.length ? cellWith(settings) : data.cells[0];
  return cell && pictureAt.get(pictureKey(cell.id, settings[PROMPT], settings[SAMPLE]));
}

// --- drawing

// The metrics by which the picture's cell is best, without their extractors' names.
function bestBy(cellId) {
  const titles = data.metrics.filter((metric) => metric.key && metric.best.includes(cellId)).map((metric) => metric.title.replace(/ \(.*\)$/, ""));
  return titles.length ? [`★ ${titles.join(", ")}`] : [];
}

function sheetTile(picture) {
  const made = tile(picture, ...(axes.length ? bestBy(picture.cell_id) : []));
  made.classList.toggle("chosen", axes.length > 0 && picture.cell_id === chosenCell?.id);
  return made;
}

function sheetTable() {
  // Nothing but prompts: they need no table.
  if (!sheet.columns) {
    const asked = sheetPictures.filter((picture) => isAskedFor(picture.prompt));
    return element("div", { class: "tiles" }, ...asked.map((picture) => tile(picture, short(picture.prompt))));
  }
  const [columns, rows] = [combosOf(sheet.columns), combosOf(sheet.rows)];
  const head = columns.map((combo) => element("th", { scope: "col", dir: "auto" }, comboText(combo)));
  const body = rows.map((row) => {
    const tiles = columns.map((column) => {
      const picture = pictureWith({ ...sheet.held, ...row, ...column });
      return element("td", {}, picture ? sheetTile(picture) : element("span", { class: "no-image" }, "not shown"));
    });
    return element("tr", {}, element("th", { scope: "row", dir: "auto" }, comboText(row)), ...tiles);
  });
  const named = sheet.rows === REST ? restAxes().map((axis) => axis.name).join(" · ") : sheet.rows;
  const corner = element("th", { scope: "col", class: "quiet" }, `${named} ↓  ${sheet.columns} →`);
  return element("table", { class: "sheet" }, element("thead", {}, element("tr", {}, corner, ...head)), element("tbody", {}, ...body));
}

function sheetChoosers() {
  const options = (other) => sheetAxes().filter((axis) => axis.name !== other).map((axis) => ({ label: axis.name, value: axis.name }));
  const rowOptions = [...options(sheet.columns), ...(restAxes().length > 1 && byName(sheet.columns) ? [{ label: REST, value: REST }] : [])];
  const used = sheet.rows === REST ? [...settingAxes.map((axis) => axis.name)] : [sheet.rows, sheet.columns];
  const ofAxis = (axis) => axis.values.map((value) => ({ label: short(axis.text(value)), value }));
  const held = sheetAxes()
    .filter((axis) => ![...used, sheet.columns].includes(axis.name) && sheet.columns)
    .map((axis) => chooser(axis.name, ofAxis(axis), sheet.held[axis.name], (value) => setSheet({ held: { ...sheet.held, [axis.name]: value } })));
  const shape = sheet.columns && sheetAxes().length > 1
    ? [chooser("Rows", rowOptions, sheet.rows, (rows) => setSheet({ rows })), chooser("Columns", options(sheet.rows), sheet.columns, setColumns)]
    : [];
  const sizes = chooser("Size", optionsOf(Object.keys(SIZES)), sheet.size, (size) => setSheet({ size }));
  return element("div", { class: "choosers" }, ...shape, ...held, ...(showsOnePrompt() ? [walk()] : []), sizes);
}

// All other axes are rows beside one axis of the cells alone.
function setColumns(columns) {
  setSheet({ columns, rows: sheet.rows === REST && !byName(columns) ? columnsUsual : sheet.rows });
}

const showsOnePrompt = () => Boolean(sheet.columns) && sheet.rows !== PROMPT && sheet.columns !== PROMPT;

function stepPrompt(step) {
  const all = promptAxis().values;
  const id = all[all.indexOf(sheet.held[PROMPT]) + step];
  if (id !== undefined) setSheet({ held: { ...sheet.held, [PROMPT]: id } });
}

// Buttons to the prompt before and after.
function walk() {
  const all = promptAxis().values;
  const at = all.indexOf(sheet.held[PROMPT]);
  const button = (text, label, step) => element("button", { type: "button", "aria-label": label, disabled: all[at + step] === undefined, click: () => stepPrompt(step) }, text);
  return element("span", { class: "walk" }, button("‹", "Previous prompt", -1), ` ${at + 1} of ${all.length} `, button("›", "Next prompt", 1));
}

// Beside each card a picture of its best cell.
function drawExamples() {
  for (const place of document.querySelectorAll("[data-example]")) {
    const picture = pictureAt.get(pictureKey(place.dataset.example, sheet.held[PROMPT], sheet.held[SAMPLE]));
    place.replaceChildren(...(picture ? [element("button", { type: "button", class: "tile", "data-image": picture.image_id }, thumbnail(picture))] : []));
  }
}

const sheetPlace = document.getElementById("sheet-place");

function drawSheet() {
  if (!sheetPlace) return;
  drawExamples();
  sheetPlace.style.setProperty("--tile", `${SIZES[sheet.size]}px`);
  if (!promptAxis().values.length) return sheetPlace.replaceChildren(element("p", { class: "quiet" }, "No prompt on this page has these words."));
  const prompt = showsOnePrompt() ? [element("p", { class: "prompt", dir: "auto" }, prompts.get(sheet.held[PROMPT]) ?? "")] : [];
  sheetPlace.replaceChildren(sheetChoosers(), ...prompt, element("div", { class: "wide" }, sheetTable()));
}

// --- search

// Whether the prompt has all words that are searched for.
function isAskedFor(prompt) {
  const text = prompt.toLowerCase();
  return sheet.search.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function drawSearched() {
  drawPicks();
  for (const opener of document.querySelectorAll("[data-failure]")) opener.closest("tr").hidden = !isAskedFor(data.failures[Number(opener.dataset.failure)].prompt);
  const count = promptAxis().values.length;
  const found = document.getElementById("search-found");
  if (found) found.textContent = sheet.search ? `${count} of the ${prompts.size} prompts on this page` : "";
}

const searchBox = document.getElementById("search");
if (searchBox) searchBox.value = sheet.search;
searchBox?.addEventListener("input", () => {
  setSheet({ search: searchBox.value });
  drawSearched();
});

// --- keys

// In the dialog the same cell's picture of the next prompt, else the next sheet, with the same tile under the keys.
function walkPrompts(step) {
  const shown = dialog.open ? pictureById.get(dialog.dataset.image) : null;
  const at = tilesOf(sheetPlace).indexOf(document.activeElement);
  stepPrompt(step);
  const next = shown && pictureAt.get(pictureKey(shown.cell_id, sheet.held[PROMPT], shown.sample_index));
  if (next) showPicture(next);
  else tilesOf(sheetPlace)[at]?.focus();
}

keys.n = () => walkPrompts(1);
keys.p = () => walkPrompts(-1);
keys["/"] = (event) => { event.preventDefault(); searchBox?.focus(); };

drawSheet();
drawSearched();
whenChosen.push((cell) => setSheet({ held: { ...sheet.held, ...heldOf(cell) } }));
if (pictureById.has(view.get("image"))) {
  shownIn = document.getElementById("sheet");
  showPicture(pictureById.get(view.get("image")));
}
