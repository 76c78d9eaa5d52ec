"use strict";
const rows = [...document.querySelectorAll("#matrix tbody tr")];
const [search, family, state] = ["search", "family", "state"].map((id) => document.getElementById(id));
const count = document.getElementById("count");

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const { text, family: own, states } = row.dataset;
    row.hidden = !(words.every((word) => text.includes(word)) && (!family.value || own === family.value)
      && (!state.value || states.split(" ").includes(state.value)));
    shown += !row.hidden;
  }
  count.textContent = `${shown} of ${rows.length} models`;
}

// A cell's data-key sorts it; without one, its text does. Numbers sort as numbers, empty cells last.
function sort(table, column, down) {
  const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (!x || !y) return !x - !y;
    const order = Number.isNaN(Number(x) + Number(y)) ? x.localeCompare(y) : Number(x) - Number(y);
    return down ? -order : order;
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

document.querySelectorAll("thead th button").forEach((button) => button.addEventListener("click", () => {
  const header = button.closest("th");
  const down = header.ariaSort === "ascending";
  header.closest("tr").querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  header.ariaSort = down ? "descending" : "ascending";
  sort(header.closest("table"), header.cellIndex, down);
}));

// A drawer's address is #model-NAME, so that a link leads straight into it.
function open() {
  const drawer = document.getElementById(location.hash.slice(1));
  if (drawer instanceof HTMLDialogElement && !drawer.open) drawer.showModal();
}
document.querySelectorAll("button.model").forEach((button) => button.addEventListener("click", () => {
  history.replaceState(null, "", `#${button.dataset.drawer}`);
  open();
}));
document.querySelectorAll("dialog").forEach((drawer) => {
  drawer.addEventListener("close", () => history.replaceState(null, "", "#"));
  drawer.addEventListener("click", (event) => event.target === drawer && drawer.close());
});

for (const input of [search, family, state]) input.addEventListener("input", filter);
addEventListener("hashchange", open);
filter();
open();
