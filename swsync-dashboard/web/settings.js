// The cameras' settings: what they use, setting them at one frame, locking, presets.

import { el, explain, nanos, plural } from "./text.js";
import { api, state } from "./rig.js";

/** What is offered: name in the API, label, how a value is read. */
const number = (text) => {
  const value = Number(text);
  // JSON has no NaN: it would go out as null, which sets back.
  if (!Number.isFinite(value)) throw new Error(`"${text}" is no number`);
  return value;
};
const CONTROLS = [
  ["exposure-time", "Exposure time (µs)", number],
  ["analogue-gain", "Analogue gain", number],
  ["colour-gains", "White balance: red, blue gains", (text) => text.split(/[ ,;]+/).map(number)],
  ["lens-position", "Focus (dioptres)", number],
];
const STATES = { unknown: "it knows nothing of the change", waiting: "its frame has not been taken yet", withdrawn: "it was taken back", "for-others": "it is not for this camera" };
const $ = (id) => document.getElementById(id);

const shown = (value) => (value === undefined || value === null ? "–" : Array.isArray(value) ? value.join(", ") : String(value));

function problemsOf(error) {
  const lines = [explain(error.error && typeof error.error === "string" ? new Error(error.error) : error)];
  for (const one of error.objections || []) {
    const why = [...(one.refusals || []).map((refusal) => refusal.why), one.problem].filter(Boolean).join("; ");
    lines.push(`${one.device}: ${why}`);
  }
  return lines;
}

function say(lines, kind) {
  $("settings-said").replaceChildren(...lines.filter(Boolean).map((line) => el("p", { class: kind }, line)));
}

/** Why a device's part of a change is not as it should be. */
function troubles(device) {
  const seen = device.outcome || {};
  const lines = [device.problem, ...(device.refusals || []).map((refusal) => refusal.why)];
  if (seen.state && seen.state !== "seen") lines.push(STATES[seen.state] || seen.state);
  if (seen.state === "seen" && !seen.first) lines.push("no frame shows it yet");
  else if (seen.state === "seen" && seen.first !== seen.frame) lines.push(`it took effect at frame ${seen.first}`);
  const phase = seen.phase || {};
  if (phase.lost && !phase.back && phase.before !== "free") lines.push(`off the frame grid since frame ${phase.lost}, by ${nanos(phase.worst_ns)} at most; it moves back by itself`);
  return lines.filter(Boolean);
}

function outcome(change) {
  if (!change.devices) return [];
  // A preset: only the names of devices, and in words what is not as it should be.
  if (change.preset) {
    const cameras = plural(change.devices.length, "camera");
    return [change.frame ? `${change.preset} from frame ${change.frame} on, for ${cameras}.` : `${change.preset} is saved: what ${cameras} used.`, ...(change.problems || [])];
  }
  if (change.without_automatics) {
    const without = change.without_automatics.length ? [`Without automatics, so as their pipelines say: ${change.without_automatics.join(", ")}.`] : [];
    return [change.frame ? `Unlocked from frame ${change.frame} on: ${plural(change.devices.length, "camera")}.` : "Nothing was locked.", ...without, ...(change.problems || [])];
  }
  const exact = change.devices.filter((device) => device.exact ?? (device.outcome && device.outcome.state === "seen" && device.outcome.first === device.outcome.frame)).length;
  const lines = [`From frame ${change.frame} on, ${exact} of ${plural(change.devices.length, "camera")} report the change.`];
  for (const device of change.devices) lines.push(...troubles(device).map((why) => `${device.device}: ${why}`));
  return [...lines, ...(change.problems || [])];
}

async function act(button, work) {
  button.disabled = true;
  say(["Waiting for the cameras…"], "faint");
  try {
    const answer = await work();
    const whole = answer.complete !== false && !(answer.problems || []).length;
    say(outcome(answer).length ? outcome(answer) : [(answer.problems || []).join("; ") || "Done."], whole ? "good" : "bad");
  } catch (error) {
    say(problemsOf(error), "bad");
  }
  button.disabled = false;
  await Promise.all([read(), readPresets()]);
}

