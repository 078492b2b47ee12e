"""Points joined by curves from left to right, drawn from stored numbers."""

from collections.abc import Mapping, Sequence

import numpy as np

from analyses.plots.figures import Figure
from analyses.plots.plain import made
from analyses.plots.style import HEIGHT, INK, PAPER, Trace, layout_of, line, stroke

Point = tuple[float, float]
MAX_EDGE_WIDTH = 6.0  # pixels, of the strongest edge
MIN_EDGE_WIDTH = 1.0  # pixels, of an edge without strength
BEND = 0.3  # height of an edge over its length, for each kind that it is from the middle one
LIFT = 0.2  # by which an edge rises more for each column that it passes
CURVE_POINTS = 17


def graph(
    nodes: Mapping[str, Point],
    edges: Sequence[tuple[str, str, str, float]],
    *,
    kinds: Sequence[str],
    title: str,
    axes: tuple[str, str],
) -> Figure:
    """Named points, and edges whose width says how strong they are.

    Each kind of edge has its colour, its dash and its bend, so that edges between the same two
    points lie apart and can be distinguished in grey.

    Args:
        nodes: Whole-numbered places by name.
        edges: Kind, from, to, and strength as a share of the strongest's, strongest first.
        kinds: All kinds of edge there may be, in the order of the legend.
        title: What is seen.
        axes: Titles of x and y, with units.
    """
    traces, named = [], set[str]()
    for kind, start, end, strength in reversed(edges):  # the strongest on top
        index = kinds.index(kind)
        x, y = _curve(nodes[start], nodes[end], (index - (len(kinds) - 1) / 2) * BEND)
        width = MIN_EDGE_WIDTH + (MAX_EDGE_WIDTH - MIN_EDGE_WIDTH) * float(strength)
        group = {"legendgroup": kind, "legendrank": index, "showlegend": kind not in named}
        shown = {"text": f"{kind}: {start} to {end}", "hoverinfo": "text"}
        traces.append(line(x, y, kind, stroke(index, width)) | group | shown)
        named.add(kind)
    rows = 1 + max(y for _, y in nodes.values())
    sides = {"dtick": 1, "showgrid": False, "zeroline": False}
    layout = layout_of(
        title,
        axes,
        height=int(max(HEIGHT, 110 + 60 * rows)),
        has_legend=bool(edges),
        xaxis=sides,
        yaxis=sides | {"range": [rows - 0.4, -0.6]},
    )
    return made({"data": [*traces, _points(nodes)], "layout": layout})


def _points(nodes: Mapping[str, Point]) -> Trace:
    """A circle for each node, with its name in it."""
    x, y = zip(*nodes.values(), strict=True)
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": "",
        "x": list(x),
        "y": list(y),
        "text": list(nodes),
        "textfont": {"size": 11},
        "hoverinfo": "text",
        "marker": {
            "size": max(30, 7 * max(map(len, nodes)) + 8),
            "color": PAPER,
            "line": {"color": INK, "width": 1},
        },
        "showlegend": False,
    }


def _curve(start: Point, end: Point, bend: float) -> tuple[np.ndarray, np.ndarray]:
    """A parabola between two points; far ones bend more, past what lies between them."""
    span = end[0] - start[0]
    along = np.linspace(0, 1, CURVE_POINTS)
    lift = bend * span + LIFT * (span - 1)
    x, y = (a + (b - a) * along for a, b in zip(start, end, strict=True))
    return x, y + 4 * along * (1 - along) * lift
