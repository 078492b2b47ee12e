"""Small multiples: panels that share their axes, so that eyes can go from one to the next.

Panels stand in rows, and only the outer ones carry numbers and titles. What has one name in several
panels stands in the legend once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from analyses.plots.figures import Figure
from analyses.plots.style import AXIS, PALETTE, colour, heading, layout_of, line, logarithmic, plain

Trace = dict[str, Any]

ROW, GAP = 170, 34  # pixels of a panel's height, and between two of them
TOP, BOTTOM = 60, 100  # pixels above and below the panels: headings; numbers, title and legend
BETWEEN = 0.025  # share of the width between two panels
LEGEND = 45  # of these, the legend's
LEAST = 170  # pixels that a panel needs to be read
SHADE = "rgba(79,163,209,0.35)"  # seen on white and on black
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")


def multiples(
    panels: Mapping[str, Sequence[Trace]],
    *,
    title: str,
    axes: tuple[str, str],
    columns: int = 0,
    **more: Any,
) -> Figure:
    """Panels of plain traces over the same axes.

    Args:
        panels: Traces by heading, a row after the other.
        title: What is seen.
        axes: Titles of x and y, with units.
        columns: Panels a row; chosen by their number where 0.
        more: What is added to the layout; of `xaxis` and `yaxis`, to every panel's.
    """
    every = [trace for traces in panels.values() for trace in traces]
    axis = {
        name: ranged(more.pop(name, {}), [extent(trace, name[0]) for trace in every])
        for name in ("xaxis", "yaxis")
    }
    if len(panels) == 1:
        placed, layout = every, layout_of(title, axes, **axis, **more)
    else:
        columns = columns if 1 < columns <= 6 else _columns(len(panels))
        placed, grid = _grid(panels, columns, axes, axis)
        layout = layout_of(title, None, **grid, **more)
    has_legend = len({trace["name"] for trace in every}) > 1
    layout["showlegend"] = has_legend
    if len(panels) > 1 and not has_legend:
        layout["height"] -= LEGEND
        layout["margin"]["b"] -= LEGEND
    return Figure({"data": named_once(placed), "layout": layout})


def strands(curves: Iterable[tuple[np.ndarray, np.ndarray]], name: str, style: Trace) -> Trace:
    """Many curves, each an abscissa and an ordinate, as one trace; NaN is left out."""
    xs: list[float] = []
    ys: list[float] = []
    for x, y in curves:
        is_there = np.isfinite(y)
        xs += [*plain(x[is_there]), np.nan]
        ys += [*plain(y[is_there]), np.nan]
    return line(xs, ys, name, style)


def band(x: np.ndarray, ends: tuple[np.ndarray, np.ndarray], name: str) -> Trace:
    """The area between two curves where both are finite."""
    is_there = np.isfinite(ends[0]) & np.isfinite(ends[1])
    low, high = ends[0][is_there], ends[1][is_there]
    around = [*x[is_there], *x[is_there][::-1]]
    filled = {"fill": "toself", "fillcolor": SHADE, "hoverinfo": "skip"}
    return line(around, [*low, *high[::-1]], name, {"width": 0}) | filled


def points(x: Sequence[float], y: Sequence[float], name: str) -> Trace:
    """Small dots, one a run."""
    marker = {"color": PALETTE[6], "size": 6, "opacity": 0.7}
    places = {"x": plain(x), "y": plain(y)}
    return {"type": "scatter", "mode": "markers", "name": name, "marker": marker} | places


def whiskers(
    x: Any, y: np.ndarray, ends: tuple[np.ndarray, np.ndarray], name: str, index: int
) -> Trace:
    """Dots with intervals; the index chooses colour and symbol."""
    low, high = ends
    bounds = {"array": plain(high - y), "arrayminus": plain(y - low), "symmetric": False}
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": plain(x), "y": plain(y),
        "marker": {"color": colour(index), "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 8},
        "error_y": bounds | {"type": "data", "color": colour(index), "thickness": 2, "width": 4},
    }  # fmt: skip


def ticks(names: Sequence[str]) -> Trace:
    """An abscissa of names at 0, 1, ..., on which dots may stand beside each other."""
    places = list(range(len(names)))
    ends = [-0.5, len(names) - 0.5]
    return {"tickvals": places, "ticktext": list(names), "range": ends, "zeroline": False}


def _grid(
    panels: Mapping[str, Sequence[Trace]],
    columns: int,
    axes: tuple[str, str],
    axis: Mapping[str, Trace],
) -> tuple[list[Trace], dict[str, Any]]:
    """The traces, each on its panel's axes, and the layout of the panels."""
    rows = -(-len(panels) // columns)
    inner = rows * ROW + (rows - 1) * GAP
    drawn, placed, notes = [], {}, []
    for index, (name, traces) in enumerate(panels.items()):
        number, place = axis_number(index, rows, columns), _place(index, columns, inner)
        outer = (index + columns >= len(panels), index % columns == 0)
        drawn += [trace | {"xaxis": f"x{number}", "yaxis": f"y{number}"} for trace in traces]
        placed |= _panel_axes(number, place, outer, axes, axis)
        notes.append(heading(name, place))
    return drawn, placed | {
        "height": TOP + inner + BOTTOM,
        "margin": {"l": 70, "r": 20, "t": TOP, "b": BOTTOM},
        "legend": {"orientation": "h", "x": 0, "y": -58 / inner, "yanchor": "top"},
        "meta": {"least_width": LEAST * columns},
        "annotations": notes,
    }


def ranged(axis: Trace, values: Sequence[np.ndarray]) -> Trace:
    """An axis with a range that holds all values, unless it has one or its values are names.

    A panel without any value would otherwise decide the range of all that share its axis.
    """
    if "range" in axis or axis.get("type") == "category":
        return axis
    known = np.concatenate(values)
    known = known[np.isfinite(known)]
    if axis.get("type") == "log":
        axis = logarithmic({"": known}) | axis
        known = np.log10(known[known > 0])
    if not len(known) or np.ptp(known) == 0:
        return axis
    air = 0.05 * float(np.ptp(known))
    return axis | {"range": [float(known.min()) - air, float(known.max()) + air]}


def extent(trace: Trace, letter: str) -> np.ndarray:
    """What a trace takes up of an axis, with the ends of its intervals."""
    if trace["x"] and isinstance(trace["x"][0], str) and letter == "x":
        return np.zeros(0)
    values = np.array(trace[letter], dtype=np.float64)
    bounds = trace.get(f"error_{letter}", {"array": [], "arrayminus": []})
    ends = [values[: len(bounds["array"])] + bounds["array"]]
    ends += [values[: len(bounds["arrayminus"])] - bounds["arrayminus"]]
    return np.concatenate([values, *ends])


def _columns(count: int) -> int:
    few = {5: 3, 6: 3, 9: 3}
    return count if count <= 4 else few.get(count, 4 if count <= 20 else 6)


def axis_number(index: int, rows: int, columns: int) -> str:
    """A panel's axes: those at the bottom left are the plain `x` and `y`, which others follow."""
    row, column = divmod(index, columns)
    number = (rows - 1 - row) * columns + column
    return str(number + 1) if number else ""


def _place(index: int, columns: int, inner: int) -> tuple[list[float], list[float]]:
    """Where a panel lies, from left to right and from bottom to top."""
    row, column = divmod(index, columns)
    width = (1 - BETWEEN * (columns - 1)) / columns
    left, top = column * (width + BETWEEN), 1 - row * (ROW + GAP) / inner
    return [left, min(left + width, 1)], [max(top - ROW / inner, 0), top]


def _panel_axes(
    number: str,
    place: tuple[list[float], list[float]],
    outer: tuple[bool, bool],
    axes: tuple[str, str],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """A panel's two axes; numbers and titles only where it is the lowest, or the leftmost."""
    found = {}
    for which, (letter, other) in enumerate(("xy", "yx")):
        shared = {"matches": letter} if number else {}
        told = (
            {"title": {"text": axes[which], "standoff": 8}}
            if outer[which]
            else {"showticklabels": False}
        )
        found[f"{letter}axis{number}"] = (
            AXIS | {"domain": place[which], "anchor": f"{other}{number}"}
            | shared | told | more[f"{letter}axis"]
        )  # fmt: skip
    return found


def named_once(traces: Iterable[Trace]) -> list[Trace]:
    """Each name in the legend once; there it shows and hides all of that name."""
    seen: set[str] = set()
    named = []
    for trace in traces:
        name = trace["name"]
        named.append(trace | {"legendgroup": name, "showlegend": name not in seen})
        seen.add(name)
    return named
