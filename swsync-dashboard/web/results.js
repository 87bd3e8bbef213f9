// What became of orders: device by device, with pictures of that very instant side by side.

import { el, micros, nanos, plural, size, timeOfDay } from "./text.js";
import { moment } from "./date.js";
import { on, state } from "./rig.js";
import { pressed } from "./shutter.js";

const WIDTH = 320;
/** Results that are shown; the takes have all. */
const SHOWN = 4;
const chosen = new Map();

export const pictureOf = (order, device, file, width = WIDTH) =>
  `/api/v1/takes/${order}/devices/${device}/file?path=${encodeURIComponent(file.split("/").pop())}&width=${width}`;

/** The frames of an answer that have a picture of their own. */
const saved = (answer) => (answer.frames || []).filter((run) => run.fate === "saved");
const isPicture = (file) => /\.jpe?g$/i.test(file);

/** A picture, or in words why there is none. */
export function picture(address, text, onend = () => {}, instead = "") {
  const box = el("div", { class: "picture" });
  const image = el("img", { src: address, alt: text, decoding: "async" });
  image.addEventListener("load", onend);
  image.addEventListener("error", async () => {
    let why = "The picture cannot be shown";
    try {
      const answer = await (await fetch(address)).json();
      if (answer.error) why = answer.error.message;
    } catch { /* the text above is all that is known */ }
    box.replaceChildren(instead || why);
    onend();
  });
  box.append(image);
  return box;
}

function missedText(answer) {
  const why = (answer.frames || []).map((run) => run.why).filter(Boolean);
  return [...new Set(why), answer.unnumbered, answer.unfinished, answer.why].filter(Boolean).join("; ") || "nothing saved";
}

function summary(answer) {
  if (answer.outcome === "no-answer") return `NO ANSWER: ${answer.why}`;
  if (answer.outcome === "refused") return `REFUSED: ${answer.why}`;
  let [good, bad, bytes] = [0, 0, 0];
  for (const run of answer.frames) {
    const count = run.count ?? 1;
    if (run.fate === "saved" || run.fate === "recorded") { good += count; bytes += run.bytes; }
    else if (run.fate === "partly") { good += run.saved; bad += run.lost; bytes += run.bytes; }
    else bad += count;
  }
  return `${plural(good, "frame")} saved${bad ? `, ${bad} MISSED: ${missedText(answer)}` : ""}, ${size(bytes)}`;
}

function figure(order, answer, number, onend) {
  const run = number === null ? undefined : saved(answer).find((run) => run.info.number === number);
  const facts = [];
  let box;
  if (run && isPicture(run.file)) {
    box = picture(pictureOf(order.order, answer.device, run.file), `frame ${number} of ${answer.device}`, onend);
    facts.push(`phase ${nanos(run.info.phase_error_ns)}`, `clock 1σ ${nanos(run.info.clock_uncertainty_ns)}`);
  } else {
    const lost = answer.outcome !== "answered" || (answer.frames || []).some((run) => ["missed", "failed", "partly"].includes(run.fate));
    const shown = still(order, answer, onend);
    if (shown) {
      box = shown[0];
      facts.push(shown[1]);
    } else {
      box = el("div", { class: lost ? "picture missed" : "picture" }, lost ? `✕ ${missedText(answer)}` : "saved; its frames are in the take");
      onend();
    }
  }
  return el("figure", { "data-result": answer.device }, box,
    el("figcaption", { class: "numbers" }, el("b", {}, answer.device), el("span", {}, summary(answer)),
      facts.length ? el("span", { class: "faint" }, facts.join(" · ")) : null));
}

function numbers(order) {
  const all = new Set(order.answers.flatMap((answer) => saved(answer).map((run) => run.info.number)));
  return [...all].sort((a, b) => a - b);
}

/** A still of a video: its first picture, or what the device's ring still has of its end. */
function still(order, answer, onend) {
  const run = (answer.frames || []).findLast((run) => run.fate === "recorded");
  if (!run) return null;
  const words = "saved; its frames are in the take";
  if (isPicture(run.file)) return [picture(pictureOf(order.order, answer.device, run.file), `the first frame of ${answer.device}`, onend, words), `frame ${run.number}`];
  const last = run.last ?? run.number;
  return [picture(`/api/v1/devices/${answer.device}/thumbnail?width=${WIDTH}&frame=${last}`, `the end of the video of ${answer.device}`, onend, words), "near its end"];
}

