// The shutter: what it takes, whether it may, and what is under way.

import { el, explain, plural, setText, timer } from "./text.js";
import { api, isStale, on, rigNow, state, tellAgain } from "./rig.js";

const $ = (id) => document.getElementById(id);
/** When the button was pressed, by order: for the time until the last picture is shown. */
export const pressed = new Map();
let busy = false;
let problem = null;

const mode = () => document.querySelector("input[name=mode]:checked").value;

/** The devices that the order would be for. */
function targets() {
  const to = $("to").value;
  const all = Object.entries(state.devices);
  return to === "" ? all : all.filter(([device, row]) => device === to || row.group === to);
}

/** What can be stopped: orders given here, and those that devices report, whoever gave them. */
function running() {
  const now = rigNow();
  const all = new Map();
  for (const row of Object.values(state.devices)) {
    if (row.condition === "silent") continue;
    for (const open of row.open) {
      const known = all.get(open.order) || { order: open.order, at: open.at_ms, saved: 0, lost: 0, devices: 0, endless: open.named === null };
      known.saved += open.saved;
      known.lost += open.lost;
      known.devices += 1;
      all.set(open.order, known);
    }
  }
  for (const order of state.orders.values()) {
    if (order.stage !== "running") { all.delete(order.order); continue; }
    const known = all.get(order.order) || { order: order.order, saved: 0, lost: 0, devices: 0 };
    all.set(order.order, { ...known, at: order.at_ms, stop: order.stop_ms, endless: order.stoppable, own: true });
  }
  return [...all.values()].filter((one) => one.endless || one.own).map((one) => ({ ...one, since: now === null ? null : now - one.at }));
}

/** Why nothing can be taken at all, or null. */
function blocked() {
  if (isStale()) return "What the rig can do is not known: the dashboard does not answer.";
  if (state.readOnly) return "This page is for spectators: it changes nothing.";
  if (state.rig.not_found) return "No rig was found yet.";
  if (targets().length === 0) return "There is no such camera in the rig.";
  if (rigNow() === null) return "No device knows rig time yet.";
  return null;
}

export function renderShutter() {
  const button = $("shutter");
  const why = blocked();
  const all = targets();
  const ready = all.filter(([, row]) => row.condition === "ready");
  const partly = why === null && ready.length < all.length;
  $("anyway-line").hidden = !partly || ready.length === 0;
  setText($("anyway-text"), `Go on with the ${plural(ready.length, "camera")} that ${ready.length === 1 ? "is" : "are"} ready`);
  const recording = running().find((one) => one.endless);
  const stops = mode() === "record" && recording !== undefined;
  button.disabled = busy || (stops ? isStale() || state.readOnly : why !== null || (partly && !($("anyway").checked && ready.length > 0)));
  button.dataset.stops = stops ? recording.order : "";
  setText($("shutter-text"), stops ? "Stop" : busy ? "Wait" : { photo: "Shoot", burst: "Burst", record: "Record" }[mode()]);
  setText($("shutter-timer"), stops && recording.since !== null ? (recording.since < 0 ? `in ${timer(-recording.since)}` : timer(recording.since)) : "");
  renderReadiness(why, all, ready);
  renderRunning();
}

function renderReadiness(why, all, ready) {
  const lines = [];
  if (problem) lines.push(["bad", problem]);
  if (why) lines.push(["bad", why]);
  else if (ready.length === all.length) lines.push(["good", all.length === 1 ? "The camera is ready." : `All ${all.length} cameras are ready.`]);
  else lines.push(["warn", `${all.length - ready.length} of ${plural(all.length, "camera")} not ready:`]);
  const unready = why ? [] : all.filter(([, row]) => row.condition !== "ready");
  const text = JSON.stringify([lines, unready.map(([device, row]) => [device, row.problems])]);
  const root = $("readiness");
  if (root.dataset.text === text) return;
  root.dataset.text = text;
  root.replaceChildren(
    ...lines.map(([kind, line]) => el("p", { class: kind }, line)),
    ...(unready.length ? [el("ul", {}, unready.slice(0, 12).map(([device, row]) => el("li", {}, el("b", {}, device), `: ${row.problems.join("; ")}`)),
      unready.length > 12 ? el("li", {}, `and ${unready.length - 12} more`) : null)] : []),
  );
}

let shownRunning = "";