const to = () => ($("settings-to").value === "" ? [] : [$("settings-to").value]);

function assigned() {
  const assign = {};
  for (const [name, label, parse] of CONTROLS) {
    const text = $(`set-${name}`).value.trim();
    try { if (text !== "") assign[name] = parse(text); } catch (error) { throw new Error(`${label}: ${error.message}`); }
  }
  return assign;
}

async function read() {
  const root = $("settings-used");
  try {
    const { devices } = await api("GET", "/api/v1/settings");
    const row = (device) => {
      const used = device.used || {};
      return el("tr", {}, el("th", { scope: "row" }, device.device),
        device.no_answer ? el("td", { class: "bad", colspan: CONTROLS.length }, device.no_answer) : CONTROLS.map(([name]) => el("td", { class: "numbers" }, shown(used[name]))));
    };
    root.replaceChildren(el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "What cameras use now" }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Uses now"), CONTROLS.map(([, label]) => el("th", { scope: "col" }, label)))),
      el("tbody", {}, devices.map(row)))));
  } catch (error) {
    root.replaceChildren(el("p", { class: "bad" }, explain(error)));
  }
}

async function readPresets() {
  const root = $("presets");
  try {
    const { presets } = await api("GET", "/api/v1/presets");
    root.replaceChildren(...presets.map((preset) => {
      const button = el("button", { type: "button", disabled: state.readOnly }, "Apply");
      button.addEventListener("click", () => act(button, () => api("POST", `/api/v1/presets/${preset.preset}/apply`, { to: to() })));
      return el("p", { class: "row" }, button, el("b", {}, preset.preset), el("span", { class: preset.problem ? "bad" : "faint" }, preset.problem || preset.saved || ""));
    }));
    if (!presets.length) root.replaceChildren(el("p", { class: "faint" }, "There are none yet."));
  } catch (error) {
    root.replaceChildren(el("p", { class: "bad" }, explain(error)));
  }
}

function button(text, work, kind = "") {
  const made = el("button", { type: "button", class: kind, disabled: state.readOnly }, text);
  made.addEventListener("click", () => act(made, work));
  return made;
}

export function showSettings() {
  const groups = [...new Set(Object.values(state.devices).map((row) => row.group).filter(Boolean))].sort();
  const devices = Object.keys(state.devices).sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const option = (name) => el("option", { value: name }, name);
  const fields = CONTROLS.flatMap(([name, label]) => [el("label", { for: `set-${name}` }, label), el("input", { id: `set-${name}`, inputmode: "decimal", autocomplete: "off", placeholder: "as it is" })]);
  const presetName = el("input", { id: "preset-name", autocomplete: "off", placeholder: "name" });
  $("settings").replaceChildren(
    el("div", { class: "card" },
      el("div", { class: "fields" },
        el("label", { for: "settings-to" }, "Cameras"),
        el("select", { id: "settings-to" }, el("option", { value: "" }, "all"), groups.length ? el("optgroup", { label: "Groups" }, groups.map(option)) : null, el("optgroup", { label: "Devices" }, devices.map(option))),
        fields),
      el("p", { class: "row" },
        button("Set at one frame", () => api("PATCH", "/api/v1/settings", { assign: assigned(), to: to() }), "main"),
        button("Reset these", () => api("PATCH", "/api/v1/settings", { assign: Object.fromEntries(CONTROLS.map(([name]) => [name, null])), to: to(), partial: true })),
        button("Lock 3A", () => api("POST", "/api/v1/settings/lock-3a", { to: to() })),
        button("Unlock 3A", () => api("POST", "/api/v1/settings/unlock-3a", { to: to() }))),
      el("div", { id: "settings-said", role: "status" })),
    el("div", { class: "card", id: "settings-used" }),
    el("div", { class: "card" }, el("h3", {}, "Presets"), el("div", { id: "presets" }),
      el("p", { class: "row" }, el("label", { for: "preset-name" }, "Save what cameras use now as"), presetName,
        button("Save", () => api("PUT", `/api/v1/presets/${encodeURIComponent(presetName.value.trim() || "preset")}`, { to: to(), force: false })))),
  );
  read();
  readPresets();
}
