/* What the pictures share: elements of SVG, scales, axes, and the box with values at the pointer. */

const SVG = "http://www.w3.org/2000/svg";
const MARKERS = {
  o: "M0-5A5 5 0 1 0 0 5A5 5 0 1 0 0-5Z",
  s: "M-4.5-4.5H4.5V4.5H-4.5Z",
  "^": "M0-6L5.5 4.5H-5.5Z",
  D: "M0-6L6 0L0 6L-6 0Z",
  v: "M0 6L5.5-4.5H-5.5Z",
  P: "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
  X: "M-6-3L-3-6L0-3L3-6L6-3L3 0L6 3L3 6L0 3L-3 6L-6 3L-3 0Z",
  "<": "M-6 0L4.5-5.5V5.5Z",
  ">": "M6 0L-4.5-5.5V5.5Z",
  p: "M0 -6L5.7 -1.9L3.5 4.9L-3.5 4.9L-5.7 -1.9Z",
  "*": "M0 -7L1.6 -2.3L6.7 -2.2L2.7 0.9L4.1 5.7L0 2.8L-4.1 5.7L-2.7 0.9L-6.7 -2.2L-1.6 -2.3Z",
};

function element(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const ink = (style) => style.color || "var(--ink)"; // black, or white in the dark
const asMetric = (error, metric) => (metric === "error" ? error : 100 - error);

function roundSteps(low, high, count) {
  const rough = (high - low) / Math.max(1, count) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, number) => (first + number) * step);
}

function powerSteps(low, high) {
  const factors = high / low < 1e4 ? [1, 2, 5] : [1];
  const steps = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    steps.push(...factors.map((factor) => factor * 10 ** power));
  }
  return steps.filter((step) => step >= low && step <= high);
}

function scale(low, high, start, stop, logarithmic = false) {
  const along = logarithmic ? Math.log : (value) => value;
  const [first, last] = [along(low), along(high)];
  const place = (value) => start + ((along(value) - first) / (last - first || 1)) * (stop - start);
  return { low, high, start, stop, place, steps: logarithmic ? () => powerSteps(low, high) : (count) => roundSteps(low, high, count) };
}

const numberText = (value) => String(Number(value.toPrecision(6)));

function axes(x, y, xName, yName) {
  const parts = y.steps((y.start - y.stop) / 50).flatMap((step) => [
    element("line", { class: "grid", x1: x.start, x2: x.stop, y1: y.place(step), y2: y.place(step) }),
    element("text", { x: x.start - 6, y: y.place(step) + 4, "text-anchor": "end" }, numberText(step)),
  ]);
  const below = x.steps((x.stop - x.start) / 90).map((step) =>
    element("text", { x: x.place(step), y: y.start + 18, "text-anchor": "middle" }, numberText(step)),
  );
  const middle = (y.start + y.stop) / 2;
  return element("g", {}, ...parts, ...below,
    element("line", { class: "axis", x1: x.start, x2: x.stop, y1: y.start, y2: y.start }),
    element("text", { x: (x.start + x.stop) / 2, y: y.start + 38, "text-anchor": "middle" }, xName),
    element("text", { transform: `translate(14 ${middle}) rotate(-90)`, "text-anchor": "middle" }, yName));
}

function canvas(width, height, ...children) {
  return element("svg", { width, height, viewBox: `0 0 ${width} ${height}` }, ...children);
}

function slanted(text, x, y) {
  return element("text", { class: "slanted", transform: `translate(${x} ${y}) rotate(-50)` }, text.replaceAll("_", " "));
}

function showTip(plot, x, y, title, lines) {
  const tip = plot.querySelector(".tip");
  const made = [title, ...lines].map((line) => Object.assign(document.createElement("div"), { textContent: line }));
  tip.replaceChildren(...made);
  tip.hidden = false;
  const room = plot.scrollLeft + plot.clientWidth - tip.offsetWidth;
  tip.style.left = `${Math.max(plot.scrollLeft, Math.min(x + 14, room))}px`;
  tip.style.top = `${Math.max(0, y - tip.offsetHeight - 10)}px`;
}

function hideTip(plot) {
  plot.querySelector(".tip").hidden = true;
}

function tipOf(plot, made, title, lines) {
  const show = () => {
    const [box, outer] = [made.getBoundingClientRect(), plot.getBoundingClientRect()];
    showTip(plot, box.right - outer.left + plot.scrollLeft, box.top - outer.top, title, lines);
  };
  made.addEventListener("pointerenter", show);
  made.addEventListener("pointerleave", () => hideTip(plot));
  return made;
}

function legendEntry(name, swatch) {
  const entry = document.createElement("span");
  const picture = element("svg", { width: 34, height: 14, viewBox: "-17 -7 34 14", "aria-hidden": "true" }, swatch);
  entry.append(picture, name);
  return entry;
}

const lineSwatch = (style) => element("path", { class: "curve", d: "M-17 0H17", stroke: ink(style), "stroke-dasharray": style.dash });
const markerSwatch = (style) => element("path", { d: MARKERS[style.marker], fill: ink(style) });
