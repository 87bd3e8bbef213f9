// The link of a clock: the delay of its recent exchanges against the offset that they measured. Honest exchanges fill a wedge.

import { el, micros, svg } from "./text.js";

const [WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM] = [640, 240, 64, 22, 34];
const COLORS = 6;

/** A round number at least as large as `value`. */
export function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value) ?? value;
}

function text(x, y, anchor, words) {
  const label = svg("text", { x, y, "text-anchor": anchor });
  label.textContent = words;
  return label;
}

/** The exchanges of all devices in one picture, with the wedge of each: least delay, and half of what is above it to either side. */
export function wedge(told) {
  const title = "Delay wedge: round trip against offset of the recent exchanges";
  const samples = Object.values(told).flatMap((device) => device.exchanges);
  const reasons = Object.entries(told).filter(([, device]) => device.problem).map(([device, { problem }]) => el("p", { class: "faint" }, `${device}: ${problem}`));
  if (samples.length === 0) return el("div", { class: "card" }, el("h3", {}, title), el("p", { class: "faint" }, "No exchanges are known."), ...reasons);
  // A few that waited very long would press all others into a line: they are drawn at the edge.
  const delays = samples.map((sample) => sample[1]).sort((a, b) => a - b);
  const most = ceiling(delays[Math.floor(delays.length * 0.9)]);
  const reach = Math.max(1, ...samples.filter((sample) => sample[1] <= most).map((sample) => Math.abs(sample[2])));
  const side = ceiling(reach);
  const x = (offset) => LEFT + (WIDTH - RIGHT - LEFT) * (Math.min(Math.max(offset, -side), side) / side + 1) / 2;
  const y = (delay) => 8 + (HEIGHT - BOTTOM - 8) * (1 - Math.min(delay, most) / most);
  const spread = `${samples.length} exchanges, offsets within ${micros(reach)} of the clocks, least delay ${micros(delays[0])}`;
  const picture = svg("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${spread}` });
  for (const delay of [0, most / 2, most]) picture.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(delay), y2: y(delay) }), text(LEFT - 6, y(delay) + 4, "end", micros(delay)));
  for (const offset of [-side, 0, side]) picture.append(svg("line", { class: "grid", x1: x(offset), x2: x(offset), y1: 8, y2: HEIGHT - BOTTOM }), text(x(offset), HEIGHT - BOTTOM + 15, offset < 0 ? "start" : offset > 0 ? "end" : "middle", offset > 0 ? `+${micros(offset)}` : micros(offset)));
  picture.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "middle", "offset against the clock as it is now"));
  Object.values(told).forEach(({ exchanges }, color) => {
    const kind = `c${color % COLORS}`;
    if (exchanges.length) {
      const least = Math.min(...exchanges.map((sample) => sample[1]));
      const top = Math.min(most, least + 2 * side);
      picture.append(svg("path", { class: `bound ${kind}`, d: `M${x(-(top - least) / 2)} ${y(top)}L${x(0)} ${y(least)}L${x((top - least) / 2)} ${y(top)}` }));
    }
    for (const [, delay, offset] of exchanges) picture.append(svg("circle", { class: `dot ${kind}`, cx: x(offset).toFixed(1), cy: y(delay).toFixed(1), r: 2.2 }));
  });
  return el("div", { class: "card" }, el("h3", {}, title), picture,
    el("p", { class: "faint" }, `${spread}. A point may lie within the lines of its colour: what an exchange waited, it waited on one way.`), ...reasons);
}
