/* Error or accuracy against a cost, with the methods that no cheaper one betters. */

const COSTS = {
  ms_per_image: "milliseconds per image",
  passes: "forward and backward passes per image",
  memory_mib: "peak memory, MiB",
};

function paretoFront(points) {
  const front = [];
  for (const point of [...points].sort((first, second) => first.cost - second.cost || first.mean - second.mean)) {
    if (!front.length || point.mean < front.at(-1).mean) front.push(point);
  }
  return front;
}

function frontPath(front, x, y) {
  const corner = ({ cost, value }, number) => (number ? `H${x.place(cost)}V${y.place(value)}` : `M${x.place(cost)} ${y.place(value)}`);
  return element("path", { class: "front", d: front.map(corner).join("") });
}

function pointParts(plot, point, x, y, metric, costName) {
  const { style, label, cost, value, std } = point;
  const [across, up] = [x.place(cost), y.place(value)];
  const spread = std === null ? "" : ` ± ${std.toFixed(2)}`;
  const lines = [`${metric} ${value.toFixed(2)}${spread} %`, `${numberText(cost)} ${costName}`];
  const marker = element("path", { class: "point", d: MARKERS[style.marker], fill: ink(style), transform: `translate(${across} ${up})` });
  const bar = element("path", { stroke: ink(style), d: std === null ? "" : `M${across} ${y.place(value - std)}V${y.place(value + std)}` });
  return [bar, tipOf(plot, marker, label, lines)];
}

function costScale(points, width) {
  const costs = points.map(({ cost }) => cost);
  const [low, high] = [Math.min(...costs), Math.max(...costs)];
  const logarithmic = low > 0 && high > 10 * low;
  const [first, last] = logarithmic ? [low / 1.3, high * 1.3] : [0, high * 1.08 || 1];
  return { x: scale(first, last, 52, width - 20, logarithmic), logarithmic };
}

function drawTradeOff(plot, section, chosen, { metric, picture }) {
  const points = chosen
    .filter(({ costs }) => costs[picture] !== null)
    .map((method) => ({ ...method, cost: method.costs[picture], value: asMetric(method.mean, metric) }));
  if (!points.length) return { made: null, legend: [`no run has recorded ${COSTS[picture]}`] };
  const width = plot.clientWidth;
  const { x, logarithmic } = costScale(points, width);
  const ends = points.flatMap(({ value, std }) => [value - (std ?? 0), value + (std ?? 0)]);
  const pad = Math.max(1, 0.06 * (Math.max(...ends) - Math.min(...ends)));
  const y = scale(Math.max(0, Math.min(...ends) - pad), Math.max(...ends) + pad, 292, 12);
  const name = COSTS[picture] + (logarithmic ? ", logarithmic" : "");
  const made = canvas(width, 338,
    axes(x, y, name, `mean ${metric} %`),
    frontPath(paretoFront(points), x, y),
    ...points.flatMap((point) => pointParts(plot, point, x, y, metric, COSTS[picture])));
  return { made, legend: points.map((point) => legendEntry(point.label, markerSwatch(point.style))) };
}
