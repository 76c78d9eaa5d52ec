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
  const keyed = [...table.tBodies[0].rows].map((row) => {
    const cell = row.cells[column];
    return { row, key: cell.dataset.key ?? cell.textContent.trim() };
  });
  keyed.sort(({ key: x }, { key: y }) => {
    if (!x || !y) return !x - !y;
    const order = Number.isNaN(Number(x) + Number(y)) ? x.localeCompare(y) : Number(x) - Number(y);
    return down ? -order : order;
  });
  table.tBodies[0].append(...keyed.map(({ row }) => row));
}

document.querySelectorAll("thead th button").forEach((button) => button.addEventListener("click", () => {
  const header = button.closest("th");
  const down = header.ariaSort === "ascending";
  header.closest("tr").querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  header.ariaSort = down ? "descending" : "ascending";
  sort(header.closest("table"), header.cellIndex, down);
}));

// What is known of each model, unpacked when it is first asked for.
let drawers;
function unpack() {
  const packed = atob(document.getElementById("drawers").textContent);
  const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

// A drawer's address is #model-NAME, so that a link leads straight into it.
const drawer = document.getElementById("drawer");
async function open() {
  const [, name] = decodeURIComponent(location.hash).match(/^#model-(.+)/) ?? [];
  if (!name) return drawer.close();
  drawers ??= unpack();
  const content = (await drawers)[name];
  if (!content) return;
  drawer.innerHTML = content;
  drawer.scrollTop = 0;
  if (!drawer.open) drawer.showModal();
}
// The address changes without a jump to the top.
drawer.addEventListener("close", () => {
  if (location.hash.startsWith("#model-")) history.replaceState(null, "", location.pathname + location.search);
});
drawer.addEventListener("click", (event) => event.target === drawer && drawer.close());

for (const input of [search, family, state]) input.addEventListener("input", filter);
addEventListener("hashchange", open);
filter();
open();
