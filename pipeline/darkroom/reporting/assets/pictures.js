// Single pictures: tiles, the dialog with an image's full record, keys that walk from one to the next, and picks.
"use strict";

const pictureById = new Map(data.pictures.map((picture) => [picture.image_id, picture]));

// --- one picture

function thumbnail(picture) {
  if (!picture.thumbnail) return element("span", { class: "no-image" }, "no thumbnail");
  return element("img", { src: picture.thumbnail, alt: picture.prompt, loading: "lazy", decoding: "async", width: 256, height: 256 });
}

// A video's tile is one of its frames.
const isVideo = (picture) => picture.record.num_frames !== undefined;
const plays = (href) => /\.(mp4|webm)$/i.test(href);

// lines: what stands below the score
function tile(picture, ...lines) {
  const scored = scoreMetric ? [element("strong", {}, scoreText(picture.score))] : [];
  const caption = [...scored, ...lines.map((line) => element("span", { dir: "auto" }, line))];
  const badge = isVideo(picture) ? [element("span", { class: "plays", "aria-label": "video" }, "▶")] : [];
  const button = element("button", { type: "button", class: "tile", "data-image": picture.image_id }, thumbnail(picture), ...badge);
  return element("figure", {}, button, element("figcaption", {}, ...caption));
}

// --- the dialog

const dialog = document.getElementById("picture");
let shownIn = null; // the section whose tiles the arrow keys walk

function pairs(entries) {
  return element("dl", {}, ...entries.map(([name, text]) => element("div", {}, element("dt", {}, name), element("dd", { dir: "auto" }, String(text)))));
}

// Only an image beside the report is shown whole here; others open by a click.
function fullImage(picture) {
  const isNear = picture.image_href && !/^([a-z][a-z0-9+.-]*:|\/\/)/i.test(picture.image_href);
  const source = isNear ? picture.image_href : picture.thumbnail;
  if (!source) return element("span", { class: "no-image" }, "no image here");
  if (isNear && plays(source)) {
    const options = { loop: true, controls: true, autoplay: true, playsinline: true };
    const video = element("video", { src: source, poster: picture.thumbnail, "aria-label": picture.prompt, ...options });
    video.muted = true; // else it would not play by itself
    return video;
  }
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
  remember({ image: picture.image_id });
}

function showFailure(failure) {
  delete dialog.dataset.image;
  show(failure.prompt, failure.cell_id, [", ", failure.status], [], [element("p", {}, failure.reason)], failure.record);
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-image].tile");
  if (opener) {
    shownIn = opener.closest("section");
    showPicture(pictureById.get(opener.dataset.image));
  }
  const failed = event.target.closest("[data-failure]");
  if (failed) showFailure(data.failures[Number(failed.dataset.failure)]);
  if (event.target === dialog) dialog.close();
});

dialog.addEventListener("close", () => {
  dialog.querySelector("video")?.pause();
  remember({ image: null });
  tileOf(dialog.dataset.image)?.focus();
});

// --- keys

const tilesOf = (place) => [...(place?.querySelectorAll(".tile") ?? [])];
const tileOf = (id) => tilesOf(shownIn).find((tile) => tile.dataset.image === id);

// The tile beside another one: left and right in reading order, up and down in the nearest column of the next row.
function beside(tile, key) {
  const all = tilesOf(tile.closest("section"));
  const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
  if (step) return all[all.indexOf(tile) + step];
  const from = tile.getBoundingClientRect();
  const way = { ArrowDown: 1, ArrowUp: -1 }[key];
  const distance = (other) => {
    const to = other.getBoundingClientRect();
    return way * (to.top - from.top) > from.height / 2 ? Math.abs(to.top - from.top) * 1000 + Math.abs(to.left - from.left) : Infinity;
  };
  const nearest = all.reduce((one, other) => (distance(other) < distance(one) ? other : one), tile);
  return nearest === tile ? undefined : nearest;
}

function walkTiles(event) {
  const tile = dialog.open ? tileOf(dialog.dataset.image) : event.target.closest?.(".tile");
  const next = tile && beside(tile, event.key);
  if (!next) return;
  event.preventDefault();
  if (dialog.open) showPicture(pictureById.get(next.dataset.image));
  else next.focus();
}

const WRITING = "input:not([type=checkbox]), select, textarea";
const keys = Object.fromEntries(["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"].map((name) => [name, walkTiles])); // name -> what it does

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(WRITING)) return;
  keys[event.key]?.(event);
});

// --- picks

function drawPicks() {
  const place = document.getElementById("picks-place");
  const picked = (name) => data.picks[name].map((id) => pictureById.get(id)).filter((picture) => isAskedFor(picture.prompt));
  const rows = ["best", "median", "worst"].filter((name) => picked(name).length);
  place?.replaceChildren(...rows.flatMap((name) => [
    element("h3", {}, name[0].toUpperCase() + name.slice(1)),
    element("div", { class: "tiles" }, ...picked(name).map((picture) => (
      tile(picture, cellById.get(picture.cell_id).label, short(picture.prompt))))),
  ]));
}
