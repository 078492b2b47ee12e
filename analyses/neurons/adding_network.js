// The circle network (analyses/neurons/adding_network.py). It is computed again whenever a reader
// changes a, b or the number of neurons.
var InterpViews = window.InterpViews || {};

InterpViews.AddingNetwork = (function () {
  "use strict";

  // The right logit must exceed all others by this much: ties count as wrong despite rounding.
  const MIN_MARGIN = 1e-9;
  const MAX_MODULUS = 151; // all pairs are tried up to this modulus
  const SVG = "http://www.w3.org/2000/svg";
  const SIZE = { width: 420, height: 170, left: 6, base: 20 };
  const ACTIVATIONS = {
    relu: function (x) { return Math.max(x, 0); },
    square: function (x) { return x * x; },
    abs: Math.abs,
    gelu: function (x) { return x * normal(x); },
  };

  // The normal distribution by its series, which converges for every sum of two cosines.
  function normal(x) {
    let term = x, sum = x;
    for (let n = 1; n < 60; n += 1) sum += (term *= (-x * x) / (2 * n)) / (2 * n + 1);
    return 0.5 + sum / Math.sqrt(2 * Math.PI);
  }

  function neurons(net, a, b) {
    const w = (2 * Math.PI * net.frequency) / net.p;
    return Array.from({ length: net.d_mlp }, function (_, j) {
      const t = (2 * Math.PI * j) / net.d_mlp;
      return ACTIVATIONS[net.act_fn](Math.cos(w * a - t) + Math.cos(w * b - t));
    });
  }

  function logits(net, posts) {
    const w = (2 * Math.PI * net.frequency) / net.p;
    let cosine = 0, sine = 0;
    posts.forEach(function (post, j) {
      const t = (4 * Math.PI * j) / net.d_mlp;
      cosine += post * Math.cos(t);
      sine += post * Math.sin(t);
    });
    return Array.from({ length: net.p }, function (_, c) {
      return cosine * Math.cos(w * c) + sine * Math.sin(w * c);
    });
  }

  function isRight(values, answer) {
    return values.every(function (value, c) {
      return c === answer || values[answer] - value >= MIN_MARGIN;
    });
  }

  function shareRight(net) {
    let right = 0;
    for (let a = 0; a < net.p; a += 1) {
      for (let b = 0; b < net.p; b += 1) {
        if (isRight(logits(net, neurons(net, a, b)), (a + b) % net.p)) right += 1;
      }
    }
    return right / (net.p * net.p);
  }

  function make(parent, name, text) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  function slider(parent, name, limits, value, onChange) {
    const label = make(parent, "label", name + " ");
    const input = make(label, "input");
    const output = make(label, "output", value);
    Object.assign(input, { type: "range", min: limits[0], max: limits[1], value: value, name: name });
    input.addEventListener("input", function () {
      output.textContent = input.value;
      onChange(Number(input.value));
    });
  }

  function chart(parent, title, unit) {
    const figure = make(parent, "div");
    make(figure, "div", title).className = "chart-title";
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 " + SIZE.width + " " + SIZE.height);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", title);
    figure.append(svg);
    make(figure, "div", unit).className = "chart-unit";
    return svg;
  }

  function bars(svg, values, marked) {
    const low = Math.min(0, ...values), high = Math.max(0, ...values);
    const scale = (SIZE.height - SIZE.base) / (high - low || 1);
    const step = (SIZE.width - SIZE.left) / values.length;
    svg.replaceChildren(...values.map(function (value, index) {
      const bar = document.createElementNS(SVG, "rect");
      bar.setAttribute("x", SIZE.left + index * step);
      bar.setAttribute("y", 5 + (high - Math.max(value, 0)) * scale);
      bar.setAttribute("width", Math.max(1, 0.8 * step));
      bar.setAttribute("height", Math.max(0.5, Math.abs(value) * scale));
      bar.setAttribute("class", marked.includes(index) ? "marked" : "bar");
      const told = document.createElementNS(SVG, "title");
      told.textContent = index + ": " + value.toFixed(3);
      bar.append(told);
      return bar;
    }));
  }

  return function (node, props) {
    const net = Object.assign({}, props);
    node.replaceChildren();
    node.classList.add("adding-network");
    const controls = make(node, "div"), said = make(node, "p"), both = make(node, "div");
    controls.className = "controls";
    both.className = "charts";
    said.setAttribute("aria-live", "polite");
    const left = chart(both, "Neurons' activations", "neuron");
    const right = chart(both, "Logits", "answer c; the right one is marked");
    let share = "";

    function draw() {
      const posts = neurons(net, net.a, net.b), values = logits(net, posts);
      const answer = (net.a + net.b) % net.p, best = values.indexOf(Math.max(...values));
      const verdict = isRight(values, answer) ? "leads" : "does not lead";
      bars(left, posts, []);
      bars(right, values, [answer]);
      said.textContent = net.a + " + " + net.b + " = " + answer + " mod " + net.p + ": " + answer +
        " " + verdict + ", and the largest logit is that of " + best + "." + share;
    }

    function count() {
      const percent = function () { return (100 * shareRight(net)).toFixed(2); };
      share = net.p > MAX_MODULUS ? "" : " Of all pairs " + percent() + " % are right.";
      draw();
    }

    slider(controls, "a", [0, net.p - 1], net.a, function (value) { net.a = value; draw(); });
    slider(controls, "b", [0, net.p - 1], net.b, function (value) { net.b = value; draw(); });
    slider(controls, "neurons", [1, net.widest], net.d_mlp, function (value) {
      net.d_mlp = value;
      count();
    });
    count();
  };
})();
window.InterpViews = InterpViews;
