// What date rig time stands for: devices without a clock chip begin at an old date, and whoever holds this page may know better.

import { el, explain, instant, plural, setText, span } from "./text.js";
import { api, on, rigNow, state } from "./rig.js";

/** Rig time that is further from this device's clock is told. */
const DIFFERS = 5000;
/** Questions that have the connection ready for the one that counts. */
const WARM = 2;

const $ = (id) => document.getElementById(id);
const own = matchMedia("(pointer: coarse)").matches ? "phone" : "computer";
let dismissed = false;
let busy = false;
let outcome = null;

/** The date now as the rig knows it, or null if nobody knows rig time. */
export function dateNow() {
  const now = rigNow();
  return now === null ? null : now + (state.rig.date ? state.rig.date.ahead_ms : 0);
}

const told = (date) => `as ${date.by} said, ± ${date.uncertainty_ms < 100 ? date.uncertainty_ms.toFixed(1) : Math.round(date.uncertainty_ms)} ms`;

/** An instant of rig time as its date, marked if somebody has told that. `date`: has ahead_ms, uncertainty_ms and by; null: rig time is the date. */
export function moment(rigMs, date, write = instant) {
  if (!date) return el("span", {}, write(rigMs));
  return el("span", { class: "dated" }, write(rigMs + date.ahead_ms), el("span", { class: "faint" }, ` ${told(date)}`));
}

/** The date of a take, in the words of `moment`. */
export const dateOfTake = (take) =>
  take && take.dated ? { ahead_ms: take.dated.ahead_ns / 1e6, uncertainty_ms: take.dated.uncertainty_ns / 1e6, by: take.dated.by } : null;

async function give() {
  busy = true;
  render();
  try {
    for (let asked = 0; asked < WARM; asked += 1) await api("GET", "/api/v1/date");
    const { rig_time_us } = await api("GET", "/api/v1/date");
    const { date, devices, without } = await api("POST", "/api/v1/date", { after_rig_time_us: rig_time_us, utc_ms: Date.now() });
    state.rig.date = date;
    outcome = without.length
      ? ["bad", `Not noted on ${without.map((one) => `${one.device}: ${one.why}`).join("; ")}`]
      : ["good", `Noted on ${plural(devices.length, "device")}. Takes say this date from now on.`];
    setTimeout(() => { outcome = null; render(); }, without.length ? 60_000 : 8_000);
  } catch (error) {
    outcome = ["bad", `The date was not noted. ${explain(error)}`];
  }
  busy = false;
  render();
}

function offer(difference) {
  const which = state.rig.date ? "the date that the rig was told" : "rig time";
  const apart = span(Math.abs(difference) / 1000);
  return el("div", {},
    el("p", {}, el("strong", {}, `This ${own}'s clock is ${apart} ${difference > 0 ? "ahead of" : "behind"} ${which}. `),
      "Devices without a clock chip and network begin at an old date. If this clock is right, tell the rig: takes then say the true date. Frames, their numbers and files stay as they are."),
    el("p", { class: "row" },
      el("button", { type: "button", class: "main", id: "give-date", onclick: give }, `Use this ${own}'s date`),
      el("button", { type: "button", onclick: () => { dismissed = true; render(); } }, "Not now")));
}

let shown = "";

function render() {
  const holder = $("date");
  const now = state.rig ? dateNow() : null;
  const difference = now === null ? 0 : Date.now() - now;
  const offers = Math.abs(difference) > DIFFERS && !dismissed && !state.readOnly;
  const date = state.rig ? state.rig.date : null;
  // Only what is another is drawn, or else a screen reader would speak each second.
  const now_shown = JSON.stringify([offers, offers && Math.sign(difference), busy, outcome, date]);
  if (now_shown !== shown) {
    shown = now_shown;
    const parts = [offers ? offer(difference) : null, outcome ? el("p", { class: outcome[0] }, outcome[1]) : null].filter(Boolean);
    holder.hidden = parts.length === 0;
    holder.className = offers ? "offer" : "";
    holder.replaceChildren(...parts);
    const button = $("give-date");
    if (button) button.disabled = busy;
  }
  $("dated").hidden = !date;
  if (date && now !== null) setText($("dated"), `Date ${told(date)}. Rig time: ${instant(now - date.ahead_ms)}`);
}

export function startDate() {
  on("change", render);
  setInterval(render, 1000);
}
