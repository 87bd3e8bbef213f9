// Clock and phase of chosen devices over the last minutes.

import { el, micros, setText, svg, timeOfDay } from "./text.js";
import { api, isStale, serverNow, state } from "./rig.js";
import { ceiling, wedge } from "./wedge.js";

const COLORS = 6;
const MINUTES = 10;
/** Devices whose exchanges can be asked for at once. */
const MOST_WEDGES = 16;
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [640, 190, 64, 22];
const PLOTS = [
  ["Phase error: a frame's time minus its grid instant", 1, true],
  ["Clock: what its error may be, 1σ", 2, false],
  ["Round trip to the time server: delays beyond the least make an asymmetry possible", 3, false],
];
let chosen = null;
let timer = null;

function line(samples, index, x, y) {
  let path = "";
  let pen = "M";
  for (const sample of samples) {
    const value = sample[index];
    if (value === null) { pen = "M"; continue; }
    path += `${pen}${x(sample[0]).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
  }
  return path;
}

function plot(title, index, isSigned, history) {
  const values = Object.values(history).flat().map((sample) => sample[index]).filter((value) => value !== null);
  const most = ceiling(Math.max(1, ...values.map(Math.abs)));
  const least = isSigned ? -most : 0;
  const now = serverNow();
  const x = (at) => LEFT + (WIDTH - LEFT) * (1 - (now - at) / (MINUTES * 60_000));
  const y = (value) => 8 + (HEIGHT - BOTTOM - 8) * (1 - (value - least) / (most - least));
  const picture = svg("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": values.length ? `${title}: up to ${micros(Math.max(...values.map(Math.abs)))}` : `${title}: nothing is known` });
  for (const value of [least, (least + most) / 2, most]) {
    const label = svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" });
    label.textContent = micros(value);
    picture.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }), label);
  }
  for (let minute = 0; minute <= MINUTES; minute += 2) {
    const label = svg("text", { x: Math.min(x(now - minute * 60_000), WIDTH - 14), y: HEIGHT - 6, "text-anchor": "middle" });
    label.textContent = minute === 0 ? "now" : `−${minute} min`;
    picture.append(label);
  }
  Object.entries(history).forEach(([, samples], color) => {
    const recent = samples.filter((sample) => now - sample[0] < MINUTES * 60_000);
    picture.append(svg("path", { class: `trace c${color % COLORS}`, d: line(recent, index, x, y) }));
  });
  return el("div", { class: "card" }, el("h3", {}, title), picture);
}

async function draw() {
  const root = document.getElementById("plots");
  const holder = root.querySelector(".drawn");
  if (!holder || !chosen.size) { if (holder) holder.replaceChildren(el("p", { class: "faint" }, "Choose devices.")); return; }
  try {
    const devices = [...chosen];
    // The colours of both follow the devices by name.
    const told = devices.slice(0, MOST_WEDGES);
    const [history, exchanges] = await Promise.all([api("GET", `/api/v1/history?devices=${devices.join(",")}`), api("GET", `/api/v1/exchanges?devices=${told.join(",")}`)]);
    const ofAll = Object.fromEntries(Object.keys(history).map((device) => [device, exchanges[device] ?? { exchanges: [], problem: null }]));
    const legend = el("p", { class: "legend" }, Object.keys(history).map((device, color) => el("span", {}, el("span", { class: `dash c${color % COLORS}`, "aria-hidden": "true" }, "━ "), device)));
    holder.replaceChildren(legend, ...PLOTS.map(([title, index, isSigned]) => plot(title, index, isSigned, history)),
      wedge(ofAll),
      el("p", { class: "faint" }, `As of ${timeOfDay(serverNow())}. Gaps: the device did not answer.`));
  } catch (error) {
    setText(holder, isStale() ? "The dashboard does not answer." : error.message);
  }
}

export function showPlots() {
  const root = document.getElementById("plots");
  const devices = Object.keys(state.devices).sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  chosen ??= new Set(devices.slice(0, 5));
  const box = (device) => el("label", { class: "check" }, el("input", { type: "checkbox", checked: chosen.has(device), onchange: (event) => { if (event.target.checked) chosen.add(device); else chosen.delete(device); draw(); } }), device);
  root.replaceChildren(el("details", { class: "card", open: devices.length <= 12 }, el("summary", {}, `Devices (${devices.length})`), el("div", { class: "row" }, devices.map(box))), el("div", { class: "drawn" }));
  draw();
  clearInterval(timer);
  timer = setInterval(draw, 2000);
}

export function hidePlots() {
  clearInterval(timer);
}
