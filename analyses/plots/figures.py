"""Figures, drawn from stored numbers: the only place that knows plotly.

One palette, in an order whose lightness also tells the colours apart in grey; lines differ in dash
as well, and bars from the fourth on in hatching. Axis titles carry units. A figure is laid out as
plain tables (`analyses.plots.style`) and handed to plotly once: each later change of a plotly
figure costs more than making it. Figures of several panels are in `analyses.plots.panels`.
"""

import math
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from analyses.plots.plain import made
from analyses.plots.style import (
    HATCHES,
    HEIGHT,
    INK,
    MARK,
    MARK_PAPER,
    MUTED,
    PALETTE,
    along_bottom,
    bar,
    colour,
    curve,
    layout_of,
    line,
    logarithmic,
    plain,
    stroke,
)

MARK_ROW = 16  # pixels of a row that holds the label of a mark
HISTOGRAM_BINS = 40

Figure = go.Figure


def lines(
    x: Sequence[float] | np.ndarray,
    curves: Mapping[str, Any],
    *,
    title: str,
    axes: tuple[str, str],
    log_y: bool = False,
) -> Figure:
    """Curves over one x axis.

    Args:
        x: Shared abscissa.
        curves: Ordinates by name, in the order of the legend.
        title: What is seen.
        axes: Titles of x and y, with units.
        log_y: Logarithmic ordinate.
    """
    traces = [
        curve(x, y, str(name), stroke(index, 2)) for index, (name, y) in enumerate(curves.items())
    ]
    return _figure(traces, title, axes, yaxis=logarithmic(curves) if log_y else {})


def bars(
    x: Sequence[Any] | np.ndarray,
    heights: Mapping[str, Any],
    *,
    title: str,
    axes: tuple[str, str],
    strong: Sequence[Any] = (),
) -> Figure:
    """Bars side by side; of a single set of bars, all but those at the `strong` x are muted."""
    traces = []
    for index, (name, y) in enumerate(heights.items()):
        fill: Any = colour(index)
        if len(heights) == 1 and len(strong):
            fill = [PALETTE[1] if place in strong else MUTED for place in plain(x)]
        marker = {"color": fill} | ({"pattern": {"shape": HATCHES[index % 7]}} if index > 2 else {})
        traces.append(bar(x, y, fill) | {"name": str(name), "marker": marker})
    return _figure(traces, title, axes, **along_bottom(plain(x), HEIGHT, room=320))


def bundles(
    x: Sequence[float] | np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    title: str,
    axes: tuple[str, str],
) -> Figure:
    """Many thin curves over one x axis, coloured by group; the first group is drawn on top.

    Args:
        x: Shared abscissa.
        groups: By name, one row for each curve.
        title: What is seen.
        axes: Titles of x and y, with units.
    """
    traces = []
    for index, (name, curves) in reversed(list(enumerate(groups.items()))):
        y = np.hstack([curves, np.full((len(curves), 1), np.nan)]).ravel()
        abscissa = np.tile([*plain(x), np.nan], len(curves))
        style = {"color": MUTED if index else PALETTE[1], "width": 1 if index else 2}
        traces.append(line(abscissa, y, str(name), style))
    return _figure(traces, title, axes)


