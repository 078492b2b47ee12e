// Sorts the runs by a column, and hides the runs that do not contain the words of the filter.
(function () {
  "use strict";

  const table = document.querySelector("table.runs");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows); // in the report's order, also for equal values
  const headers = Array.from(table.tHead.rows[0].cells);
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  function valueOf(row, column) {
    const cell = row.cells[column];
    const text = cell.dataset.sort === undefined ? cell.textContent.trim() : cell.dataset.sort;
    if (!headers[column].classList.contains("number")) return text;
    const number = text === "" ? NaN : Number(text);
    return Number.isNaN(number) ? null : number;
  }

  function compare(a, b) {
    return typeof a === "string" ? collator.compare(a, b) : a - b;
  }

  function sortBy(column, direction) {
    const keyed = rows.map(function (row) { return { row: row, value: valueOf(row, column) }; });
    keyed.sort(function (a, b) {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
      return direction * compare(a.value, b.value); // undefined values come last in both directions
    });
    body.append(...keyed.map(function (pair) { return pair.row; }));
  }

  function makeSortable(header, column) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", function () {
      const isUp = header.getAttribute("aria-sort") === "ascending";
      for (const each of headers) each.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", isUp ? "descending" : "ascending");
      sortBy(column, isUp ? -1 : 1);
    });
  }

  function filter(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const content = row.textContent.toLowerCase();
      row.hidden = !words.every(function (word) { return content.includes(word); });
      count += !row.hidden;
    }
    return count;
  }

  if (rows.length < 2) return; // there is nothing to sort
  headers.forEach(makeSortable);
  const tools = document.querySelector(".tools");
  const box = tools.querySelector("input");
  const output = tools.querySelector("output");
  function update() {
    output.textContent = filter(box.value) + " of " + rows.length + " runs";
  }
  box.addEventListener("input", update);
  box.addEventListener("keydown", function (event) {
    if (event.key !== "Escape") return;
    box.value = "";
    update();
  });
  tools.hidden = false;
  update(); // a browser keeps the filter's text when the page is loaded again
})();
