/* What is shown, kept in the address behind "#": a link opens the same view, Back undoes a step. */

const LISTS = ["columns", "ticked"];

function initialState() {
  const { metric, columns } = data;
  const shown = columns.filter((column) => column.shown).map((column) => column.key);
  return { protocol: "", filter: "", metric, picture: "stream", sort: "", columns: shown, ticked: [] };
}

function allowed(name, value) {
  const select = document.getElementById(name);
  return !(select instanceof HTMLSelectElement) || [...select.options].some((option) => option.value === value);
}

function stateInAddress() {
  const state = initialState();
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (LISTS.includes(name)) state[name] = value.split(",").filter(Boolean);
    else if (name in state && allowed(name, value)) state[name] = value;
  }
  return state;
}

function addressOf(state) {
  const initial = initialState();
  const changed = Object.keys(initial).filter((name) => String(state[name]) !== String(initial[name]));
  return "#" + new URLSearchParams(changed.map((name) => [name, String(state[name])]));
}

/* A step that Back undoes; letters typed into the filter are none. */
function remember(state, replaces) {
  const address = addressOf(state);
  if (address === (location.hash || "#")) return;
  history[replaces ? "replaceState" : "pushState"](null, "", address);
}

function toggled(list, item) {
  return list.includes(item) ? list.filter((other) => other !== item) : [...list, item];
}
