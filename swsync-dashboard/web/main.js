// The page: which view is shown, the head, the login.

import { plural, setText, timeOfDay } from "./text.js";
import { connect, explainLogin, isStale, logIn, on, serverNow, silence, start, state } from "./rig.js";
import { dateNow, startDate } from "./date.js";
import { renderDevices } from "./devices.js";
import { renderShutter, startShutter } from "./shutter.js";
import { startResults } from "./results.js";
import { hidePlots, showPlots } from "./plots.js";
import { showSettings } from "./settings.js";
import { showTakes, startTakes } from "./takes.js";
import { startThumbnails } from "./thumbnails.js";

const $ = (id) => document.getElementById(id);
const VIEWS = ["shoot", "devices", "takes", "settings", "plots"];
let needsLogin = false;
let drawn = "";

function view() {
  const [name, ...rest] = location.hash.slice(1).split("/");
  return VIEWS.includes(name) ? [name, rest.join("/")] : ["shoot", ""];
}

function show() {
  const [name, what] = view();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  $("view-login").hidden = !needsLogin;
  for (const other of VIEWS) $(`view-${other}`).hidden = needsLogin || other !== name;
  hidePlots();
  drawn = "";
  if (needsLogin) { $("login-token").focus(); return; }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} – ${state.rig ? state.rig.rig : "swsync"}`;
  // The rest needs to know the devices.
  if (name === "takes") showTakes(what);
  if (state.rig) late();
}

/** What a view shows once the rig is known: once, or else fields would lose what was typed. */
function late() {
  const [name] = view();
  if (needsLogin || drawn === name) return;
  drawn = name;
  if (name === "settings") showSettings();
  if (name === "plots") showPlots();
}

function head() {
  const rig = state.rig;
  const summary = $("summary");
  if (!rig) return;
  setText($("rig-name"), rig.rig);
  if (isStale()) {
    summary.className = "bad";
    setText(summary, "Not known");
  } else if (rig.not_found) {
    summary.className = "bad";
    setText(summary, "No rig found yet");
  } else {
    const good = rig.devices > 0 && rig.ready === rig.devices;
    summary.className = good ? "good" : "bad";
    setText(summary, good ? `All ${plural(rig.devices, "camera")} ready` : `${rig.ready} of ${plural(rig.devices, "camera")} ready`);
  }
}

function link() {
  const banner = $("banner");
  const stale = isStale() && !needsLogin;
  banner.hidden = !stale;
  if (stale) setText(banner, state.rig ? `No news for ${silence()} s. What is shown is old; trying to reach the dashboard again.` : "Trying to reach the dashboard.");
  head();
  if (state.rig) { renderDevices(); renderShutter(); }
}

async function begin() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    // Out of the address, before it is bookmarked or shown around.
    history.replaceState(null, "", location.pathname);
    try { await logIn(given); return; } catch (error) { setText($("login-problem"), explainLogin(error)); }
  }
  connect();
}

on("change", () => { if (needsLogin) { needsLogin = false; show(); } head(); renderDevices(); late(); });
on("link", link);
on("login", (needed) => { if (needsLogin !== needed) { needsLogin = needed; show(); } });
$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  setText($("login-problem"), "");
  try { await logIn($("login-token").value.trim()); } catch (error) { setText($("login-problem"), explainLogin(error)); }
});
addEventListener("hashchange", () => { show(); $("main").focus({ preventScroll: true }); });
// With a date that the rig was told the clock of the dashboard's host may be as wrong as rig time.
setInterval(() => setText($("times"), timeOfDay(state.rig && state.rig.date ? dateNow() ?? serverNow() : serverNow())), 1000);
startShutter();
startResults();
startTakes();
startDate();
startThumbnails();
start();
show();
begin();
