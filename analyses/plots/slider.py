"""One figure at several steps: what a slider over training moves through."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from analyses.plots.figures import Figure, as_data
from analyses.plots.style import GRID, HEIGHT, MARGIN, MUTED, PALETTE

SLIDER_HEIGHT = 105  # pixels that a slider takes below the axes; a page on paper has none
SLIDER_GAP = 22  # pixels between the slider and the names and title below an axis


def slider(figures: Sequence[Figure], steps: Sequence[int]) -> Figure:
    """One figure with a slider over steps, which opens at the last step, for a notebook."""
    return Figure(slides([as_data(figure) for figure in figures], steps))


def slides(figures: Sequence[dict[str, Any]], steps: Sequence[int]) -> dict[str, Any]:
    """One figure with a slider over steps, as plain lists and tables, for a page.

    The traces and the title of each step are kept, since the number of traces may change. The
    ordinate and the colours span what all steps need, so that what moves is the data.

    Args:
        figures: Figures as plain lists and tables, one a step.
        steps: Their steps.
    """
    layout = figures[-1]["layout"]
    margin = layout.get("margin", MARGIN)
    traces = [trace for figure in figures for trace in figure["data"]]
    owners = [step for figure, step in zip(figures, steps, strict=True) for _ in figure["data"]]
    choices = [
        {
            "label": str(step),
            "method": "update",
            "args": [
                {"visible": [owner == step for owner in owners]},
                {"title.text": figure["layout"]["title"]["text"]},
            ],
        }
        for figure, step in zip(figures, steps, strict=True)
    ]
    bar = {
        "active": len(steps) - 1,
        "steps": choices,
        "currentvalue": {"prefix": "step "},
        "pad": {"t": margin["b"] + SLIDER_GAP},
        "bgcolor": MUTED,
        "bordercolor": GRID,
        "activebgcolor": PALETTE[0],
        "tickcolor": MUTED,
    }
    room = {
        "sliders": [bar],
        "height": layout.get("height", HEIGHT) + SLIDER_HEIGHT,
        "margin": margin | {"b": margin["b"] + SLIDER_HEIGHT},
        "meta": layout.get("meta", {}) | {"slider": SLIDER_HEIGHT},
    }
    limits = _colour_limits(traces)
    drawn = [
        trace | (limits if trace["type"] == "heatmap" else {}) | {"visible": owner == steps[-1]}
        for trace, owner in zip(traces, owners, strict=True)
    ]
    layout = layout | _free_ordinate(layout, traces) | _set_ordinates(figures) | room
    return {"data": drawn, "layout": layout}


def _set_ordinates(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Ordinates whose range the figures set themselves, from the least to the most of any step."""
    ordinates = {}
    for name, axis in figures[-1]["layout"].items():
        if not name.startswith("yaxis") or "range" not in axis:
            continue
        ranges = [figure["layout"].get(name, {}).get("range") for figure in figures]
        lows, highs = zip(*(ends for ends in ranges if ends is not None), strict=True)
        if all(low < high for low, high in zip(lows, highs, strict=True)):
            ordinates[name] = axis | {"range": [min(lows), max(highs)]}
    return ordinates


def _free_ordinate(layout: dict[str, Any], traces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """An ordinate that shows every step's bars and curves; none where the figures set it."""
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
    """Limits that all heat maps share, as far above a middle as below; none where they are set."""
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
    for values in lists:
        with suppress(ValueError, TypeError):
            flat.append(np.ravel(np.array(values, dtype=float)))
    numbers = np.concatenate(flat)
    return numbers[np.isfinite(numbers)]
