"""Names along the axes of figures lie apart from titles and sliders, as a browser draws them."""

import numpy as np
import pytest

from analyses import plots
from analyses.plots.slider import slider
from tests.interp.pages.browser import Tab

SITES = [f"{layer}.resid_{half}[-1]" for layer in range(2) for half in ("mid", "post")]
LABELS = ["depth of the tree", "parity", "depth of the tree, untrained", "parity, untrained"]
WORDS = ["gradient symmetricity", "distance irrelevance", "circularity"]
EDGES = """(function (selector) {
  const boxes = [...document.querySelectorAll(selector)].map(e => e.getBoundingClientRect());
  return {
    top: Math.min(...boxes.map(b => b.top)), bottom: Math.max(...boxes.map(b => b.bottom)),
    left: Math.min(...boxes.map(b => b.left)), right: Math.max(...boxes.map(b => b.right)),
  };
})"""
BELOW, BESIDE = ".g-xtitle, .xtick text", ".g-ytitle"
HANDLE, NAMES = ".slider-container", ".ytick text"


def heatmap(columns):
    values = np.linspace(0, 1, len(LABELS) * len(columns)).reshape(len(LABELS), -1)
    return plots.heatmap(
        values, title="Where", axes=("site", "label"), unit="score", ticks=(columns, LABELS)
    )


FIGURES = {
    "words to wrap": plots.bars(WORDS, {"a": [1, 2, 3]}, title="t", axes=("", "score")),
    "names to slant": heatmap(SITES),
    "more names than fit": heatmap([f"{site} {i}" for i in range(9) for site in SITES]),
    "numbers": plots.bars([1, 2, 3], {"a": [1, 2, 3]}, title="t", axes=("step", "score")),
}


@pytest.fixture(params=[430, 1000], ids=["narrow", "wide"])
def drawn(request, browser, tmp_path):
    """Opens a figure with a slider."""
    tab = Tab(browser, request.param, 900)

    def draw(figure):
        file = tmp_path / "figure.html"
        slider([figure, figure], (0, 10)).write_html(file, include_plotlyjs=True)
        tab.open(file, "document.querySelector('.slider-container')")
        return lambda selector: tab.run(f"{EDGES}('{selector}')")

    yield draw
    tab.close()


@pytest.mark.parametrize("name", FIGURES)
def test_what_stands_below_the_axis_ends_above_the_slider(drawn, name):
    edges = drawn(FIGURES[name])
    assert edges(BELOW)["bottom"] < edges(HANDLE)["top"]


def test_the_title_of_rows_lies_left_of_their_names(drawn):
    edges = drawn(FIGURES["names to slant"])
    assert edges(BESIDE)["right"] < edges(NAMES)["left"]
