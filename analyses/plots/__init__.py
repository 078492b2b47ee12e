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
from analyses.plots.panels import small_multiples
from analyses.plots.style import HEIGHT, words

__all__ = [
    "HEIGHT",
    "Figure",
    "as_data",
    "bars",
    "bundles",
    "empty",
    "heatmap",
    "histogram",
    "lines",
    "mark_steps",
    "plotly_script",
    "small_multiples",
    "words",
]
