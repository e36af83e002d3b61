/* Running means along the stream, domains as bands. */

const MOST_NAMED_BANDS = 40;
const STREAM_HEIGHT = 260;

function bandParts(bands, x, y) {
  const shades = bands.filter((_, number) => number % 2).map(([, start, stop]) =>
    element("rect", { class: "band", x: x.place(start), width: x.place(stop) - x.place(start), y: y.stop, height: y.start - y.stop }));
  const names = bandsHaveNames(bands, x.stop - x.start)
    ? bands.map(([name, start, stop]) => slanted(name, x.place((start + stop) / 2), y.stop - 4)) : [];
  return [...shades, ...names];
}

function bandsHaveNames(bands, width) {
  return bands.length <= MOST_NAMED_BANDS && width >= 16 * bands.length;
}

function curveParts({ style, curve, nonfinite_at: broken }, x, y, metric) {
  const points = curve.position.map((position, number) => [x.place(position), y.place(asMetric(curve.running[number], metric))]);
  const line = element("path", {
    class: "curve", d: "M" + points.map(([across, up]) => `${across.toFixed(1)} ${up.toFixed(1)}`).join("L"),
    stroke: ink(style), "stroke-dasharray": style.dash,
  });
  if (broken === null) return [line];
  const [across, up] = points[nearest(curve.position, broken)];
  return [line, element("path", { class: "cross", d: `M${across - 5} ${up - 5}l10 10m0-10l-10 10` })];
}

function nearest(positions, wanted) {
  let [low, high] = [0, positions.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (positions[middle] <= wanted) low = middle;
    else high = middle;
  }
  return wanted - positions[low] <= positions[high] - wanted ? low : high;
}

function valuesAt(methods, position, metric) {
  return methods
    .map(({ label, curve }) => [label, asMetric(curve.running[nearest(curve.position, position)], metric)])
    .sort(([, first], [, second]) => first - second)
    .map(([label, value]) => `${value.toFixed(2)}  ${label}`);
}

/* The pointer, or the arrow keys, say where along the stream values are read. */
function readAlong(plot, made, x, y, titleAt, linesAt) {
  const rule = made.querySelector(".rule");
  let position = x.low;
  const show = (wanted) => {
    position = Math.min(x.high, Math.max(x.low, wanted));
    const across = x.place(position);
    rule.setAttribute("d", `M${across} ${y.stop}V${y.start}`);
    showTip(plot, across, y.start, titleAt(position), linesAt(position));
  };
  const hide = () => {
    rule.setAttribute("d", "");
    hideTip(plot);
  };
  made.addEventListener("pointermove", (event) => {
    const share = (event.clientX - made.getBoundingClientRect().left - x.start) / (x.stop - x.start);
    show(x.low + share * (x.high - x.low));
  });
  made.addEventListener("pointerleave", hide);
  plot.onblur = hide;
  plot.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(position + (step * (x.high - x.low)) / 60);
  };
}

function drawStream(plot, section, chosen, { metric }) {
  const methods = chosen.slice(0, section.ticks ? chosen.length : FIRST_CURVES).filter((method) => method.curve);
  const width = plot.clientWidth;
  const named = bandsHaveNames(section.bands, width - 80);
  const top = named ? 96 : 12;
  const values = methods.flatMap(({ curve }) => curve.running.map((error) => asMetric(error, metric)));
  const last = section.bands.length ? section.bands.at(-1)[2] : 1;
  const x = scale(0, last, 52, width - (named ? 56 : 16));
  const y = scale(0, Math.max(1, ...values) * 1.05, top + STREAM_HEIGHT, top);
  const made = canvas(width, top + STREAM_HEIGHT + 46,
    ...bandParts(section.bands, x, y),
    axes(x, y, "images seen", `${metric} %, mean of ${section.window} batches`),
    ...methods.flatMap((method) => curveParts(method, x, y, metric)),
    element("path", { class: "rule", d: "" }));
  const bandAt = (position) => section.bands.find(([, start, stop]) => position >= start && position <= stop)?.[0] ?? "";
  readAlong(plot, made, x, y, (position) => `${Math.round(position)} images seen, ${bandAt(position)}`,
    (position) => valuesAt(methods, position, metric));
  return { made, legend: methods.map((method) => legendEntry(method.label, lineSwatch(method.style))) };
}
