// Tables are sorted by a click on a column's head; without this script they are read in the order they have.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows].map((row) => {
        const text = row.cells[column].textContent;
        return { row, text, number: Number.parseFloat(text) };
      });
      const isNumber = rows.every(({ text, number }) => text === "–" || !Number.isNaN(number));
      // What has no figure comes last, whichever way.
      rows.sort((a, b) =>
        (a.text === "–") - (b.text === "–") ||
        sign * (isNumber ? a.number - b.number || 0 : a.text.localeCompare(b.text, "en", { numeric: true })));
      table.tBodies[0].append(...rows.map(({ row }) => row));
    });
  });
}
