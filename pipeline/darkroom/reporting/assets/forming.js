// How pictures form: two cells' strips of one prompt side by side, and a reference image that dissolves in noise.
"use strict";

const formingPlace = document.getElementById("forming-place");
const strips = data.forming?.strips ?? [];
const stripAt = new Map(strips.map((strip) => [JSON.stringify([strip.cell_id, strip.prompt_id]), strip]));
const stripOf = (cellId, promptId) => stripAt.get(JSON.stringify([cellId, promptId]));
const formingPrompts = new Map(strips.map((strip) => [strip.prompt_id, strip.prompt]));
const formingCells = data.cells.filter((cell) => strips.some((strip) => strip.cell_id === cell.id));

// The two ends of guidance, or of the first axis, all else as in the chosen cell; else the first and last cell.
function ends() {
  const axis = byName("guidance_scale") ?? axes[0];
  const inReach = axis ? axis.values.map((value) => cellWith({ ...chosenCell?.settings, [axis.name]: value })).filter((cell) => formingCells.includes(cell)) : [];
  const among = inReach.length > 1 ? inReach : formingCells;
  return [among[0], among[among.length - 1]];
}

const [leftUsual, rightUsual] = ends().map((cell) => cell?.id);
const forming = {
  prompt: remembered("forming.prompt", [...formingPrompts.keys()], [...formingPrompts.keys()][0]),
  left: remembered("forming.left", formingCells.map((cell) => cell.id), leftUsual),
  right: remembered("forming.right", formingCells.map((cell) => cell.id), rightUsual),
};

function setForming(change) {
  Object.assign(forming, change);
  remember({
    "forming.prompt": forming.prompt === [...formingPrompts.keys()][0] ? null : forming.prompt,
    "forming.left": forming.left === leftUsual ? null : forming.left,
    "forming.right": forming.right === rightUsual ? null : forming.right,
  });
  drawForming();
}

const symbol = (letter, below) => element("i", {}, letter, element("sub", {}, below));
const sigmaText = (sigma) => (sigma >= 100 ? sigma.toFixed(0) : sigma.toFixed(sigma >= 10 ? 1 : 2));

// Above each column its step, the timestep and the noise.
function stepHead(about) {
  if (about.step === null) return element("span", {}, element("b", {}, "image"));
  const timestep = Number.isInteger(about.timestep) ? about.timestep : about.timestep.toFixed(0);
  return element("span", {}, element("b", {}, String(about.step)), element("span", {}, `t ${timestep}`), element("span", {}, `σ ${sigmaText(about.sigma)}`));
}

// rows: [label, its words] of each row of pictures.
function stripFigure(heading, strip, picture, rows, href) {
  const columns = strip.steps.length;
  const image = element("img", { src: picture, loading: "lazy", decoding: "async", width: columns * strip.width, height: rows.length * strip.height,
    alt: `${heading}: ${rows.map(([, words]) => words).join(", then ")}, at ${columns - 1} steps and of the finished image` });
  const attributes = { class: rows.length > 1 ? "strip-shown strip-pairs" : "strip-shown" };
  const shown = href ? element("a", { ...attributes, href, target: "_blank", rel: "noopener noreferrer", title: "Open the stored pictures" }, image) : element("span", attributes, image);
  const labels = element("div", { class: "strip-rows" }, ...rows.map(([label, words]) => element("span", { title: words }, label)));
  const heads = element("div", { class: "strip-heads" }, ...strip.steps.map(stepHead));
  return element("figure", { class: "strip", style: `--columns: ${columns}` }, element("figcaption", { dir: "auto" }, heading),
    element("span", { class: "strip-corner" }, "step"), heads, labels, shown);
}

function cellStrip(cellId) {
  const strip = stripOf(cellId, forming.prompt);
  const label = axes.length ? cellText(cellId) : "x_t and predicted x_0";
  if (!strip) return element("p", { class: "quiet" }, `${label}: no trajectory of this prompt`);
  const rows = [[symbol("x", "t"), "x_t"], [symbol("x̂", "0"), "predicted x_0"]];
  return stripFigure(label, strip, strip.picture, rows, strip.href);
}

function referenceStrip(cellId) {
  const strip = stripOf(cellId, forming.prompt);
  if (!strip?.noised) return [];
  return [stripFigure(`Forward noising of a reference image (${data.forming.reference})`, strip, strip.noised, [[symbol("x", "t"), "the reference image with noise"]], null)];
}

function formingChoosers() {
  const prompts = [...formingPrompts].map(([id, text]) => ({ label: short(text || "(empty)"), value: id }));
  const cells = formingCells.map((cell) => ({ label: axes.length > 1 ? cell.label : cellText(cell.id), value: cell.id }));
  const ofCell = (name, side) => chooser(name, cells, forming[side], (id) => setForming({ [side]: id }));
  return element("div", { class: "choosers" },
    ...(prompts.length > 1 ? [chooser("prompt", prompts, forming.prompt, (prompt) => setForming({ prompt }))] : []),
    ...(cells.length > 1 ? [ofCell("left", "left"), ofCell("right", "right")] : []));
}

function drawForming() {
  const shown = [...new Set([forming.left, forming.right])];
  formingPlace?.replaceChildren(formingChoosers(), element("p", { class: "prompt", dir: "auto" }, formingPrompts.get(forming.prompt) ?? ""),
    element("div", { class: "strips" }, ...shown.map(cellStrip), ...referenceStrip(forming.left)));
}

if (strips.length) drawForming();
