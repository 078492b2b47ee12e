"""How results are drawn: figures of stored numbers, panels, sliders, pictures and views."""

from analyses.plots.figures import (
    HEIGHT,
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
    small_multiples,
    words,
)

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
