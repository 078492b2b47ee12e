// Draws a figure shortly before it is seen, and the other figures while the browser is idle. Draws
// them again when the page becomes dark or is printed.
(function () {
  "use strict";

  const NEAR = "600px";
  // Printed figures: width and height of a page in pixels, which fits A4 and US letter, and the
  // share of a figure's height on the screen, so that two figures fit on a page.
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

  // Shows the step that a reader chose, also when a figure is drawn again.
  function choose(drawing, chosen) {
    const slider = drawing.layout.sliders[0];
    slider.active = chosen;
    const visible = slider.steps[chosen].args[0].visible;
    drawing.data.forEach(function (trace, index) { trace.visible = visible[index]; });
  }

  function forPaper(layout) {
    if (layout.sliders) {
      delete layout.sliders;
      layout.height -= layout.meta.slider;
      layout.margin.b -= layout.meta.slider;
    }
    layout.width = PAPER.width;
    layout.height = Math.min(PAPER.share * layout.height, PAPER.height);
  }

  function plot(node, isDark, isPaper) {
    const drawing = isDark ? darkened(dataOf(node)) : dataOf(node);
    if (node.dataset.chosen) choose(drawing, Number(node.dataset.chosen));
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
    if (drawing.titles) followSlider(node, drawing.titles);
  }

  function followSlider(node, titles) {
    const heading = document.getElementById(node.id + "-title");
    node.on("plotly_sliderchange", function (event) {
      node.dataset.chosen = event.slider.active;
      heading.textContent = titles[event.slider.active];
    });
  }

  function redraw(isDark, isPaper) {
    for (const node of nodes) {
      if (node.classList.contains("figure") && node.dataset.drawn) plot(node, isDark, isPaper);
    }
  }

  function onceNear(entries) {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  }

  // Draws one figure at a time, so that the page can react to the reader in between.
  function drawWhenIdle() {
    const next = nodes.find(function (node) { return !node.dataset.drawn; });
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
    nodes.forEach(draw);
    redraw(false, true);
  });
  window.addEventListener("afterprint", function () { redraw(darkness.matches, false); });
  followScroll();
  whenIdle(drawWhenIdle);
})();
