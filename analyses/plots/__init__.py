"""How results are drawn: figures of stored numbers, panels, sliders, pictures and views."""

from analyses.plots.figures import (
    Figure,
    as_data,
    bars,
    bundles,
    empty,
    heatmap,
    histogram,
    lines,
    mark_steps,
    plotly_script,
)
from analyses.plots.graphs import graph
from analyses.plots.images import picture
from analyses.plots.panels import SYMBOLS, dots, multiples, small_multiples, strands
from analyses.plots.style import (
    HEIGHT,
    MARGIN,
    MUTED,
    PALETTE,
    PAPER,
    Trace,
    bar,
    colour,
    line,
    logarithmic,
    words,
)
from analyses.plots.views import ADDING_NETWORK, View

__all__ = [
    "ADDING_NETWORK",
    "HEIGHT",
    "MARGIN",
    "MUTED",
    "PALETTE",
    "PAPER",
    "SYMBOLS",
    "Figure",
    "Trace",
    "View",
    "as_data",
    "bar",
    "bars",
    "bundles",
    "colour",
    "dots",
    "empty",
    "graph",
    "heatmap",
    "histogram",
    "line",
    "lines",
    "logarithmic",
    "mark_steps",
    "multiples",
    "picture",
    "plotly_script",
    "small_multiples",
    "strands",
    "words",
]
