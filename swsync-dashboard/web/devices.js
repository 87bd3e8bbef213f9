// The devices: trouble first, then by group and place.

import { el, micros, NOTHING, setText, span, svg } from "./text.js";
import { isStale, state } from "./rig.js";
import { forget, thumbnailOf } from "./thumbnails.js";

const STATES = { ready: "● ready", "not-ready": "▲ not ready", silent: "✕ silent" };
const tiles = new Map();

/** By place, then by name, with numbers in it as numbers. */
function compare([a, one], [b, other]) {
  const place = (row) => row.place ?? Number.MAX_SAFE_INTEGER;
  return place(one) - place(other) || a.localeCompare(b, undefined, { numeric: true });
}

/** Headings and devices, as they are shown. */
export function arranged() {
  const all = Object.entries(state.devices).sort(compare);
  const trouble = all.filter(([, row]) => row.condition !== "ready");
  const rank = { silent: 0, "not-ready": 1 };
  trouble.sort(([, a], [, b]) => rank[a.condition] - rank[b.condition]);
  const groups = new Map();
  for (const [device, row] of all.filter(([, row]) => row.condition === "ready")) {
    const group = row.group ?? "";
    groups.set(group, [...(groups.get(group) || []), device]);
  }
  const names = [...groups.keys()].sort((a, b) => (a === "") - (b === "") || a.localeCompare(b));
  const sections = names.map((name) => [name === "" ? (names.length > 1 ? "No group" : "Ready") : name, groups.get(name)]);
  if (trouble.length) sections.unshift(["Needs attention", trouble.map(([device]) => device)]);
  return sections;
}

function makeTile(device) {
  const part = (name, kind) => el(name, { class: kind });
  const parts = { name: part("span", "name"), state: part("span", "state"), why: part("p", "why"), values: part("p", "values numbers"), more: part("p", "values numbers faint") };
  parts.trace = svg("path", { class: "trace" });
  parts.spark = svg("svg", { class: "spark", viewBox: "0 0 60 20", preserveAspectRatio: "none", role: "img" },
    svg("line", { class: "zero", x1: 0, x2: 60, y1: 10, y2: 10 }), parts.trace);
  setText(parts.name, device);
  const item = el("li", { class: "tile", "data-device": device },
    el("div", { class: "head" }, parts.name, parts.state), parts.why, thumbnailOf(device), parts.values, parts.spark, parts.more);
  return { item, parts };
}

/** The phase of the last minute; the height is at least 20 us either way. */
function spark({ trace, spark: picture }, samples) {
  const values = samples.filter((value) => value !== null && value !== undefined);
  const most = Math.max(20, ...values.map(Math.abs));
  let path = "";
  let pen = "M";
  samples.forEach((value, index) => {
    if (value === null || value === undefined) { pen = "M"; return; }
    const x = 60 - samples.length + index + 0.5;
    path += `${pen}${x.toFixed(1)} ${(10 - (9 * value) / most).toFixed(2)}`;
    pen = "L";
  });
  trace.setAttribute("d", path);
  picture.setAttribute("aria-label", values.length ? `phase error of the last minute, within ${micros(Math.max(...values.map(Math.abs)))}` : "no phase error is known");
}

function fill(device, row) {
  const { item, parts } = tiles.get(device);
  item.className = `tile ${row.condition}`;
  const age = row.condition === "silent" && row.silent_s !== null ? ` ${span(row.silent_s)}` : "";
  setText(parts.state, isStale() ? "? not known" : STATES[row.condition] + age);
  const why = [...row.problems, ...row.warnings.map((warning) => `⚠ ${warning}`)];
  setText(parts.why, why.join("; "));
  parts.why.hidden = why.length === 0;
  const was = row.condition === "silent" ? "last: " : "";
  // Without a bound there is the clock's error alone, and it is called that.
  const clock = row.bound_us !== null ? `± ${micros(row.bound_us)}` : `clock 1σ ${micros(row.clock_us)}`;
  values(parts.values, [`${was}${row.lock ?? "no camera"}`, `${row.clock ?? "no clock"}`, clock, row.phase_us === null ? null : `phase ${micros(row.phase_us)}`]);
  const place = [row.group, row.place].filter((part) => part !== null && part !== undefined).join(" ");
  values(parts.more, [
    place || null,
    row.fps === null ? null : `${row.fps} fps`,
    row.missed ? `${row.missed} missed` : null,
    row.ring_s === null ? null : `ring ${row.ring_s.toFixed(1)} s`,
    row.left_s === null ? null : `left ${span(row.left_s)}`,
    row.celsius === null ? null : `${row.celsius} °C`,
    row.signal_dbm === null ? null : `${row.signal_dbm} dBm`,
    row.version === null ? null : `v${row.version}`,
  ]);
  spark(parts, state.history.get(device) || []);
}

function values(parent, texts) {
  const shown = texts.filter((text) => text !== null);
  while (parent.children.length > shown.length) parent.lastChild.remove();
  shown.forEach((text, index) => {
    const child = parent.children[index] || parent.appendChild(el("span"));
    setText(child, text);
  });
}

let shown = "";

export function renderDevices() {
  const root = document.getElementById("devices");
  root.classList.toggle("stale", isStale());
  root.classList.toggle("many", Object.keys(state.devices).length > 24);
  const sections = arranged();
  for (const device of tiles.keys()) if (!state.devices[device]) { tiles.delete(device); forget(device); }
  for (const device of Object.keys(state.devices)) if (!tiles.has(device)) tiles.set(device, makeTile(device));
  // Tiles move only if the arrangement has changed.
  const arrangement = JSON.stringify(sections);
  if (arrangement !== shown || root.childElementCount === 0) {
    shown = arrangement;
    root.replaceChildren(...sections.flatMap(([title, devices]) => [
      el("h3", {}, `${title} (${devices.length})`),
      el("ul", { class: "tiles" }, devices.map((device) => tiles.get(device).item)),
    ]));
    if (sections.length === 0) root.replaceChildren(el("p", { class: "faint" }, state.rig && state.rig.not_found ? "No device was found yet." : "No devices."));
  }
  for (const [device, row] of Object.entries(state.devices)) fill(device, row);
  renderNotes();
}

function renderNotes() {
  const rig = state.rig;
  if (!rig) return;
  const notes = [
    ...(rig.not_found ? [["bad", rig.not_found]] : []),
    ...rig.differences.map((text) => ["bad", text]),
    ...rig.notices.map((text) => ["warn", text]),
    ...(rig.open ? [["faint", "Open rig: it has no key, so everybody on its network is part of it (swsync key new makes one)."]] : []),
  ];
  const root = document.getElementById("rig-notes");
  const text = JSON.stringify(notes);
  if (root.dataset.text === text) return;
  root.dataset.text = text;
  root.replaceChildren(...notes.map(([kind, note]) => el("p", { class: kind }, note)));
}

export { NOTHING };
