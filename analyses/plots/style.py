"""The look of figures: palette, dashes, axes, a figure's layout, and its simplest traces.

All are plain tables. Nothing here knows plotly's objects, only the names that its JSON has.
"""

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Trace = dict[str, Any]

PALETTE = ("#0b3c5d", "#d95f02", "#4fa3d1", "#7a1f5c", "#8fbf4d", "#e6b800", "#767676")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "solid", "dash")
HATCHES = ("", "", "", "/", "\\", "x", ".")  # the first three differ enough in lightness
MUTED = "#b8c4cc"
PAPER, INK, GRID = "white", "#24313c", "#e0e6eb"
MARK, MARK_PAPER = "#555", "rgba(255,255,255,0.8)"
# What each of these colours becomes where the page is dark.
DARK = {
    PAPER: "#1a232c",
    INK: "#dbe3ea",
    GRID: "#323f4b",
    MUTED: "#55636f",
    MARK: "#a9b5bf",
    MARK_PAPER: "rgba(26,35,44,0.8)",
    "#0b3c5d": "#8cc8f0",
    "#d95f02": "#f28e3c",
    "#4fa3d1": "#3f88b5",
    "#7a1f5c": "#d68ac0",
    "#8fbf4d": "#8fbf4d",
    "#e6b800": "#e6c84a",
    "#767676": "#a0a0a0",
}
HEIGHT = 380  # pixels of a figure
MARGIN = {"l": 70, "r": 20, "t": 60, "b": 50}  # pixels
MAX_WIDTH = 1000  # pixels that a page has for a figure
FEW_STEPS = 3  # steps of a curve that are drawn as marks
TICK_SIZE = 12  # pixels: plotly's own size of the letters at ticks
LETTER_WIDTH, LINE_HEIGHT = 6.5, 15  # pixels of these letters
TICK_GAP = 10  # pixels between two ticks, and between them and the title of the axis
SLANT = 45  # degrees by which names at ticks are turned that do not fit side by side
AXIS = {"automargin": True, "gridcolor": GRID, "linecolor": GRID, "zerolinecolor": GRID}
# A few lines of our own: plotly's templates are large, and each figure pays for a copy.
TEMPLATE = {
    "layout": {
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "font": {"color": INK},
        "hovermode": "closest",
        "xaxis": AXIS,
        "yaxis": AXIS,
    }
}


