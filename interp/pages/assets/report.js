// Draws a figure shortly before it is seen, and the other figures while the browser is idle. Draws
// them again when the page becomes dark or is printed.
(function () {
  "use strict";

  const NEAR = "600px";
  // Printed figures: width and height of a page in pixels, which fits A4 and US letter, and the
  // share of a figure's height on the screen, so that two figures fit on a page.
  const COLUMN = 480, SCALE = 4; // pixels of width of a figure taken along, and of a PNG over those
  const FRAME = 400; // milliseconds between steps that are played
  const PAPER = { width: 640, height: 860, share: 0.85 };
  const nodes = Array.from(document.querySelectorAll(".drawing"));
  const darkColours = JSON.parse(document.getElementById("dark-colours").textContent);
  const darkness = matchMedia("(prefers-color-scheme: dark)");

  function dataOf(node) {
    return JSON.parse(document.getElementById(node.id + "-data").textContent);
  }

  function draw(node) {
    if (node.dataset.drawn) return;
    node.dataset.drawn = "yes";
    near.unobserve(node);
    if (node.classList.contains("own")) {
      const drawing = dataOf(node);
      InterpViews[drawing.component](node, drawing.props);
    } else if (node.classList.contains("view")) {
      const drawing = dataOf(node);
      CircuitsVis.render(node.id, CircuitsVis[drawing.component], drawing.props);
    } else {
      plot(node, darkness.matches, false);
    }
  }

  // A drawing in which every colour of the light page is replaced by its dark one.
  function darkened(value) {
    if (typeof value === "string") return darkColours[value] || value;
    if (Array.isArray(value)) return value.map(darkened);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(function (pair) {
      return [pair[0], darkened(pair[1])];
    }));
  }

  // Which of a figure's steps is shown where the page stands at a step: the last that is not later.
  function placeOf(drawing, step) {
    return Math.max(0, drawing.steps.filter(function (own) { return own <= step; }).length - 1);
  }

  function choose(drawing, step) {
    const visible = drawing.visible[placeOf(drawing, step)];
    drawing.data.forEach(function (trace, index) { trace.visible = visible[index]; });
  }

  function forPaper(layout) {
    layout.width = PAPER.width;
    layout.height = Math.min(PAPER.share * layout.height, PAPER.height);
  }

  function plot(node, isDark, isPaper) {
    const drawing = isDark ? darkened(dataOf(node)) : dataOf(node);
    if (drawing.steps) choose(drawing, step());
    if (isPaper) forPaper(drawing.layout);
    const canHover = matchMedia("(hover: hover)").matches;
    const config = {
      responsive: !isPaper,
      displaylogo: false,
      displayModeBar: canHover && !isPaper ? "hover" : false,
      modeBarButtons: [["toImage", "resetScale2d"]],
    };
    drawing.layout.font = Object.assign(
      {}, drawing.layout.template.layout.font,
      { family: getComputedStyle(document.body).fontFamily }
    );
    Plotly.newPlot(node, drawing.data, drawing.layout, config);
    node.on("plotly_click", openRun);
    if (drawing.steps) {
      moving.set(node, drawing);
      entitle(node, drawing);
    }
  }

  // A curve of a run leads to the run's page. Curves of a trace stand one behind the other, with a
  // gap behind each, and the trace names their runs.
  function openRun(event) {
    const point = event.points[0], names = point.data.meta;
    if (!Array.isArray(names)) return;
    const before = point.data.y.slice(0, point.pointIndex);
    const gaps = before.filter(function (value) { return value === null; }).length;
    for (const link of document.querySelectorAll("table.runs tbody th a")) {
      if (link.textContent === names[gaps]) link.click();
    }
  }

  // Drawn figures that have steps, and what they are drawn from.
  const moving = new Map();

  function entitle(node, drawing) {
    const place = placeOf(drawing, step());
    document.getElementById(node.id + "-title").textContent = drawing.titles[place];
    node.dataset.step = drawing.steps[place];
  }

  // One step for the whole page, chosen at its foot.
  const scrubber = document.querySelector(".scrubber");
  const steps = scrubber ? JSON.parse(scrubber.dataset.steps) : [];
  const range = scrubber ? scrubber.querySelector("input") : null;

  function step() {
    return range ? steps[Number(range.value)] : Infinity;
  }

  function moveTo(wanted) {
    range.value = Math.max(0, steps.filter(function (own) { return own <= wanted; }).length - 1);
    scrubber.querySelector("output").textContent = step().toLocaleString("en");
    range.setAttribute("aria-valuetext", "step " + step());
    for (const [node, drawing] of moving) {
      if (node.dataset.step === String(drawing.steps[placeOf(drawing, step())])) continue;
      Plotly.restyle(node, { visible: drawing.visible[placeOf(drawing, step())] });
      entitle(node, drawing);
    }
  }

  // Where a step lies between the stops, from 0 to 1.
  function shareOf(wanted) {
    const after = steps.findIndex(function (own) { return own >= wanted; });
    if (after <= 0) return after < 0 ? 1 : 0;
    const within = (wanted - steps[after - 1]) / (steps[after] - steps[after - 1]);
    return (after - 1 + within) / (steps.length - 1);
  }

  function setUpScrubber() {
    scrubber.hidden = false;
    document.body.classList.add("has-scrubber");
    const rail = scrubber.querySelector(".rail"), button = scrubber.querySelector("button");
    for (const [name, at] of Object.entries(JSON.parse(scrubber.dataset.marks))) {
      const mark = document.createElement("span");
      mark.className = "phase";
      mark.title = name + ", step " + at;
      mark.style.setProperty("--share", shareOf(at));
      rail.append(mark);
    }
    let timer = 0;
    function pause() {
      clearInterval(timer);
      timer = 0;
      button.textContent = "\u25b6";
      button.setAttribute("aria-label", "Play");
    }
    button.addEventListener("click", function () {
      if (timer) {
        pause();
        remember();
        return;
      }
      button.textContent = "\u23f8";
      button.setAttribute("aria-label", "Pause");
      if (Number(range.value) === steps.length - 1) moveTo(steps[0]);
      timer = setInterval(function () {
        moveTo(steps[Number(range.value) + 1]);
        if (Number(range.value) < steps.length - 1) return;
        pause();
        remember();
      }, FRAME);
    });
    range.addEventListener("input", function () { pause(); moveTo(step()); });
    range.addEventListener("change", remember);
    moveTo(steps[steps.length - 1]);
  }

  // What a figure shows now, to be taken along: light, without its title, at the size of a paper.
  function taken(node) {
    const drawing = dataOf(node);
    if (drawing.steps) choose(drawing, step());
    drawing.data = drawing.data.filter(function (trace) { return trace.visible !== false; });
    drawing.layout.width = COLUMN;
    return drawing;
  }

  // A row a point: its curve, where it lies, and what it shows there.
  function asCsv(drawing) {
    const rows = [["curve", "panel", "x", "y", "z"]];
    for (const trace of drawing.data) {
      const panel = ((trace.xaxis || "x") + (trace.yaxis || "y")).replace("xy", "1");
      const name = trace.name || "", table = trace.z;
      if (table) {
        table.forEach(function (row, i) {
          row.forEach(function (value, j) {
            rows.push([name, panel, trace.x ? trace.x[j] : j, trace.y ? trace.y[i] : i, value]);
          });
        });
        continue;
      }
      const count = Math.max((trace.x || []).length, (trace.y || []).length);
      for (let i = 0; i < count; i++) {
        rows.push([name, panel, trace.x ? trace.x[i] : i, trace.y ? trace.y[i] : i, ""]);
      }
    }
    return rows.map(function (row) { return row.map(quoted).join(",") + "\n"; }).join("");
  }

  function quoted(value) {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  }

  async function take(node, format) {
    const drawing = taken(node), link = document.createElement("a");
    const at = drawing.steps ? "-step-" + drawing.steps[placeOf(drawing, step())] : "";
    link.download = document.title + "-" + node.id + at + "." + format;
    if (format === "csv") {
      link.href = "data:text/csv;charset=utf-8," + encodeURIComponent(asCsv(drawing));
    } else {
      const size = { format: format, width: COLUMN, height: drawing.layout.height };
      link.href = await Plotly.toImage(drawing, Object.assign(size, { scale: format === "png" ? SCALE : 1 }));
    }
    link.click();
  }

  // The address holds the step and the open folds: #result-3-1&step=600&open=result-7-fold
  function remembered() {
    const state = { at: "", step: "", open: "" };
    for (const part of location.hash.slice(1).split("&")) {
      const [name, value] = part.split("=");
      if (value === undefined) state.at = decodeURIComponent(name);
      else if (name in state) state[name] = decodeURIComponent(value);
    }
    return state;
  }

  function remember() {
    const parts = remembered().at ? [remembered().at] : [];
    if (range && Number(range.value) < steps.length - 1) parts.push("step=" + step());
    const open = Array.from(document.querySelectorAll("details.fold[open]"));
    if (open.length) parts.push("open=" + open.map(function (fold) { return fold.id; }).join(","));
    history.replaceState(null, "", parts.length ? "#" + parts.join("&") : location.pathname);
  }

  // Shows what the address says: at first, and where a link is followed.
  function recall() {
    const state = remembered();
    for (const id of state.open.split(",")) {
      const fold = document.getElementById(id);
      if (fold && fold.tagName === "DETAILS") fold.open = true;
    }
    if (range && state.step !== "" && isFinite(state.step)) moveTo(Number(state.step));
    const target = state.at && document.getElementById(state.at);
    if (!target) return;
    const inside = target.querySelector(":scope > details");
    if (inside) inside.open = true;
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) {
      fold.open = true;
    }
    (target.closest("figure") || target).scrollIntoView();
  }

  function redraw(isDark, isPaper) {
    for (const node of nodes) {
      if (node.classList.contains("figure") && node.dataset.drawn) plot(node, isDark, isPaper);
    }
  }

  function onceNear(entries) {
    for (const entry of entries) {
      if (entry.isIntersecting && !isFolded(entry.target)) draw(entry.target);
    }
  }

  // A drawing has no width to fill while a fold around it is closed.
  function isFolded(node) {
    return Boolean(node.closest("details:not([open])"));
  }

  // Draws one figure at a time, so that the page can react to the reader in between.
  function drawWhenIdle() {
    const next = nodes.find(function (node) { return !node.dataset.drawn && !isFolded(node); });
    if (!next) {
      document.documentElement.dataset.drawn = "yes";
      return;
    }
    draw(next);
    whenIdle(drawWhenIdle);
  }

  function whenIdle(call) {
    if (window.requestIdleCallback) requestIdleCallback(call, { timeout: 500 });
    else setTimeout(call, 50);
  }

  function followScroll() {
    const links = new Map();
    for (const link of document.querySelectorAll("nav a[href^='#']")) {
      links.set(link.getAttribute("href").slice(1), link);
    }
    const observer = new IntersectionObserver(function (entries) {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id).setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-20% 0px -70% 0px" });
    for (const id of links.keys()) observer.observe(document.getElementById(id));
  }

  const near = new IntersectionObserver(onceNear, { rootMargin: NEAR });
  for (const node of nodes) near.observe(node);
  darkness.addEventListener("change", function () { redraw(darkness.matches, false); });
  window.addEventListener("beforeprint", function () {
    for (const node of nodes) if (!isFolded(node)) draw(node);
    redraw(false, true);
  });
  window.addEventListener("afterprint", function () { redraw(darkness.matches, false); });
  document.addEventListener("toggle", function (event) {
    if (!event.target.open) return;
    const inside = nodes.filter(function (node) { return event.target.contains(node) && !isFolded(node); });
    inside.forEach(draw);
  }, true);
  document.addEventListener("click", function (event) {
    if (event.target.closest("summary")) setTimeout(remember);
    const button = event.target.closest("[data-take]");
    if (button) take(button.closest("figure").querySelector(".drawing"), button.dataset.take);
  });
  if (scrubber) setUpScrubber();
  window.addEventListener("hashchange", function () { recall(); remember(); });
  recall();
  followScroll();
  whenIdle(drawWhenIdle);
})();
