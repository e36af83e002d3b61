"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const sections = [...document.querySelectorAll("section[data-section]")];
const status = document.getElementById("status");
const root = document.documentElement;
const PRINTED_WIDTH = 940; // pixels across a page on its side
const FIRST_CURVES = 6;
const MOST_NAMED_BANDS = 40;

function variable(name) {
  return getComputedStyle(root).getPropertyValue(name).trim();
}

/* Plotly reads a little markup in names; names are shown as they are. */
function plain(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function chosen(section) {
  const rows = [...section.querySelectorAll("tbody tr")].filter((row) => !row.hidden);
  const pressed = rows.filter((row) => row.querySelector(".method").getAttribute("aria-pressed") === "true");
  return (pressed.length ? pressed : rows.slice(0, FIRST_CURVES)).map((row) => Number(row.dataset.method));
}

function traces(section) {
  const { curves } = data[section.dataset.section];
  return chosen(section)
    .filter((number) => curves[number].position)
    .map((number) => ({
      type: "scatter",
      mode: "lines",
      name: plain(curves[number].label),
      x: curves[number].position,
      y: curves[number].running,
      line: {
        color: curves[number].style.color || variable("--ink"), // black or white with the theme
        dash: curves[number].style.dash,
        width: 2,
      },
    }));
}

function bandShapes(bands) {
  return bands
    .filter((_, number) => number % 2)
    .map(([, start, stop]) => ({
      type: "rect", xref: "x", yref: "paper", x0: start, x1: stop, y0: 0, y1: 1,
      fillcolor: variable("--band"), line: { width: 0 }, layer: "below",
    }));
}

function bandNames(bands, width) {
  if (bands.length > MOST_NAMED_BANDS || width < 14 * bands.length) return [];
  return bands.map(([name, start, stop]) => ({
    text: plain(name.replaceAll("_", " ")), x: (start + stop) / 2, y: 1.01, yref: "paper",
    xanchor: "left", yanchor: "bottom", textangle: -50, showarrow: false, font: { size: 10 },
  }));
}

function draw(section, width) {
  const { metric, window: batches, bands } = data[section.dataset.section];
  const plot = section.querySelector(".plot");
  const names = bandNames(bands, (width || plot.clientWidth) - 80);
  const range = bands.length ? [0, bands.at(-1)[2]] : undefined;
  const axis = { gridcolor: variable("--line"), zeroline: false };
  Plotly.react(
    plot,
    traces(section),
    {
      paper_bgcolor: variable("--paper"),
      plot_bgcolor: variable("--paper"),
      font: { color: variable("--ink"), size: 12, family: "system-ui, sans-serif" },
      margin: { l: 50, r: names.length ? 60 : 30, t: names.length ? 90 : 10, b: 90 },
      width,
      xaxis: { ...axis, title: { text: "images seen", standoff: 6 }, showgrid: false, range },
      yaxis: { ...axis, title: { text: `${metric} %, mean of ${batches} batches` }, rangemode: "tozero" },
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom" },
      hovermode: "x unified",
      hoverlabel: { bgcolor: variable("--paper"), font: { color: variable("--ink") } },
      shapes: bandShapes(bands),
      annotations: names,
      showlegend: true,
    },
    { responsive: true, displayModeBar: false },
  );
}

function sortBy(section, header) {
  const column = [...header.parentElement.children].indexOf(header);
  const down = header.getAttribute("aria-sort") === "ascending";
  const body = section.querySelector("tbody");
  const value = (row) => row.children[column].dataset.value;
  const compare = (first, second) => {
    const [a, b] = [value(first), value(second)];
    if (a === "" || b === "") return (a === "") - (b === ""); // the unknown last, either way
    const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
    return down ? -order : order;
  };
  for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...[...body.children].sort(compare));
  status.textContent = `sorted by ${header.textContent.trim()}, ${down ? "descending" : "ascending"}`;
}

function toggleMethod(section, button) {
  const pressed = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(pressed));
  document.getElementById(button.getAttribute("aria-controls")).hidden = !pressed;
  draw(section);
}

function filter() {
  const words = document.getElementById("filter").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const protocol = document.getElementById("protocol").value;
  let shown = 0;
  for (const section of sections) {
    let rows = 0;
    for (const row of section.querySelectorAll("tbody tr")) {
      const label = row.children[0].dataset.value.toLowerCase();
      row.hidden = words.length > 0 && !words.some((word) => label.includes(word));
      rows += !row.hidden;
    }
    section.hidden = rows === 0 || (protocol !== "" && protocol !== section.dataset.section);
    shown += section.hidden ? 0 : rows;
    if (!section.hidden) draw(section);
  }
  status.textContent = `${shown} ${shown === 1 ? "row" : "rows"} shown`;
}

function setTheme(dark, width) {
  root.dataset.theme = dark ? "dark" : "light";
  const button = document.getElementById("theme");
  button.setAttribute("aria-pressed", String(dark));
  for (const section of sections) if (!section.hidden) draw(section, width);
}

for (const section of sections) {
  for (const header of section.querySelectorAll("thead th")) {
    header.querySelector("button").addEventListener("click", () => sortBy(section, header));
  }
  for (const button of section.querySelectorAll(".method")) {
    button.addEventListener("click", () => toggleMethod(section, button));
  }
}
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("filter").addEventListener("input", filter);
document.getElementById("protocol").addEventListener("change", filter);
document.getElementById("domains").addEventListener("change", (event) => {
  root.classList.toggle("show-domains", event.target.checked);
});
document.getElementById("theme").addEventListener("click", () => setTheme(root.dataset.theme !== "dark"));
let darkOnScreen = false;
addEventListener("beforeprint", () => {
  darkOnScreen = root.dataset.theme === "dark";
  setTheme(false, PRINTED_WIDTH);
});
addEventListener("afterprint", () => setTheme(darkOnScreen));
setTheme(matchMedia("(prefers-color-scheme: dark)").matches);
