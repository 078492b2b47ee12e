"""One figure at several steps: what a slider over training moves through."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from analyses.plots.figures import Figure, as_data
from analyses.plots.style import GRID, HEIGHT, MARGIN, MUTED, PALETTE

ROOM = 105  # pixels below the axes that a slider takes; a page on paper takes them back
BELOW = 22  # pixels between what a figure writes below its axis and the slider


def slider(figures: Sequence[Figure], steps: Sequence[int]) -> Figure:
    """One figure with a slider over steps, opening at the last, for a notebook."""
    return Figure(slides([as_data(figure) for figure in figures], steps))


def slides(figures: Sequence[dict[str, Any]], steps: Sequence[int]) -> dict[str, Any]:
    """The same as plain lists and tables, for a page.

    Each step's own traces are kept, since their number may change from step to step, and so is its
    title. Ordinate and colours span what all steps need, so that what moves is the data.

    Args:
        figures: Figures as plain lists and tables, one a step.
        steps: Their steps.
    """
    layout = figures[-1]["layout"]
    traces = [trace for figure in figures for trace in figure["data"]]
    owners = [step for figure, step in zip(figures, steps, strict=True) for _ in figure["data"]]
    choices = []
    for figure, step in zip(figures, steps, strict=True):
        visible = [owner == step for owner in owners]
        update = [{"visible": visible}, {"title.text": figure["layout"]["title"]["text"]}]
        choices.append({"label": str(step), "method": "update", "args": update})
    bar = {
        "active": len(steps) - 1,
        "steps": choices,
        "currentvalue": {"prefix": "step "},
        "pad": {"t": layout.get("margin", MARGIN)["b"] + BELOW},
        "bgcolor": MUTED,
        "bordercolor": GRID,
        "activebgcolor": PALETTE[0],
        "tickcolor": MUTED,
    }
    margin = layout.get("margin", MARGIN)
    room = {
        "sliders": [bar],
        "height": layout.get("height", HEIGHT) + ROOM,
        "margin": margin | {"b": margin["b"] + ROOM},
        "meta": layout.get("meta", {}) | {"slider": ROOM},
    }
    limits = _colour_limits(traces)
    drawn = [
        trace | (limits if trace["type"] == "heatmap" else {}) | {"visible": owner == steps[-1]}
        for trace, owner in zip(traces, owners, strict=True)
    ]
    ordinates = _ordinate(layout, traces) | _widest(figures)
    return {"data": drawn, "layout": layout | ordinates | room}


def _widest(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Ordinates whose range the figures set themselves, from the least to the most of any step."""
    found = {}
    for name, axis in figures[-1]["layout"].items():
        if not name.startswith("yaxis") or "range" not in axis:
            continue
        others = [figure["layout"].get(name, {}).get("range") for figure in figures]
        lows, highs = zip(*(each for each in others if each is not None), strict=True)
        if all(low < high for low, high in zip(lows, highs, strict=True)):
            found[name] = axis | {"range": [min(lows), max(highs)]}
    return found


def _ordinate(layout: dict[str, Any], traces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """An ordinate that shows every step's bars and curves; none where one is set."""
    axis = layout.get("yaxis", {})
    is_free = axis.keys().isdisjoint(("range", "autorange")) and "yaxis2" not in layout
    if not is_free or any(trace["type"] not in ("bar", "scatter") for trace in traces):
        return {}
    values = _finite([trace.get("y") for trace in traces])
    if axis.get("type") == "log":
        values = np.log10(values[values > 0])
    elif any(trace["type"] == "bar" for trace in traces):
        values = np.append(values, 0.0)
    if not len(values) or np.ptp(values) == 0:
        return {}
    low, high = float(values.min()), float(values.max())
    air = 0.05 * (high - low)
    return {"yaxis": axis | {"range": [low - air if low else 0.0, high + air if high else 0.0]}}


def _colour_limits(traces: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Limits that all heat maps share, even about a middle; none where they have their own."""
    maps = [trace for trace in traces if trace["type"] == "heatmap"]
    if any(trace.get("zmin") is not None for trace in maps):
        return {}
    values = _finite([trace.get("z") for trace in maps])
    middle = maps[0].get("zmid") if maps else None
    if middle is not None:
        values = np.concatenate([values, 2 * middle - values])
    return {"zmin": float(values.min()), "zmax": float(values.max())} if len(values) else {}


def _finite(lists: Sequence[Any]) -> np.ndarray:
    """The finite numbers in nested lists, flat; a list of text has none."""
    flat = [np.zeros(0)]
    for each in lists:
        with suppress(ValueError, TypeError):
            flat.append(np.ravel(np.array(each, dtype=float)))
    values = np.concatenate(flat)
    return values[np.isfinite(values)]
