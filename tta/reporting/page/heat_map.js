/* Methods by domains: dark is much error, in colours that are even in lightness (cividis). */

const CIVIDIS = ["#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#9b9476", "#bcae6c", "#dec958", "#fee838"];
const CELL = { least: 40, height: 24 };
const NAME_WIDTH = 150;
const LETTERS = 22;

const channels = (colour) => [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));

function cividis(share) {
  const place = Math.min(1, Math.max(0, share)) * (CIVIDIS.length - 1);
  const number = Math.min(CIVIDIS.length - 2, Math.floor(place));
  const [low, high] = [channels(CIVIDIS[number]), channels(CIVIDIS[number + 1])];
  return low.map((value, channel) => Math.round(value + (place - number) * (high[channel] - value)));
}

const isDark = ([red, green, blue]) => 0.299 * red + 0.587 * green + 0.114 * blue < 128;
const shortened = (name) => (name.length > LETTERS ? `${name.slice(0, LETTERS - 1)}…` : name);

function heatCell(plot, { label, best }, column, domain, error, share, place, metric) {
  if (error === null) return [];
  const colour = cividis(1 - share); // much error is dark, whichever is shown
  const text = asMetric(error, metric);
  const middle = { x: place.x + place.width / 2, y: place.y + CELL.height / 2 + 4, "text-anchor": "middle" };
  const cell = element("g", { class: best[column] ? "best" : "" },
    element("rect", { x: place.x, y: place.y, width: place.width, height: CELL.height, fill: `rgb(${colour})` }),
    element("text", { ...middle, style: `fill: ${isDark(colour) ? "white" : "black"}` }, text.toFixed(1)));
  return [tipOf(plot, cell, label, [`${domain}: ${metric} ${text.toFixed(2)} %`])];
}

function drawHeatMap(plot, section, chosen, { metric }) {
  const columns = [...section.domains, "mean"];
  const across = Math.max(CELL.least, (plot.clientWidth - NAME_WIDTH - 60) / columns.length);
  const known = chosen.flatMap((method) => method.errors).filter((error) => error !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const top = 100;
  const heads = columns.map((name, column) => slanted(name, NAME_WIDTH + (column + 0.5) * across, top - 6));
  const rows = chosen.flatMap((method, row) => [
    element("text", { x: NAME_WIDTH - 8, y: top + row * CELL.height + 16, "text-anchor": "end" }, shortened(method.label)),
    ...method.errors.flatMap((error, column) => {
      const gap = column === columns.length - 1 ? 4 : 0;
      const place = { x: NAME_WIDTH + column * across + gap, y: top + row * CELL.height, width: across - gap };
      return heatCell(plot, method, column, columns[column], error, (error - low) / (high - low || 1), place, metric);
    }),
  ]);
  const width = NAME_WIDTH + columns.length * across + 60;
  return { made: canvas(width, top + chosen.length * CELL.height + 8, ...heads, ...rows), legend: [] };
}
