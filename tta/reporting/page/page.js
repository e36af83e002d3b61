/* The page: what is done to it changes the state, and the state says what is shown. */

const FIRST_CURVES = 6;
const root = document.documentElement;
const sections = [...document.querySelectorAll("section[data-section]")];
const byId = (id) => document.getElementById(id);
let state = stateInAddress();

function change(changes, replaces = false) {
  state = { ...state, ...changes };
  remember(state, replaces);
  render();
}

function render() {
  for (const name of ["protocol", "filter", "metric", "picture"]) {
    if (byId(name).value !== state[name]) byId(name).value = state[name];
  }
  for (const box of document.querySelectorAll("#columns input")) box.checked = state.columns.includes(box.value);
  sections.forEach(renderSection);
  tellStatus(sections.filter((section) => !section.hidden));
}

function tellStatus(visible) {
  const count = visible.flatMap(shownRows).length;
  const { down } = sortOrder(visible.length ? shownState(visible[0]) : state);
  const header = visible.flatMap((section) => [...section.querySelectorAll("th[aria-sort]")])[0];
  const sorted = header ? `, sorted by ${header.textContent.trim()}, ${down ? "descending" : "ascending"}` : "";
  byId("status").textContent = `${count} ${count === 1 ? "row" : "rows"} shown${sorted}`;
}

function renderSection(section) {
  showRows(section, state.filter);
  const chosen = state.protocol === "" || state.protocol === section.dataset.section;
  section.hidden = !chosen || shownRows(section).length === 0;
  for (const part of document.querySelectorAll(`[data-classes-of="${section.dataset.section}"]`)) part.hidden = section.hidden;
  if (section.hidden) return;
  showColumns(section, state.columns);
  showMetric(section, shownState(section).metric);
  sortRows(section, shownState(section));
  showTicks(section, state.ticked);
  drawPicture(section);
}

/* Runs that segment are judged by mIoU, whatever is chosen for the others. */
function shownState(section) {
  const { metric } = data.sections[section.dataset.section];
  return metric ? { ...state, metric } : state;
}

function chosenMethods(section) {
  const facts = data.sections[section.dataset.section];
  const rows = shownRows(section);
  const ticked = rows.filter((row) => state.ticked.includes(row.dataset.key));
  facts.ticks = ticked.length;
  return (ticked.length ? ticked : rows).map((row) => facts.methods[row.dataset.method]);
}

function drawPicture(section) {
  const plot = section.querySelector(".plot");
  const draw = { stream: drawStream, heat: drawHeatMap }[state.picture] ?? drawTradeOff;
  const chosen = chosenMethods(section);
  plot.onkeydown = null;
  hideTip(plot);
  const { made, legend } = draw(plot, data.sections[section.dataset.section], chosen, shownState(section));
  plot.querySelector(":scope > svg")?.remove();
  if (made) plot.prepend(made);
  plot.setAttribute("aria-label", `${byId("picture").selectedOptions[0].text}: ${shownState(section).metric}; values are in the table`);
  section.querySelector(".legend").replaceChildren(...legend);
}

function setTheme(dark) {
  root.dataset.theme = dark ? "dark" : "light";
  byId("theme").setAttribute("aria-pressed", String(dark));
}

function sortBy(header) {
  const { key, down } = sortOrder(shownState(header.closest("section")));
  change({ sort: key === header.dataset.sort && !down ? `-${key}` : header.dataset.sort });
}

function listenToSection(section) {
  for (const header of section.querySelectorAll("thead th")) {
    header.querySelector("button").addEventListener("click", () => sortBy(header));
  }
  for (const row of section.querySelectorAll("tbody tr")) {
    row.querySelector(".method").addEventListener("click", () => change({ ticked: toggled(state.ticked, row.dataset.key) }));
  }
  section.querySelector(".csv").addEventListener("click", () => download(section.querySelector(".csv").dataset.file, csvText(section)));
}

function listen() {
  sections.forEach(listenToSection);
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  byId("filter").addEventListener("input", (event) => change({ filter: event.target.value }, true));
  for (const name of ["protocol", "metric", "picture"]) {
    byId(name).addEventListener("change", (event) => change({ [name]: event.target.value }));
  }
  byId("columns").addEventListener("change", (event) => change({ columns: toggled(state.columns, event.target.value) }));
  byId("theme").addEventListener("click", () => setTheme(root.dataset.theme !== "dark"));
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the part behind "#" is the state
    byId("results").focus();
  });
  addEventListener("popstate", () => {
    state = stateInAddress();
    render();
  });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) sections.filter((section) => !section.hidden).forEach(drawPicture);
    width = innerWidth;
  });
}

setTheme(matchMedia("(prefers-color-scheme: dark)").matches);
listen();
render();
