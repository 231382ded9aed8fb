"use strict";
// Tables are sorted by the column that is clicked; the second click turns the order around.
const value = (cell) => {
  const key = cell.dataset.key;
  const number = key === "inf" ? Infinity : key === "-inf" ? -Infinity : Number(key);
  return key !== "" && !Number.isNaN(number) ? number : key;
};

const compare = (a, b) =>
  typeof a === "number" && typeof b === "number"
    ? (a < b ? -1 : a > b ? 1 : 0)
    : String(a).localeCompare(String(b), undefined, { numeric: true });

// Rows after the first few wait until they are asked for.
const fold = (table) => {
  const shown = Number(table.dataset.shown);
  if (!shown) return;
  [...table.tBodies[0].rows].forEach((row, i) => row.classList.toggle("past", i >= shown));
};

const unfold = (table) => {
  table.classList.remove("folded");
  const more = table.closest("figure").querySelector(".more");
  if (more) more.hidden = true;
};

for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const numbers = head.classList.contains("number");
      const first = numbers ? "descending" : "ascending";
      const before = head.getAttribute("aria-sort");
      const order = before === first ? (numbers ? "ascending" : "descending") : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows].map((row) => [value(row.cells[column]), row]);
      // What is not known stays last, whatever the order.
      const missing = ([, row]) => row.cells[column].textContent === "–";
      rows.sort((a, b) => missing(a) - missing(b) || sign * compare(a[0], b[0]));
      table.tBodies[0].append(...rows.map(([, row]) => row));
      fold(table);
    });
  });
  fold(table);
}

for (const more of document.querySelectorAll(".more")) {
  more.addEventListener("click", () => unfold(more.closest("figure").querySelector("table")));
}

// A link to a row that is folded away unfolds its table.
const reveal = () => {
  const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const table = row && row.closest("table");
  if (!table || !row.classList.contains("past")) return;
  unfold(table);
  row.scrollIntoView({ block: "center" });
};
addEventListener("hashchange", reveal);
reveal();
