"""Figures, drawn from stored numbers: the only place that knows plotly.

One palette, in an order whose lightness also tells the colours apart in grey; lines differ in dash
as well. Axis titles carry units.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

Figure = go.Figure

PALETTE = ("#0b3c5d", "#d95f02", "#4fa3d1", "#7a1f5c", "#8fbf4d", "#e6b800", "#767676")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "solid", "dash")
MUTED = "#b8c4cc"
HEIGHT = 380
GRID = "#e0e6eb"
# A few lines of our own: plotly's templates are large, and each figure pays for a copy.
_AXIS = {"automargin": True, "gridcolor": GRID, "linecolor": GRID, "zerolinecolor": GRID}
_WHITE = {"paper_bgcolor": "white", "plot_bgcolor": "white", "font": {"color": "#24313c"}}
TEMPLATE = {"layout": _WHITE | {"hovermode": "closest", "xaxis": _AXIS, "yaxis": _AXIS}}


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
    figure = _figure()
    for index, (name, y) in enumerate(curves.items()):
        style = {"color": _colour(index), "dash": DASHES[index % len(DASHES)], "width": 2}
        figure.add_trace(go.Scatter(x=_list(x), y=_list(y), name=name, mode="lines", line=style))
    return _finished(figure, title, axes, log_y=log_y)


def bars(
    x: Sequence[Any] | np.ndarray,
    heights: Mapping[str, Any],
    *,
    title: str,
    axes: tuple[str, str],
    strong: Sequence[Any] = (),
) -> Figure:
    """Bars side by side; where one set is given, all but the `strong` x are muted."""
    figure = _figure()
    for index, (name, y) in enumerate(heights.items()):
        colour: Any = _colour(index)
        if len(heights) == 1 and len(strong):
            colour = [PALETTE[1] if each in strong else MUTED for each in _list(x)]
        figure.add_trace(go.Bar(x=_list(x), y=_list(y), name=name, marker={"color": colour}))
    return _finished(figure, title, axes)


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
    trace = go.Heatmap(
        z=np.asarray(z).tolist(),
        zmin=low,
        zmax=high,
        colorscale="Cividis",
        colorbar={"title": {"text": unit, "side": "right"}},
        **names,
    )
    figure = _finished(_figure(trace), title, axes, height=HEIGHT + 60)
    if ticks is not None:  # names such as "0.1" are no numbers
        figure.update_xaxes(type="category").update_yaxes(type="category")
    return figure.update_yaxes(autorange="reversed")


def histogram(
    values: np.ndarray, *, title: str, axes: tuple[str, str], limits: tuple[float, float]
) -> Figure:
    """How many values fall into each of forty equal bins between the limits."""
    counts, edges = np.histogram(values, bins=40, range=limits)
    trace = go.Bar(x=_list((edges[1:] + edges[:-1]) / 2), y=_list(counts), marker_color=PALETTE[0])
    figure = _finished(_figure(trace), title, axes)
    return figure.update_layout(bargap=0.05).update_xaxes(range=list(limits))


def small_multiples(frame: pd.DataFrame, *, x: str, title: str, x_title: str) -> Figure:
    """Each column of numbers against one, a small panel a column.

    Args:
        frame: One column named `x`; every other numeric column becomes a panel.
        x: The column of the abscissa.
        title: What is seen.
        x_title: Title of the abscissa, with its unit.
    """
    names = [name for name in frame.select_dtypes("number").columns if name != x]
    if not names:
        return empty(title, "no numbers to draw")
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=[words(name) for name in names],
        vertical_spacing=0.32 / rows, horizontal_spacing=0.08, figure=_figure(),
    )  # fmt: skip
    for index, name in enumerate(names):
        line = go.Scatter(x=_list(frame[x]), y=_list(frame[name]), name=name, line_color=PALETTE[0])
        figure.add_trace(line, index // columns + 1, index % columns + 1)
    figure.update_xaxes(title_text=x_title, row=rows)
    figure.update_annotations(font_size=12)
    return _finished(figure, title, None, height=110 + 190 * rows).update_layout(showlegend=False)


def mark_steps(figure: Figure, marks: Mapping[str, float]) -> Figure:
    """The figure with labelled vertical lines; labels step down so that none overlap."""
    marked = go.Figure(figure)
    for index, (label, x) in enumerate(sorted(marks.items(), key=lambda mark: mark[1])):
        marked.add_vline(x=x, line={"color": "#555", "dash": "dot", "width": 1})
        marked.add_annotation(
            x=x, y=0.9 - 0.09 * index, yref="paper", text=label, showarrow=False, xanchor="left",
            font={"size": 11, "color": "#333"}, bgcolor="rgba(255,255,255,0.8)",
        )  # fmt: skip
    return marked


def slider(figures: Sequence[Figure], steps: Sequence[int]) -> Figure:
    """One figure with a slider over steps, opening at the last.

    Each step's own traces are kept, since their number may change from step to step, and so is its
    title. Axes stay as wide as the widest step needs.
    """
    joined = go.Figure(layout=figures[-1].layout)
    owners = []
    for figure, step in zip(figures, steps, strict=True):
        joined.add_traces(figure.data)
        owners += [step] * len(figure.data)
    choices = []
    for figure, step in zip(figures, steps, strict=True):
        visible = [owner == step for owner in owners]
        update = [{"visible": visible}, {"title.text": figure["layout"]["title"]["text"]}]
        choices.append({"label": str(step), "method": "update", "args": update})
    for trace, owner in zip(joined.data, owners, strict=True):
        trace.visible = owner == steps[-1]
    bar = {
        "active": len(steps) - 1,
        "steps": choices,
        "currentvalue": {"prefix": "step "},
        "pad": {"t": 70},
    }
    height = joined.to_plotly_json()["layout"].get("height", HEIGHT) + 110
    return joined.update_layout(sliders=[bar], height=height, margin_b=130)


def empty(title: str, reason: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure = _finished(_figure(), title, None, height=160)
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return figure.add_annotation(text=reason, showarrow=False, font={"size": 14})


def words(name: str) -> str:
    """A field's name to be read, matrices such as W_E kept whole."""
    return re.sub(r"(?<!\bW)(?<!_W)_", " ", name)


def as_data(figure: Figure) -> dict[str, Any]:
    """A figure as plain lists and tables for a page, its numbers to six significant digits."""
    return _rounded(json.loads(str(figure.to_json())))


def plotly_script() -> str:
    """The script that draws figures in a page, from the installed plotly."""
    return get_plotlyjs()


def _figure(*traces: Any) -> Figure:
    return go.Figure(traces, layout={"template": TEMPLATE})


def _finished(
    figure: Figure,
    title: str,
    axes: tuple[str, str] | None,
    *,
    height: int = HEIGHT,
    log_y: bool = False,
) -> Figure:
    figure.update_layout(
        title={"text": title, "font": {"size": 16}, "x": 0, "xref": "paper"},
        height=height,
        margin={"l": 70, "r": 20, "t": 60, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        showlegend=len(figure.data) > 1,
    )
    if axes is not None:
        figure.update_xaxes(title_text=axes[0]).update_yaxes(title_text=axes[1])
    if log_y:
        figure.update_yaxes(type="log", exponentformat="power")
    return figure


def _colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def _list(values: Any) -> list[Any]:
    """Plain lists, so that a figure's JSON is text one can read and the same on every machine."""
    return np.asarray(values).tolist()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return value