def layout_of(
    title: str,
    axes: tuple[str, str] | None,
    *,
    height: int = HEIGHT,
    has_legend: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """A figure's layout, to which `more` is added; of `xaxis` and `yaxis`, to the axis."""
    for axis, name in zip(("xaxis", "yaxis"), axes or (), strict=False):
        more[axis] = {"title": {"text": name, "standoff": TICK_GAP}} | more.get(axis, {})
    return {
        "template": TEMPLATE,
        "title": {"text": title, "font": {"size": 16}, "x": 0, "xref": "paper"},
        "height": height,
        "margin": MARGIN,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        "showlegend": has_legend,
    } | more


def along_bottom(names: Sequence[Any], height: int, *, room: int) -> dict[str, Any]:
    """A figure's axis of names, its lower margin and its height, which make room for the names.

    Names are wrapped at spaces. If they still do not fit side by side, they are slanted. If they
    would not even fit upright, plotly skips some, and the layout has the width at which they would
    fit. If there are no names along the bottom, only the height is returned.

    Args:
        names: What stands along the bottom.
        height: Of the figure, with names of one line.
        room: Pixels along the bottom where the figure is narrow.
    """
    if not any(isinstance(name, str) for name in names):
        return {"height": height}
    whole = [str(name) for name in names]
    lines = wrapped(whole, int((room / len(whole) - TICK_GAP) / LETTER_WIDTH))
    longest = LETTER_WIDTH * max(map(len, whole))
    axis: dict[str, Any] = {"tickmode": "array", "tickvals": whole}
    wide: dict[str, Any] = {}
    if lines:
        reach = LINE_HEIGHT * max(text.count("<br>") for text in lines)
        axis |= {"ticktext": lines, "tickangle": 0}
    elif LINE_HEIGHT * len(names) <= room:
        reach = longest * math.sin(math.radians(SLANT))
        axis |= {"ticktext": whole, "autotickangles": [0, -SLANT]}
    else:
        axis, reach = {}, longest
        width = min(MARGIN["l"] + MARGIN["r"] + LINE_HEIGHT * len(names), MAX_WIDTH)
        wide = {"meta": {"least_width": width}}
    return {
        "height": height + round(reach),
        "margin": MARGIN | {"b": MARGIN["b"] + round(reach)},
        "xaxis": {"type": "category"} | axis,
        **wide,
    }


def wrapped(names: Sequence[str], width: int) -> list[str]:
    """Names broken at spaces into lines of at most `width` letters; none if a word is longer."""
    if width < 1 or any(len(word) > width for name in names for word in name.split()):
        return []
    return ["<br>".join(textwrap.wrap(name, width)) for name in names]


def logarithmic(curves: Mapping[str, Any]) -> dict[str, Any]:
    """A logarithmic axis that names every power of ten, or fewer where there are many.

    Within two powers it names 1, 2 and 5 of each; where not two of these lie among the values,
    evenly spaced round numbers.
    """
    values = np.concatenate([np.ravel(np.asarray(y, dtype=float)) for y in curves.values()])
    known = values[np.isfinite(values) & (values > 0)]
    powers = np.log10(known)
    decades = np.ptp(powers) if len(powers) else 0
    if decades > 2:  # plotly writes powers of ten a quarter larger than all other ticks
        return {
            "type": "log",
            "dtick": math.ceil(decades / 8),
            "exponentformat": "power",
            "tickfont": {"size": TICK_SIZE / 1.25},
        }
    first, last = (math.floor(powers.min()), math.ceil(powers.max())) if len(powers) else (0, 0)
    ticks = [digit * 10.0**power for power in range(first - 1, last + 2) for digit in (1, 2, 5)]
    if len(known) and sum(known.min() <= tick <= known.max() for tick in ticks) < 2:
        ticks = _round_numbers(float(known.min()), float(known.max()))
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _round_numbers(low: float, high: float) -> list[float]:
    """Three to eight evenly spaced round numbers of a range, or its only one."""
    if low == high:
        return [low]
    least = (high - low) / 8
    power = 10.0 ** math.floor(math.log10(least))
    spacing = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least)
    return [spacing * i for i in range(math.ceil(low / spacing), math.floor(high / spacing) + 1)]


def line(x: Any, y: Any, name: str, style: Trace) -> Trace:
    """A curve."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "line": style,
        "x": plain(x),
        "y": plain(y),
    }


def curve(x: Any, y: Any, name: str, style: Trace) -> Trace:
    """A curve over steps; two or three of them are marks, between which nothing is known."""
    if len(x) > FEW_STEPS:
        return line(x, y, name, style)
    marks = {"mode": "markers", "marker": {"color": style["color"], "size": 8}}
    return line(x, y, name, style) | marks


def bar(x: Any, y: Any, colour: Any) -> Trace:
    """A set of bars."""
    return {"type": "bar", "x": plain(x), "y": plain(y), "marker": {"color": colour}}


def colour(index: int) -> str:
    """A colour of the palette, which begins again after its last."""
    return PALETTE[index % len(PALETTE)]


def stroke(index: int, width: float) -> Trace:
    """Colour and dash of a curve by its number, and its width in pixels."""
    return {"color": colour(index), "width": width, "dash": DASHES[index % len(DASHES)]}


def plain(values: Any) -> list[Any]:
    """Values as plain lists, so that a figure's JSON is readable and equal on every machine."""
    return np.asarray(values).tolist()


def words(name: str) -> str:
    """A field's name with spaces for underscores; matrices such as W_E keep theirs."""
    return re.sub(r"(?<!\bW)(?<!_W)_", " ", name)
