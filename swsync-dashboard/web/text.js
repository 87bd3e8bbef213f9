// Elements, and values as text. A value that is not known is never shown as one that is.

export const NOTHING = "–";

/** An element with attributes and children; null and undefined children are left out. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Sets a text only if it is another one: screen readers and selections are left alone. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const known = (value, write) => (value === null || value === undefined ? NOTHING : write(value));

export const micros = (value) =>
  known(value, (us) => (Math.abs(us) >= 10_000 ? `${(us / 1000).toFixed(1)} ms` : `${us.toFixed(Math.abs(us) < 100 ? 1 : 0)} µs`));

export const nanos = (value) => micros(value === null || value === undefined ? null : value / 1000);

export const size = (bytes) =>
  known(bytes, (count) => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let unit = 0;
    while (count >= 1000 && unit < units.length - 1) { count /= 1000; unit += 1; }
    return `${count.toFixed(unit === 0 || count >= 100 ? 0 : 1)} ${units[unit]}`;
  });

export const span = (seconds) =>
  known(seconds, (secs) => {
    if (secs >= 2 * 86400) return `${Math.floor(secs / 86400)} d`;
    if (secs >= 2 * 3600) return `${Math.floor(secs / 3600)} h`;
    if (secs >= 120) return `${Math.floor(secs / 60)} min`;
    return `${Math.floor(secs)} s`;
  });

/** 1:02.3 */
export function timer(ms) {
  const tenths = Math.max(0, Math.floor(ms / 100));
  const minutes = Math.floor(tenths / 600);
  return `${minutes}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
}

const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const localTime = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export const utc = (ms) => new Date(ms).toISOString().slice(11, 19) + " UTC";

/** The operator's time, with UTC beside. */
export const instant = (ms) => `${local.format(ms)} (${utc(ms)})`;
export const timeOfDay = (ms) => `${localTime.format(ms)} (${utc(ms)})`;

export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** What went wrong, as the API says it. */
export function explain(error) {
  if (!error) return "";
  if (error.error && error.error.message) {
    const { message, cause, remedy } = error.error;
    const reason = cause && cause.length ? `: ${cause.join(": ")}` : "";
    return `${message}${reason}${remedy && !message.includes(remedy) ? `. ${remedy}` : ""}`;
  }
  return error.message || String(error);
}