/** All that is known of an order. */
function card(order) {
  const all = numbers(order);
  const number = all.length ? chosen.get(order.order) ?? all[0] : null;
  const grid = el("div", { class: "frames" });
  const at = pressed.get(order.order);
  const sorted = [...order.answers].sort((a, b) => a.device.localeCompare(b.device, undefined, { numeric: true }));
  const known = figures.get(order.order) || new Map();
  figures.set(order.order, known);
  for (const answer of sorted) {
    const key = `${answer.device} ${number}`;
    if (!known.has(key)) {
      const entry = { isShown: false };
      known.set(key, entry);
      // The card that it is in then may be a later one.
      entry.figure = figure(order, answer, number, () => { entry.isShown = true; if (entry.figure) entry.figure.dispatchEvent(new Event("shown", { bubbles: true })); });
    }
    grid.append(known.get(key).figure);
  }
  // Also for whoever watches: how long it took until all pictures were there.
  const measure = () => {
    const all = sorted.every((answer) => known.get(`${answer.device} ${number}`).isShown);
    if (all && order.stage === "done" && at !== undefined && !grid.dataset.elapsed) grid.dataset.elapsed = String(Math.round(performance.now() - at));
  };
  grid.addEventListener("shown", measure);
  measure();
  for (const device of order.waiting) {
    if (order.stage === "running") break;
    grid.append(el("figure", { "data-waiting": device }, el("div", { class: "picture" }, order.stage === "done" ? "no answer" : "writing…"), el("figcaption", {}, el("b", {}, device))));
  }
  const bounds = order.document ? order.document.bounds : null;
  const bad = order.document && !order.document.complete;
  const facts = [
    state.rig && state.rig.date ? moment(order.at_ms, state.rig.date, timeOfDay) : el("span", {}, timeOfDay(order.given_ms)),
    el("span", { class: order.stage === "done" ? (bad || !order.document ? "bad" : "good") : "faint" }, order.verdict || (order.stage === "running" ? "under way" : `${order.answers.length} answers, ${order.waiting.length} to come`)),
    order.spread_ns === null ? null : el("span", {}, `spread ${nanos(order.spread_ns)} by their stamps`),
    bounds ? el("span", { class: bounds.worst_ns === null || !bounds.passes ? "warn" : "" }, bounds.worst_ns === null ? "how far apart is not proven" : `at most ${micros(bounds.worst_ns / 1000)} apart, proven${bounds.passes ? "" : `: more than the limit of ${micros(bounds.max_error_ns / 1000)}`}`) : null,
  ];
  const notes = [...order.problems, ...(order.document ? order.document.differences : [])];
  const scrub = all.length > 1 ? el("label", {}, el("span", {}, `Frame ${all.indexOf(number) + 1} of ${all.length}`),
    el("input", { type: "range", min: 0, max: all.length - 1, value: all.indexOf(number), oninput: (event) => { chosen.set(order.order, all[event.target.value]); render(order, true); } })) : null;
  return el("article", { class: "card result", "data-order": order.order, "data-stage": order.stage },
    el("h3", {}, el("a", { href: `#takes/${order.order}` }, order.order)),
    el("p", { class: "facts numbers" }, facts), ...notes.map((note) => el("p", { class: "bad" }, note)), scrub, grid);
}

const figures = new Map();

function render(order, keepsFocus = false) {
  const root = document.getElementById("results");
  const before = root.querySelector(`[data-order="${CSS.escape(order.order)}"]`);
  const now = card(order);
  const elapsed = before && before.querySelector(".frames").dataset.elapsed;
  if (elapsed) now.querySelector(".frames").dataset.elapsed = elapsed;
  if (before) before.replaceWith(now); else root.prepend(now);
  if (keepsFocus) { const range = now.querySelector("input[type=range]"); if (range) range.focus(); }
  while (root.childElementCount > SHOWN) root.lastChild.remove();
}

export function startResults() {
  on("order", (order) => render(order));
  on("change", ({ all }) => {
    if (!all) return;
    const root = document.getElementById("results");
    for (const shown of [...root.children]) if (!state.orders.has(shown.dataset.order)) shown.remove();
  });
}