function renderRunning() {
  const root = $("open-orders");
  const all = running();
  const names = all.map((one) => one.order).join(" ") + state.readOnly;
  if (names !== shownRunning) {
    shownRunning = names;
    root.replaceChildren(...all.map((one) => el("div", { class: "card", "data-open": one.order },
      el("h3", {}, one.order), el("p", { class: "numbers progress" }),
      el("p", { class: "row" },
        el("button", { type: "button", disabled: state.readOnly, onclick: () => end(one.order, "stop") }, "Stop"),
        el("button", { type: "button", disabled: state.readOnly, onclick: () => end(one.order, "cancel") }, "Cancel")))));
  }
  for (const one of all) {
    const line = root.querySelector(`[data-open="${CSS.escape(one.order)}"] .progress`);
    const since = one.since === null ? "" : one.since < 0 ? `begins in ${timer(-one.since)}` : `running for ${timer(one.since)}`;
    const lost = one.lost ? `, ${one.lost} LOST` : "";
    if (line) setText(line, `${since}; ${plural(one.saved, "frame")} saved${lost} on ${plural(one.devices, "device")} so far`);
  }
}

async function end(order, how) {
  problem = null;
  try {
    const { problems } = await api("POST", `/api/v1/orders/${order}/${how}`, {});
    if (problems.length) problem = problems.join("; ");
  } catch (error) {
    problem = explain(error);
  }
  renderShutter();
}

/** The order as the API wants it. */
function request() {
  const body = {};
  const [word, length] = $("when").value.split(" ");
  const to = $("to").value;
  if (to) body.to = [to];
  body.need = $("anyway").checked && !$("anyway-line").hidden ? "1" : "all";
  if (body.need === "1") body.to = targets().filter(([, row]) => row.condition === "ready").map(([device]) => device);
  if (mode() === "record") {
    if (word === "in" && length !== "0s") body.in = length;
    return ["/api/v1/record", body];
  }
  body[word] = length;
  if (mode() === "burst") body.count = Number($("count").value) || 10;
  const every = Number($("every").value);
  if (every > 0) {
    body.every = `${Math.round(every * 1000)}ms`;
    const times = Number($("times-repeated").value);
    if (times > 0) body.count = times; else delete body.count;
  }
  return ["/api/v1/shoot", body];
}

async function press() {
  const button = $("shutter");
  if (button.disabled) return;
  if (button.dataset.stops) { busy = true; renderShutter(); await end(button.dataset.stops, "stop"); busy = false; renderShutter(); return; }
  const at = performance.now();
  [busy, problem] = [true, null];
  renderShutter();
  try {
    const [path, body] = request();
    const { order } = await api("POST", path, body);
    pressed.set(order, at);
    // All of it may have been told before this answer came.
    tellAgain(order);
  } catch (error) {
    // Devices that are not ready come as a document of their own.
    const unready = (error.devices || []).filter((device) => device.problems.length);
    problem = unready.length ? `Not taken. ${unready.map((device) => `${device.device}: ${device.problems.join("; ")}`).join(". ")}` : `Not taken. ${explain(error)}`;
  }
  busy = false;
  renderShutter();
}

let choices = "";

function renderTargets() {
  const groups = new Set(Object.values(state.devices).map((row) => row.group).filter(Boolean));
  const devices = Object.keys(state.devices).sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const names = JSON.stringify([[...groups].sort(), devices]);
  if (names === choices) return;
  choices = names;
  const select = $("to");
  const before = select.value;
  const option = (name) => el("option", { value: name }, name);
  select.replaceChildren(el("option", { value: "" }, "all"),
    ...(groups.size ? [el("optgroup", { label: "Groups" }, [...groups].sort().map(option))] : []),
    el("optgroup", { label: "Devices" }, devices.map(option)));
  // A camera that has left stays chosen: the order must not go to all instead.
  if (before && select.querySelector(`option[value="${CSS.escape(before)}"]`) === null) select.append(option(before));
  select.value = before;
}

export function startShutter() {
  $("shutter").addEventListener("click", press);
  for (const input of document.querySelectorAll("input[name=mode], #anyway, #to")) input.addEventListener("change", renderShutter);
  on("change", () => { renderTargets(); renderShutter(); });
  on("order", renderShutter);
  on("link", renderShutter);
  setInterval(() => { if (state.rig) renderShutter(); }, 100);
}
