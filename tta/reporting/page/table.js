/* The tables: which rows, columns and figures show, in which order, and the same as CSV. */

const shownRows = (section) => [...section.querySelectorAll("tbody tr")].filter((row) => !row.hidden);

function showColumns(section, columns) {
  for (const cell of section.querySelectorAll("[data-column]")) {
    cell.hidden = !columns.includes(cell.dataset.column);
  }
  const count = section.querySelectorAll("thead th:not([hidden])").length;
  section.style.setProperty("--columns", count); // the size of print follows
}

function showRows(section, filter) {
  const words = filter.toLowerCase().split(/[\s,]+/).filter(Boolean);
  for (const row of section.querySelectorAll("tbody tr")) {
    const label = row.children[0].dataset.value.toLowerCase();
    row.hidden = words.length > 0 && !words.some((word) => label.includes(word));
  }
}

function showMetric(section, metric) {
  for (const cell of section.querySelectorAll("[data-accuracy]")) cell.textContent = cell.dataset[metric] ?? cell.dataset.accuracy;
  for (const word of section.querySelectorAll(".metric")) word.textContent = metric;
}

function showTicks(section, ticked) {
  for (const row of section.querySelectorAll("tbody tr")) {
    const pressed = ticked.includes(row.dataset.key);
    row.querySelector(".method").setAttribute("aria-pressed", String(pressed));
    document.getElementById(`details-${row.dataset.key}`).hidden = !pressed;
  }
}

function sortOrder(state) {
  const sort = state.sort || (state.metric === "error" ? "mean" : "-mean");
  return { key: sort.replace(/^-/, ""), down: sort.startsWith("-") };
}

/* Rates are kept as errors: more accuracy is less error. */
function sortValue(cell, metric) {
  const { value, accuracy } = cell.dataset;
  if (value === "" || isNaN(value)) return value;
  return accuracy !== undefined && metric !== "error" ? -value : Number(value);
}

function compareValues(first, second, down) {
  if (first === "" || second === "") return (first === "") - (second === ""); // the unknown last, either way
  const numbers = typeof first === "number" && typeof second === "number";
  const order = numbers ? first - second : String(first).localeCompare(String(second));
  return down ? -order : order;
}

function sortRows(section, state) {
  const { key, down } = sortOrder(state);
  const headers = [...section.querySelectorAll("thead th")];
  const column = headers.findIndex((header) => header.dataset.sort === key);
  for (const header of headers) header.removeAttribute("aria-sort");
  const body = section.querySelector("tbody");
  const rows = [...body.children].sort((first, second) => first.dataset.method - second.dataset.method);
  if (column >= 0) {
    headers[column].setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => sortValue(row.children[column], state.metric);
    if (state.sort) rows.sort((first, second) => compareValues(value(first), value(second), down));
  }
  body.append(...rows);
}

/* No spreadsheet takes a name for a formula; numbers stay as they are. */
function csvCell(text) {
  const formula = /^\s*[=+\-@＝＋－＠]/.test(text) && !/^[+-]?\d[\d.]*( to [+-]?\d[\d.]*)?$/.test(text);
  const safe = formula ? `'${text}` : text;
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function csvText(section) {
  const lines = [section.querySelector("thead tr"), ...shownRows(section)].map((row) =>
    [...row.children]
      .filter((cell) => !cell.hidden)
      .map((cell) => csvCell(cell.textContent.trim().replace(/^–$/, "")))
      .join(","),
  );
  return lines.join("\r\n") + "\r\n";
}

function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
