// Contact sheets, picks, and the dialog with an image's full record.
"use strict";

const pictureById = new Map(data.pictures.map((picture) => [picture.image_id, picture]));
const sheetPictures = data.pictures.filter((picture) => picture.in_sheet);
const prompts = new Map(sheetPictures.map((picture) => [picture.prompt_id, picture.prompt]));
const samples = [...new Set(sheetPictures.map((picture) => picture.sample_index))].sort((one, other) => one - other);
const PROMPT = "prompt";
const SAMPLE = "sample_index";

// --- one picture

function thumbnail(picture) {
  if (!picture.thumbnail) return element("span", { class: "no-image" }, "no thumbnail");
  return element("img", { src: picture.thumbnail, alt: picture.prompt, loading: "lazy", decoding: "async", width: 256, height: 256 });
}

// lines: what stands below the score
function tile(picture, ...lines) {
  const scored = scoreMetric ? [element("strong", {}, scoreText(picture.score))] : [];
  const caption = [...scored, ...lines.map((line) => element("span", { dir: "auto" }, line))];
  const button = element("button", { type: "button", class: "tile", "data-image": picture.image_id }, thumbnail(picture));
  return element("figure", {}, button, element("figcaption", {}, ...caption));
}

// --- the dialog

const dialog = document.getElementById("picture");
let shownIn = []; // buttons that the arrow keys walk

function pairs(entries) {
  return element("dl", {}, ...entries.map(([name, text]) => element("div", {}, element("dt", {}, name), element("dd", { dir: "auto" }, String(text)))));
}

// Only an image beside the report is shown whole here; others open by a click.
function fullImage(picture) {
  const isNear = picture.image_href && !/^([a-z][a-z0-9+.-]*:|\/\/)/i.test(picture.image_href);
  const source = isNear ? picture.image_href : picture.thumbnail;
  if (!source) return element("span", { class: "no-image" }, "no image here");
  const image = element("img", { src: source, alt: picture.prompt });
  if (isNear && picture.thumbnail) image.addEventListener("error", () => { image.src = picture.thumbnail; }, { once: true });
  return picture.image_href ? element("a", { href: picture.image_href, target: "_blank", rel: "noopener noreferrer" }, image) : image;
}

function command(text) {
  return element("div", { class: "command" }, element("pre", {}, element("code", {}, text)), element("button", { type: "button", class: "copy" }, "Copy"));
}

// Settings by name, where cells differ.
function cellText(cellId) {
  const cell = cellById.get(cellId);
  return cell && axes.length ? axes.map((axis) => `${axis.name} ${settingText(cell.settings[axis.name])}`).join(", ") : `cell ${cellId}`;
}

function show(prompt, cellId, about, image, more, record) {
  const close = element("button", { type: "button", class: "close", "aria-label": "Close", click: () => dialog.close() }, "×");
  const heading = element("div", {}, element("h2", { dir: "auto" }, prompt || "(empty prompt)"), element("p", { class: "quiet" }, cellText(cellId), ...about), ...more);
  const rows = Object.entries(record);
  dialog.replaceChildren(close, element("div", { class: "shown" }, ...image, heading), ...(rows.length ? [element("h3", {}, "Record"), pairs(rows)] : []));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function showPicture(picture) {
  const verify = picture.verify_command ? [element("h3", {}, "Render it again and compare"), command(picture.verify_command)] : [];
  show(picture.prompt, picture.cell_id, scoreMetric ? [", ", scoreText(picture.score)] : [], [fullImage(picture)], verify, picture.record);
  dialog.dataset.image = picture.image_id;
}

function showFailure(failure) {
  delete dialog.dataset.image;
  show(failure.prompt, failure.cell_id, [", ", failure.status], [], [element("p", {}, failure.reason)], failure.record);
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-image].tile");
  if (opener) {
    shownIn = [...opener.closest("section").querySelectorAll(".tile")];
    showPicture(pictureById.get(opener.dataset.image));
  }
  const failed = event.target.closest("[data-failure]");
  if (failed) showFailure(data.failures[Number(failed.dataset.failure)]);
  if (event.target === dialog) dialog.close();
});

dialog.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const at = shownIn.findIndex((button) => button.dataset.image === dialog.dataset.image);
  const next = shownIn[at + step];
  if (step && at >= 0 && next) showPicture(pictureById.get(next.dataset.image));
});

// --- the contact sheet: rows and columns are axes, everything else is equal

const sheetAxes = [
  ...axes.map((axis) => ({ name: axis.name, values: axis.values })),
  { name: PROMPT, values: [...prompts.keys()] },
  { name: SAMPLE, values: samples },
].filter((axis) => axis.name === PROMPT || axis.values.length > 1);
const sheetAxis = (name) => sheetAxes.find((axis) => axis.name === name);
const pictureKey = (cellId, promptId, sample) => JSON.stringify([cellId, promptId, sample]);
const pictureAt = new Map(sheetPictures.map((picture) => [pictureKey(picture.cell_id, picture.prompt_id, picture.sample_index), picture]));

