// Live pictures of devices: asked for only while somebody sees them, at most once a second each.

import { el, setText, span } from "./text.js";
import { isStale, rigNow, state } from "./rig.js";

/** From one picture of a device to the next, in milliseconds; longer after a failure. */
const EVERY = 1000;
const AFTER_FAILURE = 5000;
/** Pictures that are waited for at once, and that are asked for in a second: what the server allows an address is 60 requests. */
const AT_ONCE = 6;
const A_SECOND = 30;
const WIDTH = 320;
/** A picture that is older than this, in milliseconds, says so: of encoded video it is the last key frame. */
const OLD = 2000;
const KEPT = "pictures";

const views = new Map();
let waiting = 0;
let isWanted = localStorage.getItem(KEPT) !== "off";

/** Tells which of them are on the screen. Those of hidden views are not. */
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const view = views.get(target.dataset.device);
    if (view && view.box === target) view.seen = isIntersecting;
  }
}, { rootMargin: "80px" });

/** The place of the picture of `device`. */
export function thumbnailOf(device) {
  forget(device);
  const view = { seen: false, busy: false, due: 0, at: null, image: el("img", { alt: "" }), text: el("span", { class: "words" }, "no picture yet") };
  view.image.hidden = true;
  view.box = el("div", { class: "live", "data-device": device }, view.image, view.text);
  view.box.hidden = !isWanted;
  views.set(device, view);
  observer.observe(view.box);
  return view.box;
}

export function forget(device) {
  const view = views.get(device);
  if (!view) return;
  observer.unobserve(view.box);
  if (view.image.src) URL.revokeObjectURL(view.image.src);
  views.delete(device);
}

/** The words over a picture, or in its place. */
function say(view, words) {
  setText(view.text, words);
  view.text.hidden = words === "";
}

async function fetchPicture(device, view) {
  let response;
  try {
    response = await fetch(`/api/v1/devices/${device}/thumbnail?width=${WIDTH}`);
  } catch {
    return "the dashboard does not answer";
  }
  if (!response.ok) {
    try {
      // What to do about it is for those who ask by hand: there is little room here.
      const { message, remedy } = (await response.json()).error;
      return message.replace(`: ${remedy}`, "");
    } catch { return `no picture: HTTP ${response.status}`; }
  }
  const before = view.image.src;
  view.image.src = URL.createObjectURL(await response.blob());
  if (before) URL.revokeObjectURL(before);
  view.image.alt = `${device}, live`;
  view.at = Number(response.headers.get("swsync-at-ms"));
  return null;
}

async function renew(device, view) {
  view.busy = true;
  waiting += 1;
  const why = await fetchPicture(device, view);
  waiting -= 1;
  view.busy = false;
  view.due = performance.now() + (why === null ? EVERY : AFTER_FAILURE);
  view.why = why;
  show(device, view);
}

/** What is shown of a picture: as it is, marked as old, or words in its place. */
function show(device, view) {
  const row = state.devices[device];
  const now = rigNow();
  const age = view.at === null || now === null ? 0 : now - view.at;
  const isLast = isStale() || !row || row.condition === "silent";
  view.box.classList.toggle("old", isLast || age > OLD);
  view.image.hidden = view.at === null || (view.why !== null && view.why !== undefined && !isLast);
  if (isLast) say(view, view.at === null ? "" : `last picture${age > OLD ? `, ${span(age / 1000)} old` : ""}`);
  else if (view.why) say(view, view.why);
  else if (view.at === null) say(view, "no picture yet");
  else say(view, age > OLD ? `${span(age / 1000)} old` : "");
}

function look() {
  for (const [device, view] of views) if (view.seen) show(device, view);
  if (!isWanted || document.hidden || isStale()) return;
  const now = performance.now();
  const due = [...views].filter(([device, view]) => view.seen && !view.busy && view.due <= now && state.devices[device] && state.devices[device].condition !== "silent");
  due.sort(([, a], [, b]) => a.due - b.due);
  for (const [device, view] of due.slice(0, Math.min(A_SECOND / 10, AT_ONCE - waiting))) renew(device, view);
}

/** Whether pictures are shown, for the operator to choose: phones of guests pay for what they get. */
export function pictureSwitch() {
  const box = el("input", { type: "checkbox", checked: isWanted, onchange: (event) => {
    isWanted = event.target.checked;
    localStorage.setItem(KEPT, isWanted ? "on" : "off");
    for (const view of views.values()) view.box.hidden = !isWanted;
  } });
  return el("label", { class: "check" }, box, "Live pictures");
}

export function startThumbnails() {
  document.getElementById("pictures").append(pictureSwitch());
  setInterval(look, 100);
}
