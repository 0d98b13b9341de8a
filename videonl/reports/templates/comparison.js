"use strict";
for (const button of document.querySelectorAll("#table th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, column = [...head.parentElement.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = document.getElementById("table").tBodies[0], sign = down ? -1 : 1;
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
