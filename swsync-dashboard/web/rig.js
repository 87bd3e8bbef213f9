// The rig as the server tells it: one stream of events, and what is known when it stops.
import { explain } from "./text.js";

export const state = { rig: null, devices: {}, orders: new Map(), readOnly: false, moment: -1, history: new Map() };

/** Milliseconds without news after which nothing shown counts as known. */
const STALE = 4000;
/** After so long the connection is made anew. */
const RENEW = 9000;
/** Samples kept for sparklines. */
const SPARK = 60;

const listeners = { change: [], order: [], link: [], login: [] };
let source = null;
let heard = 0;
let opened = 0;
let wasStale = true;
let version = null;
/** Server's clock minus this one's, in milliseconds: the largest seen, that of the fastest message. */
let ahead = null;

export const on = (kind, listener) => listeners[kind].push(listener);
const tell = (kind, value) => listeners[kind].forEach((listener) => listener(value));

/** Has an order drawn anew that is known already. */
export const tellAgain = (order) => { if (state.orders.has(order)) tell("order", state.orders.get(order)); };

export const isStale = () => performance.now() - heard > STALE || state.rig === null;
export const silence = () => Math.round((performance.now() - heard) / 1000);
export const serverNow = () => Date.now() + (ahead ?? 0);

/** Rig time now, or null if no device knows it. */
export function rigNow() {
  const rigAhead = state.rig ? state.rig.rig_ahead_ms : null;
  return rigAhead === null || rigAhead === undefined ? null : serverNow() + rigAhead;
}

function news(atMs) {
  heard = performance.now();
  if (atMs) {
    const difference = atMs - Date.now();
    // Creeps back, so that a clock that was set is followed.
    ahead = ahead === null || difference > ahead || difference < ahead - 5000 ? difference : ahead - 1;
  }
}

function sample(device, atMs) {
  const row = state.devices[device];
  const samples = state.history.get(device) || [];
  samples.push(row.condition === "silent" ? null : row.phase_us);
  if (samples.length > SPARK) samples.shift();
  state.history.set(device, samples);
  return atMs;
}

function onState(event) {
  const data = JSON.parse(event.data);
  if (version !== null && version !== data.version) location.reload();
  version = data.version;
  news(data.at_ms);
  Object.assign(state, { rig: data.rig, devices: data.devices, readOnly: data.read_only, moment: data.moment });
  state.orders = new Map(data.orders.map((order) => [order.order, order]));
  tell("change", { all: true });
  data.orders.forEach((order) => tell("order", order));
  fillSparks();
}

function onChange(event) {
  const data = JSON.parse(event.data);
  news(data.at_ms);
  // What came before the state is in it.
  if (data.moment <= state.moment || state.rig === null) return;
  if (data.moment > state.moment + 1) { connect(); return; }
  state.moment = data.moment;
  Object.assign(state.rig, data.rig || {});
  for (const [device, fields] of Object.entries(data.devices || {})) {
    state.devices[device] = Object.assign(state.devices[device] || {}, fields);
  }
  for (const device of data.gone || []) { delete state.devices[device]; state.history.delete(device); }
  Object.keys(state.devices).forEach((device) => sample(device, data.at_ms));
  tell("change", { all: false });
}

function onOrder(event) {
  const order = JSON.parse(event.data);
  heard = performance.now();
  state.orders.set(order.order, order);
  tell("order", order);
}

async function fillSparks() {
  try {
    const history = await api("GET", `/api/v1/history?last=${SPARK}`);
    for (const [device, samples] of Object.entries(history)) state.history.set(device, samples.map((one) => one[1]));
    tell("change", { all: false });
  } catch { /* the sparklines begin now */ }
}

export function connect() {
  if (source) source.close();
  opened = performance.now();
  source = new EventSource("/api/v1/events");
  source.addEventListener("state", onState);
  source.addEventListener("change", onChange);
  source.addEventListener("order", onOrder);
  source.addEventListener("error", async () => {
    // Closed for good: refused. Otherwise the browser tries again by itself.
    if (source.readyState === EventSource.CLOSED && !(await isLoggedIn())) tell("login", true);
  });
}

async function isLoggedIn() {
  try {
    await api("POST", "/api/v1/login", { token: "" });
    return true;
  } catch (error) {
    return error.status !== 401;
  }
}

export async function logIn(token) {
  await api("POST", "/api/v1/login", { token });
  tell("login", false);
  connect();
}

function look() {
  const stale = isStale();
  if (stale || wasStale) tell("link", stale);
  wasStale = stale;
  if (performance.now() - Math.max(heard, opened) > RENEW) connect();
}

export function start() {
  setInterval(look, 500);
  // After sleep a connection may look alive for minutes.
  const awake = () => { if (document.visibilityState === "visible" && isStale()) connect(); };
  document.addEventListener("visibilitychange", awake);
  addEventListener("online", awake);
  addEventListener("pageshow", awake);
}

/** Asks the API. Throws what it says if it fails, with its status code. */
export async function api(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("The dashboard does not answer: is this device in its network?");
  }
  const text = await response.text();
  let answer = null;
  try { answer = JSON.parse(text); } catch { /* no JSON */ }
  if (!response.ok) throw Object.assign(new Error(`HTTP ${response.status}`), answer || {}, { status: response.status });
  return answer;
}

export const explainLogin = (error) => explain(error);
