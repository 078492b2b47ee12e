// Sorts the runs by a column, and hides the runs that do not contain the words of the filter.
(function () {
  "use strict";

  const MAX_VALUES = 20; // of a setting that can be chosen from a list
  const COLOURS = ["#0b3c5d", "#d95f02", "#4fa3d1", "#7a1f5c", "#8fbf4d", "#e6b800", "#767676"];
  const SYMBOLS = ["circle", "square", "diamond", "cross", "triangle-up", "x", "star"];

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

  // The name stands first in a row, and a failure may stand below it.
  function nameOf(row) {
    const link = row.cells[0].querySelector("a");
    return link ? link.textContent : row.cells[0].firstChild.textContent.trim();
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
      row.hidden = !words.every(function (word) { return content.includes(word); })
        || !choices.every(function (choice) { return choice.admits(row); });
      count += !row.hidden;
    }
    return count;
  }

  // A list of values for each setting that has few of them.
  const choices = [];
  function addChoice(header, column) {
    const texts = rows.map(function (row) { return row.cells[column].textContent.trim(); });
    const values = Array.from(new Set(texts)).sort(collator.compare);
    if (values.length < 2 || values.length > MAX_VALUES) return;
    const label = document.createElement("label"), select = document.createElement("select");
    label.append(header.textContent.trim() + " ", select);
    for (const value of ["all"].concat(values)) select.add(new Option(value));
    select.addEventListener("change", update);
    tools.append(label);
    choices.push({ admits: function (row) {
      return select.selectedIndex === 0 || row.cells[column].textContent.trim() === select.value;
    } });
  }

  // Any column over any other, a dot a run.
  function setUpScatter(fold) {
    const told = JSON.parse(document.getElementById("scatter-data").textContent);
    const node = document.getElementById("scatter"), names = Object.keys(told.columns);
    const numbers = names.filter(function (name) {
      return told.columns[name].every(function (value) { return typeof value !== "string"; });
    });
    const hrefs = new Map(told.runs);
    const selects = Object.fromEntries(["x", "y", "colour"].map(function (role) {
      const select = fold.querySelector("select[name=" + role + "]");
      for (const name of role === "colour" ? ["none"].concat(names) : numbers) {
        select.add(new Option(name));
      }
      select.addEventListener("change", draw);
      return [role, select];
    }));
    if (numbers.length < 2) {
      fold.hidden = true;
      return draw;
    }
    selects.y.selectedIndex = numbers.length - 1;

    function draw() {
      if (!fold.open) return;
      const shown = new Set(rows.filter(function (row) { return !row.hidden; })
        .map(function (row) { return nameOf(row); }));
      const kept = told.runs.map(function (run, index) { return index; })
        .filter(function (index) { return shown.has(told.runs[index][0]); });
      const of = function (name) { return kept.map(function (index) { return told.columns[name][index]; }); };
      const group = selects.colour.value === "none" ? null : of(selects.colour.value);
      const isNumber = group && numbers.includes(selects.colour.value);
      const values = group && !isNumber ? Array.from(new Set(group)).sort(collator.compare) : [null];
      const x = of(selects.x.value), y = of(selects.y.value);
      const style = getComputedStyle(document.body), ink = style.color;
      const traces = values.map(function (value, number) {
        const mine = kept.map(function (_, place) { return place; })
          .filter(function (place) { return value === null || group[place] === value; });
        const at = function (list) { return mine.map(function (place) { return list[place]; }); };
        return {
          type: "scatter", mode: "markers", name: value === null ? "" : String(value),
          x: at(x), y: at(y), text: mine.map(function (place) { return told.runs[kept[place]][0]; }),
          marker: isNumber
            ? { size: 9, color: at(group), colorscale: "Cividis", showscale: true,
                colorbar: { title: { text: selects.colour.value } } }
            : { size: 9, color: COLOURS[number % COLOURS.length], symbol: SYMBOLS[number % SYMBOLS.length] },
        };
      });
      const axis = function (name) {
        return { title: { text: name }, automargin: true, gridcolor: "rgba(128,128,128,0.25)", zeroline: false };
      };
      Plotly.react(node, traces, {
        xaxis: axis(selects.x.value), yaxis: axis(selects.y.value), height: 420,
        margin: { l: 60, r: 20, t: 20, b: 50 }, showlegend: values.length > 1,
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: style.fontFamily, color: ink },
      }, { responsive: true, displayModeBar: false });
      node.removeAllListeners("plotly_click");
      node.on("plotly_click", function (event) {
        const href = hrefs.get(event.points[0].text);
        if (href) location.href = href.split("/").map(encodeURIComponent).join("/");
      });
    }
    fold.addEventListener("toggle", draw);
    return draw;
  }

  if (rows.length < 2) return; // there is nothing to sort
  headers.forEach(makeSortable);
  const tools = document.querySelector(".tools");
  const box = tools.querySelector("input");
  const output = tools.querySelector("output");
  function update() {
    output.textContent = filter(box.value) + " of " + rows.length + " runs";
    redraw();
  }
  headers.forEach(function (header, column) {
    if (header.dataset.setting !== undefined) addChoice(header, column);
  });
  const fold = document.getElementById("scatter-fold");
  const redraw = fold ? setUpScatter(fold) : function () {};
  box.addEventListener("input", update);
  box.addEventListener("keydown", function (event) {
    if (event.key !== "Escape") return;
    box.value = "";
    update();
  });
  tools.hidden = false;
  update(); // a browser keeps the filter's text when the page is loaded again
})();
