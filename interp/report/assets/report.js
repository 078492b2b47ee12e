// Draws each figure when it is about to be seen, all of them before printing.
(function () {
  "use strict";

  const NEAR = "600px";
  const PAPER = 640; // pixels: what fits between the margins of A4 and US letter
  const nodes = Array.from(document.querySelectorAll(".drawing"));

  function draw(node) {
    if (node.dataset.drawn) return;
    node.dataset.drawn = "yes";
    const drawing = JSON.parse(document.getElementById(node.id + "-data").textContent);
    if (node.classList.contains("view")) {
      CircuitsVis.render(node.id, CircuitsVis[drawing.component], drawing.props);
    } else {
      plot(node, drawing);
    }
  }

  function plot(node, drawing) {
    const buttons = [["toImage", "resetScale2d"]];
    const canHover = matchMedia("(hover: hover)").matches;
    const config = {
      responsive: true,
      displaylogo: false,
      displayModeBar: canHover ? "hover" : false,
      modeBarButtons: buttons,
    };
    drawing.layout.font = { family: getComputedStyle(document.body).fontFamily };
    Plotly.newPlot(node, drawing.data, drawing.layout, config);
    if (!drawing.titles) return;
    const heading = document.getElementById(node.id + "-title");
    node.on("plotly_sliderchange", function (event) {
      heading.textContent = drawing.titles[event.slider.active];
    });
  }

  function widen(layout) {
    for (const node of nodes) {
      if (!node.classList.contains("figure")) continue;
      Plotly.relayout(node, layout);
      Plotly.redraw(node); // or a legend that needs fewer rows than before stays too low
    }
  }

  function onceNear(entries, observer) {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      observer.unobserve(entry.target);
      draw(entry.target);
    }
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
  window.addEventListener("beforeprint", function () {
    nodes.forEach(draw);
    widen({ width: PAPER });
  });
  window.addEventListener("afterprint", function () { widen({ width: null, autosize: true }); });
  followScroll();
})();
