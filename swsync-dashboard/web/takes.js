// What the rig has taken: the list; and one take, frame by frame across devices.

import { el, explain, instant, nanos, plural, setText, size } from "./text.js";
import { dateOfTake, moment } from "./date.js";
import { api, on, state } from "./rig.js";
import { picture, pictureOf } from "./results.js";

let token = 0;
const root = () => document.getElementById("takes");

function stateOf(take) {
  if (take.open) return ["under way", "faint"];
  if (take.holes > 0) return [`${plural(take.holes, "frame")} missing`, "bad"];
  if (take.devices < take.targets) return [`only ${take.devices} of ${take.targets} devices`, "bad"];
  return ["complete", "good"];
}

async function list() {
  const own = ++token;
  root().replaceChildren(el("p", { class: "faint" }, "Asking the devices…"));
  try {
    const { takes, silent, unreadable } = await api("GET", "/api/v1/takes");
    if (own !== token) return;
    const row = (take) => {
      const [what, kind] = stateOf(take);
      return el("tr", {},
        el("td", {}, el("a", { href: `#takes/${take.order}` }, take.order), take.note ? el("div", { class: "faint" }, take.note) : null),
        el("td", {}, moment(take.started_ns / 1e6, dateOfTake(take))),
        el("td", { class: "number", "data-label": "Frames" }, String(take.frames ?? "–")), el("td", { class: "number", "data-label": "Devices" }, `${take.devices}/${take.targets}`),
        el("td", { class: "number" }, size(take.bytes)), el("td", { class: kind }, what));
    };
    const heads = [["Take", ""], ["Begun", ""], ["Frames", "number"], ["Devices", "number"], ["Size", "number"], ["State", ""]];
    root().replaceChildren(
      ...silent.map((one) => el("p", { class: "bad" }, `${one.device} is not in this list: ${one.why}`)),
      ...unreadable.map((one) => el("p", { class: "bad" }, `${one.device}: ${one.path} cannot be read: ${one.why}`)),
      takes.length === 0 ? el("p", { class: "faint" }, "Nothing was taken yet.") : el("div", { class: "card scroll", tabindex: 0, role: "group", "aria-label": "Table of takes" }, el("table", { class: "stacked" },
        el("thead", {}, el("tr", {}, heads.map(([text, kind]) => el("th", { scope: "col", class: kind }, text)))),
        el("tbody", {}, [...takes].reverse().map(row)))));
  } catch (error) {
    if (own === token) root().replaceChildren(el("p", { class: "bad" }, explain(error)));
  }
}

/** The devices' frames of one number, side by side. */
function side(order, devices, number) {
  return devices.map((device) => {
    const frame = device.frames.find((frame) => frame.number === number);
    const facts = [];
    let box;
    if (!frame) {
      box = el("div", { class: "picture missed" }, `✕ ${device.problem ?? "no such frame"}`);
    } else {
      facts.push(`phase ${nanos(frame.phase_error_ns)}`, frame.bound_ns === null ? "no bound" : `± ${nanos(frame.bound_ns)}`);
      box = /\.jpe?g$/i.test(frame.file)
        ? picture(pictureOf(order, device.device, frame.file, 480), `frame ${number} of ${device.device}`)
        : el("div", { class: "picture" }, `${device.media ?? "a video"}: download it to see it`);
    }
    return el("figure", { "data-device": device.device }, box, el("figcaption", { class: "numbers" }, el("b", {}, device.device), facts.join(" · ")));
  });
}

async function one(order) {
  const own = ++token;
  const title = el("h3", {}, order);
  root().replaceChildren(el("p", {}, el("a", { href: "#takes" }, "← all takes")), title, el("p", { class: "faint" }, "Asking the devices…"));
  try {
    const [{ takes }, { devices }] = await Promise.all([api("GET", "/api/v1/takes"), api("GET", `/api/v1/takes/${order}/frames`)]);
    if (own !== token) return;
    show(order, takes.find((take) => take.order === order), devices);
  } catch (error) {
    if (own === token) root().lastChild.replaceWith(el("p", { class: "bad" }, explain(error)));
  }
}