def heatmap(
    z: np.ndarray,
    *,
    title: str,
    axes: tuple[str, str],
    unit: str,
    limits: tuple[float, float] | None = None,
    ticks: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Figure:
    """A matrix in colour, first row on top.

    Args:
        z: Values, rows by columns.
        title: What is seen.
        axes: Titles of columns (x) and rows (y).
        unit: What a colour means.
        limits: Values of the darkest and lightest colour.
        ticks: Names of columns and rows.
    """
    low, high = limits or (None, None)
    names = {} if ticks is None else {"x": list(ticks[0]), "y": list(ticks[1])}
    kind = {} if ticks is None else {"type": "category"}  # names such as "0.1" are no numbers
    bottom = along_bottom(names.get("x", ()), HEIGHT + 60, room=240)
    trace = {
        "type": "heatmap",
        "z": np.asarray(z),
        "zmin": low,
        "zmax": high,
        "colorscale": "Cividis",
        "colorbar": {"title": {"text": unit, "side": "right"}},
    }
    return _figure([trace | names], title, axes, **bottom, yaxis=kind | {"autorange": "reversed"})


def histogram(
    values: np.ndarray, *, title: str, axes: tuple[str, str], limits: tuple[float, float]
) -> Figure:
    """How many values fall into each of forty equal bins between the limits."""
    counts, edges = np.histogram(values, bins=HISTOGRAM_BINS, range=limits)
    trace = bar((edges[1:] + edges[:-1]) / 2, counts, PALETTE[0])
    return _figure([trace], title, axes, bargap=0.05, xaxis={"range": plain(limits)})


def mark_steps(figure: Figure, marks: Mapping[str, float]) -> Figure:
    """The figure, of one panel, with labelled vertical lines.

    Labels stand above all curves, a row each. Those right of the middle end at their line.

    Args:
        figure: Curves over steps.
        marks: Where the lines stand, by label.
    """
    data = as_data(figure)
    layout = data["layout"]
    places = [x for trace in data["data"] for x in trace["x"] if x is not None]
    middle = (min(places) + max(places)) / 2 if places else 0
    height = layout["height"] + MARK_ROW * len(marks)
    row = MARK_ROW / (height - layout["margin"]["t"] - layout["margin"]["b"])
    marked = [
        _mark(x, label, 1 - row * (index + 0.5), is_left=x <= middle)
        for index, (label, x) in enumerate(sorted(marks.items(), key=lambda mark: mark[1]))
    ]
    layout |= {
        "yaxis": layout["yaxis"] | {"domain": [0, 1 - row * len(marks)]},
        "height": height,
        "shapes": [*layout.get("shapes", ()), *(shape for shape, _ in marked)],
        "annotations": [*layout.get("annotations", ()), *(note for _, note in marked)],
    }
    return made(data)


def empty(title: str, reason: str) -> Figure:
    """A figure that says why there is nothing to see."""
    hidden = {"visible": False}
    notes = [{"text": reason, "showarrow": False, "font": {"size": 14}}]
    return _figure([], title, None, height=160, xaxis=hidden, yaxis=hidden, annotations=notes)


def as_data(figure: Figure) -> dict[str, Any]:
    """A figure as plain lists and tables, what is not finite as None."""
    return _plain(figure.to_plotly_json())


def plotly_script() -> str:
    """The script that draws figures in a page, from the installed plotly."""
    return get_plotlyjs()


def _figure(
    traces: Sequence[dict[str, Any]],
    title: str,
    axes: tuple[str, str] | None,
    **layout: Any,
) -> Figure:
    """A figure of plain traces; the other arguments are those of `layout_of`."""
    options = {"has_legend": len(traces) > 1} | layout
    return made({"data": list(traces), "layout": layout_of(title, axes, **options)})


def _mark(
    x: float, label: str, y: float, *, is_left: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A line from the bottom of a figure to its label, and the label.

    Args:
        x: Where the line stands.
        label: What it marks.
        y: Height of the label, as a share of the figure's.
        is_left: Whether the line stands in the left half; its label then has room to its right.
    """
    shape = {
        "type": "line",
        "line": {"color": MARK, "dash": "dot", "width": 1},
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": y,
        "xref": "x",
        "yref": "paper",
    }
    note = {
        "text": label,
        "x": x,
        "y": y,
        "yref": "paper",
        "yanchor": "middle",
        "showarrow": False,
        "xanchor": "left" if is_left else "right",
        "xshift": 3 if is_left else -3,
        "font": {"size": 11, "color": INK},
        "bgcolor": MARK_PAPER,
        "borderpad": 0,
    }
    return shape, note


def _plain(value: Any) -> Any:
    """A part of a figure's JSON as lists and tables."""
    if isinstance(value, dict) and "bdata" in value:
        value = _decoded(**value)
    elif isinstance(value, np.ndarray | np.generic):  # plain figures hold what they were given
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _decoded(dtype: str, bdata: str, shape: str = "-1") -> list[Any]:
    """An array as plotly writes it into JSON."""
    sizes = [int(size) for size in shape.split(",")]
    return np.frombuffer(b64decode(bdata), dtype).reshape(sizes).tolist()