const sheet = {
  columns: axes[0]?.name ?? (samples.length > 1 ? SAMPLE : null),
  rows: axes[1]?.name ?? PROMPT,
  held: { ...Object.fromEntries(axes.map((axis) => [axis.name, chosenCell?.settings[axis.name]])), [PROMPT]: [...prompts.keys()][0], [SAMPLE]: samples[0] },
};

function pictureWith(settings) {
  const cell = axes.length ? cellWith(settings) : data.cells[0];
  return cell && pictureAt.get(pictureKey(cell.id, settings[PROMPT], settings[SAMPLE]));
}

const valueText = (axis, text) => (axis.name === PROMPT ? prompts.get(text) || "(empty)" : settingText(text));
const short = (text) => (text.length > 70 ? `${text.slice(0, 69)}…` : text);

function sheetTable() {
  const [columns, rows] = [sheetAxis(sheet.columns), sheetAxis(sheet.rows)];
  // Nothing but prompts: they need no table.
  if (!columns) return element("div", { class: "tiles" }, ...sheetPictures.map((picture) => tile(picture, short(picture.prompt))));
  const head = columns.values.map((text) => element("th", { scope: "col", dir: "auto" }, short(valueText(columns, text))));
  const body = rows.values.map((text) => {
    const tiles = columns.values.map((other) => {
      const picture = pictureWith({ ...sheet.held, [rows.name]: text, [columns.name]: other });
      return element("td", {}, picture ? tile(picture) : element("span", { class: "no-image" }, "not shown"));
    });
    return element("tr", {}, element("th", { scope: "row", dir: "auto" }, short(valueText(rows, text))), ...tiles);
  });
  const corner = element("th", { scope: "col", class: "quiet" }, `${rows.name} ↓  ${columns.name} →`);
  return element("table", { class: "sheet" }, element("thead", {}, element("tr", {}, corner, ...head)), element("tbody", {}, ...body));
}

function setSheet(change) {
  Object.assign(sheet, change);
  drawSheet();
}

function sheetChoosers() {
  const names = (other) => sheetAxes.filter((axis) => axis.name !== other).map((axis) => ({ label: axis.name, value: axis.name }));
  const ofAxis = (axis) => axis.values.map((text) => ({ label: short(valueText(axis, text)), value: text }));
  const held = sheetAxes
    .filter((axis) => axis.name !== sheet.rows && axis.name !== sheet.columns)
    .map((axis) => chooser(axis.name, ofAxis(axis), sheet.held[axis.name], (text) => setSheet({ held: { ...sheet.held, [axis.name]: text } })));
  const shape = sheetAxes.length > 1
    ? [chooser("Rows", names(sheet.columns), sheet.rows, (rows) => setSheet({ rows })), chooser("Columns", names(sheet.rows), sheet.columns, (columns) => setSheet({ columns }))]
    : [];
  return element("div", { class: "choosers" }, ...shape, ...held, ...(sheet.rows === PROMPT || sheet.columns === PROMPT ? [] : [walk()]));
}

// Buttons to the prompt before and after.
function walk() {
  const all = [...prompts.keys()];
  const at = all.indexOf(sheet.held[PROMPT]);
  const to = (step) => setSheet({ held: { ...sheet.held, [PROMPT]: all[at + step] } });
  const button = (text, label, step) => element("button", { type: "button", "aria-label": label, disabled: all[at + step] === undefined, click: () => to(step) }, text);
  return element("span", { class: "walk" }, button("‹", "Previous prompt", -1), ` ${at + 1} of ${all.length} `, button("›", "Next prompt", 1));
}

function drawSheet() {
  const place = document.getElementById("sheet-place");
  if (!place) return;
  const isOne = sheet.rows !== PROMPT && sheet.columns !== PROMPT;
  const prompt = isOne ? [element("p", { class: "prompt", dir: "auto" }, prompts.get(sheet.held[PROMPT]) ?? "")] : [];
  place.replaceChildren(sheetChoosers(), ...prompt, element("div", { class: "wide" }, sheetTable()));
}

// --- picks

function drawPicks() {
  const place = document.getElementById("picks-place");
  const rows = ["best", "median", "worst"].filter((name) => data.picks[name].length);
  place?.replaceChildren(...rows.flatMap((name) => [
    element("h3", {}, name[0].toUpperCase() + name.slice(1)),
    element("div", { class: "tiles" }, ...data.picks[name].map((id) => pictureById.get(id)).map((picture) => (
      tile(picture, cellById.get(picture.cell_id).label, short(picture.prompt))))),
  ]));
}

drawSheet();
drawPicks();
whenChosen.push((cell) => setSheet({ held: { ...sheet.held, ...Object.fromEntries(axes.map((axis) => [axis.name, cell.settings[axis.name]])) } }));
