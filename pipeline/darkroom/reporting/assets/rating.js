// Shows blind pairs one by one, keeps votes in this browser, and gives them as a file of JSON lines.
// `study`, of pairs.js: {id, question, pairs: [{prompt, left, right}]}, images by their paths.
"use strict";

const KEYS = { ArrowLeft: "left", 1: "left", ArrowRight: "right", 2: "right", ArrowDown: "tie", t: "tie", s: "skip", ArrowUp: "back", Backspace: "back" };
const STORED = `darkroom-study-${study.id}`;
const byId = (id) => document.getElementById(id);
const choices = [...document.querySelectorAll("[data-choice]")];
let state = read();
let at = firstWithout();
let seenAt = null; // when both images of the pair were there; null: they are not

function fresh() {
  const noise = crypto.getRandomValues(new Uint32Array(2));
  return { name: "", session: [...noise].map((part) => part.toString(16).padStart(8, "0")).join(""), votes: {} };
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(STORED)) ?? fresh();
  } catch {
    return fresh();
  }
}

function keep() {
  try {
    localStorage.setItem(STORED, JSON.stringify(state));
  } catch {
    byId("storage").hidden = false;
  }
}

function firstWithout() {
  const found = study.pairs.findIndex((_, place) => !state.votes[place]);
  return found < 0 ? study.pairs.length : found;
}

async function show() {
  const isEnd = at >= study.pairs.length;
  const count = Object.keys(state.votes).length;
  byId("pair").hidden = isEnd;
  byId("end").hidden = !isEnd;
  byId("progress").max = study.pairs.length;
  byId("progress").value = count;
  byId("count").textContent = isEnd ? `${count} of ${study.pairs.length} pairs` : `${at + 1} of ${study.pairs.length}`;
  byId("back").disabled = at === 0;
  byId("download").disabled = count === 0;
  byId("fault").hidden = true;
  seenAt = null;
  if (isEnd) {
    enable();
    document.querySelector("#end h2").focus();
    return;
  }
  const shown = at;
  const focused = document.activeElement; // a button that is disabled for a moment loses it
  byId("prompt").textContent = study.pairs[at].prompt;
  for (const side of ["left", "right"]) byId(side).src = study.pairs[at][side];
  enable();
  try {
    await Promise.all([byId("left").decode(), byId("right").decode()]);
    if (at === shown) seenAt = performance.now();
  } catch {
    if (at === shown) byId("fault").hidden = false;
  }
  if (at === shown) {
    enable();
    if (focused?.dataset.choice) focused.focus();
  }
  const next = study.pairs[shown + 1];
  if (next) for (const side of ["left", "right"]) new Image().src = next[side];
}

// Without both images there is nothing to choose; a pair may be skipped at any time.
function enable() {
  for (const button of choices) {
    const { choice } = button.dataset;
    button.disabled = at >= study.pairs.length || (choice !== "skip" && seenAt === null);
    button.classList.toggle("chosen", state.votes[at]?.choice === choice);
  }
}

function vote(choice) {
  if (at >= study.pairs.length || (choice !== "skip" && seenAt === null)) return;
  const seconds = seenAt === null ? null : Math.round(performance.now() - seenAt) / 1000;
  state.votes[at] = { choice, seconds };
  keep();
  at += 1;
  show();
}

function back() {
  if (at === 0) return;
  at -= 1;
  show();
}

function download() {
  const rater = state.name.trim() || `anonymous-${state.session}`;
  const lines = Object.entries(state.votes).map(([place, { choice, seconds }]) =>
    JSON.stringify({ study: study.id, pair: Number(place), choice, rater, seconds }));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines.map((line) => `${line}\n`), { type: "application/x-ndjson" }));
  link.download = `votes-${study.id}-${rater.replace(/[^A-Za-z0-9]+/g, "-")}.jsonl`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function restart() {
  if (Object.keys(state.votes).length && !confirm("Forget the votes of this rater? Download them first.")) return;
  state = fresh();
  keep();
  byId("rater").value = "";
  at = 0;
  show();
}

for (const button of choices) button.addEventListener("click", () => vote(button.dataset.choice));
byId("back").addEventListener("click", back);
byId("download").addEventListener("click", download);
byId("restart").addEventListener("click", restart);
byId("rater").value = state.name;
byId("rater").addEventListener("input", (event) => { state.name = event.target.value; keep(); });
document.addEventListener("keydown", (event) => {
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, #prompt")) return;
  event.preventDefault();
  if (act === "back") back();
  else vote(act);
});
byId("question").textContent = study.question;
keep();
show();