function show(order, take, devices) {
  const all = [...new Set(devices.flatMap((device) => device.frames.map((frame) => frame.number)))].sort((a, b) => a - b);
  const date = dateOfTake(take);
  const begun = Number(sessionStorage.getItem(`frame ${order}`));
  let at = Math.max(0, all.indexOf(begun));
  const grid = el("div", { class: "frames" });
  const label = el("span", { class: "numbers" });
  const range = el("input", { type: "range", min: 0, max: Math.max(0, all.length - 1), value: at, "aria-label": "Frame" });
  const draw = () => {
    const number = all[at];
    if (number === undefined) { grid.replaceChildren(el("p", { class: "faint" }, "No frames are listed.")); return; }
    const frame = devices.flatMap((device) => device.frames).find((frame) => frame.number === number);
    setText(label, `Frame ${at + 1} of ${all.length}, number ${number}, ${instant(frame.at_ms + (date ? date.ahead_ms : 0))}`);
    grid.replaceChildren(...side(order, devices, number));
    grid.dataset.number = number;
    // A reload comes back to it.
    sessionStorage.setItem(`frame ${order}`, String(number));
  };
  const go = (to) => { at = Math.min(Math.max(to, 0), all.length - 1); range.value = at; draw(); };
  let later = null;
  range.addEventListener("input", () => { at = Number(range.value); clearTimeout(later); later = setTimeout(draw, 60); });
  const [what, kind] = take ? stateOf(take) : ["not in the list any more", "bad"];
  const note = el("input", { id: "note", maxlength: 1000, value: take && take.note ? take.note : "", autocomplete: "off", disabled: state.readOnly });
  const noted = el("p", { role: "status" });
  const save = async (event) => {
    event.preventDefault();
    try {
      const answer = await api("PUT", `/api/v1/takes/${order}/note`, { text: note.value });
      noted.className = answer.without.length ? "bad" : "good";
      setText(noted, answer.without.length ? `Not on ${answer.without.map((one) => `${one.device}: ${one.why}`).join("; ")}` : `Noted on ${plural(answer.devices.length, "device")}.`);
    } catch (error) { noted.className = "bad"; setText(noted, explain(error)); }
  };
  const certificate = el("div", { class: "card", id: "certificate" }, el("h3", {}, "Certificate"), el("p", { class: "faint" }, "Reading what each device has noted…"));
  certify(order, certificate);
  root().replaceChildren(
    el("p", {}, el("a", { href: "#takes" }, "← all takes")),
    el("div", { class: "card result" }, el("h3", {}, order),
      el("p", { class: "facts numbers" }, take ? [moment(take.started_ns / 1e6, dateOfTake(take)), el("span", {}, size(take.bytes))] : null, el("span", { class: kind }, what)),
      ...devices.filter((device) => device.problem).map((device) => el("p", { class: "bad" }, `${device.device}: ${device.problem}`)),
      ...(take ? take.lacking : []).map((device) => el("p", { class: "bad" }, `${device} has nothing of it.`)),
      all.length > 1 ? el("div", { class: "row" }, el("button", { type: "button", "aria-label": "One frame back", onclick: () => go(at - 1) }, "◀"), el("button", { type: "button", "aria-label": "One frame on", onclick: () => go(at + 1) }, "▶"), label) : label,
      all.length > 1 ? range : null, grid),
    certificate,
    el("form", { class: "card row", onsubmit: save }, el("label", { for: "note" }, "Note"), note, el("button", { type: "submit", disabled: state.readOnly }, "Save note"), noted),
    el("p", { class: "row" }, el("a", { class: "button", href: `/api/v1/takes/${order}/zip`, download: `${order}.zip` }, "Download all as zip"),
      reportOn(order)));
  draw();
}

/** The report: made on the dashboard's host when it is asked for, which may take a while. */
function reportOn(order) {
  const said = el("span", { role: "status", id: "report-said" });
  const button = el("button", { type: "button", id: "make-report" }, "Make the report");
  const words = { waiting: "Another report is made first…", making: "Drawing its plots and pictures…" };
  const show = (report) => {
    const problems = report.problems.join("; ");
    if (report.stage === "fetching") setText(said, `Fetching ${size(report.bytes)}${report.total === null ? "" : ` of ${size(report.total)}`}…`);
    else setText(said, words[report.stage] || (report.stage === "failed" ? `No report: ${problems}` : problems && `Not all is in it: ${problems}`));
    said.className = report.stage === "failed" ? "bad" : report.stage === "ready" ? "warn" : "faint";
    if (report.stage === "ready") button.replaceWith(el("a", { class: "button", id: "open-report", href: `/api/v1/takes/${order}/report.html`, target: "_blank", rel: "noopener" }, "Open the report"));
    return report.stage === "ready" || report.stage === "failed";
  };
  const follow = async (report) => {
    while (!show(report)) {
      await new Promise((wake) => setTimeout(wake, 400));
      if (!said.isConnected) return;
      report = await api("GET", `/api/v1/takes/${order}/report`);
    }
  };
  const make = async () => {
    button.disabled = true;
    try { await follow(await api("POST", `/api/v1/takes/${order}/report`, {})); } catch (error) { said.className = "bad"; setText(said, explain(error)); }
    button.disabled = state.readOnly;
  };
  button.disabled = state.readOnly;
  button.addEventListener("click", make);
  // It may be there, or in the making, as another page has asked for it.
  api("GET", `/api/v1/takes/${order}/report`).then(follow).catch(() => {});
  return [button, said];
}

/** What the manifests of all devices prove, as words. */
async function certify(order, holder) {
  try {
    const certificate = await api("GET", `/api/v1/takes/${order}/certificate`);
    const worst = certificate.numbers.reduce((most, one) => (one.worst_ns !== null && one.worst_ns > (most ? most.worst_ns : -1) ? one : most), null);
    const verdict = certificate.worst_ns === null ? "How far pictures of one number may be apart is not proven." : `Pictures of one number are at most ${nanos(certificate.worst_ns)} apart${certificate.max_error_ns === null ? "" : `; the limit is ${nanos(certificate.max_error_ns)}`}.`;
    const rows = certificate.devices.map((part) => el("tr", {}, el("th", { scope: "row" }, part.device), el("td", { class: "number" }, String(part.frames)), el("td", { class: "number" }, nanos(part.worst_ns))));
    holder.replaceChildren(el("h3", {}, "Certificate"), el("p", { class: certificate.passes ? "good" : "bad" }, `${certificate.passes ? "Proven" : certificate.worst_ns === null || certificate.problems.length ? "NOT proven" : "More than the limit"}: ${verdict}`),
      ...(worst ? [el("p", { class: "faint" }, `The worst is frame ${worst.number}${worst.devices.length ? `, of ${worst.devices.join(" and ")}` : ""}.`)] : []),
      ...certificate.problems.map((problem) => el("p", { class: "bad" }, problem)),
      el("details", {}, el("summary", {}, "By device"), el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ["Device", "Frames", "Within"].map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, rows)))));
  } catch (error) { holder.replaceChildren(el("h3", {}, "Certificate"), el("p", { class: "bad" }, explain(error))); }
}

export function showTakes(order) {
  if (order) one(order); else list();
}

export function startTakes() {
  // The list is of the devices' disks: what has ended here is there now.
  on("order", (order) => { if (order.stage === "done" && location.hash === "#takes") list(); });
}
