"""Style and script of the comparison page; both stand inside the page."""

STYLE = """
:root { color-scheme: light; --ink: #1c2530; --soft: #5b6673; --line: #d9dee4; --back: #f6f7f9; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 0 auto;
       max-width: 84rem; padding: 1.2rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p, li, dd { color: var(--soft); } a { color: inherit; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { background: var(--back); text-align: left; } td.number, th.number { text-align: right; }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0;
            padding: 0; cursor: pointer; }
th button::after { content: " \\2195"; color: #a9b2bc; }
th[aria-sort=ascending] button::after { content: " \\2191"; color: inherit; }
th[aria-sort=descending] button::after { content: " \\2193"; color: inherit; }
tr.lit td { background: #fff5d6; } .error { color: #a11; }
svg { width: 100%; height: auto; max-width: 60rem; min-width: 40rem;
      font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } .grid { stroke: #e8ebee; } .bar { stroke: #b9bfc6; stroke-width: 2; }
.lead { stroke: #9aa3ad; stroke-width: .8; } .name { paint-order: stroke; stroke: #fff;
       stroke-width: 3px; } .point.lit { stroke: #e0a800; stroke-width: 3px; }
details { margin: .6rem 0; } summary { cursor: pointer; font-weight: 600; }
.matrix td { text-align: center; min-width: 2.4rem; border: 1px solid #fff; }
.matrix th { font-weight: 400; font-size: .85rem; } .matrix thead th { writing-mode: vertical-rl;
       transform: rotate(180deg); text-align: left; background: none; padding: .3rem; }
.matrix tbody th { text-align: right; } pre { background: var(--back); padding: .8rem;
       overflow-x: auto; font-size: .85rem; }
"""

SCRIPT = """
"use strict";
const table = document.getElementById("table");
for (const button of table.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, column = [...head.parentElement.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0], sign = down ? -1 : 1;
    const value = row => row.cells[column].dataset.value;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");  // the empty ones stay last
      const numbers = Number(x) - Number(y);
      return sign * (Number.isNaN(numbers) ? x.localeCompare(y) : numbers);
    });
    body.append(...rows);
  });
}
function light(name, on) {
  for (const node of document.querySelectorAll("[data-row]"))
    if (node.dataset.row === name) node.classList.toggle("lit", on);
}
for (const node of document.querySelectorAll("[data-row]")) {
  node.addEventListener("pointerenter", () => light(node.dataset.row, true));
  node.addEventListener("pointerleave", () => light(node.dataset.row, false));
}
"""
