"""Panels over one abscissa, each row or panel with an ordinate of its own.

Where `analyses.plots.panels` shows one quantity in many settings, this shows several quantities.
Panels of a row with the same unit share their ordinate; what has one name stands in the legend
once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analyses.plots.figures import Figure
from analyses.plots.panels import Trace, axis_number, extent, named_once, ranged
from analyses.plots.style import AXIS, heading, layout_of

ROW, GAP, HEADED = 140, 18, 44  # pixels of a panel's height; between two, without and with headings
TOP, BOTTOM = 74, 104  # pixels above and below all panels
NEAR, APART = 0.025, 0.11  # shares of the width between panels that share an ordinate, or do not
LEAST = 210  # pixels that a panel needs to be read


@dataclass(frozen=True)
class Panel:
    """Some traces with a heading, and the title and, where it is given, range of their ordinate."""

    heading: str
    unit: str
    traces: Sequence[Trace]
    limits: tuple[float, float] | None = None


def grid(
    panels: Sequence[Panel], *, title: str, across: str, columns: int, xaxis: Mapping[str, Any]
) -> Figure:
    """Panels, a row after the other.

    Args:
        panels: At least one.
        title: What is seen.
        across: Title of the abscissa, with its unit.
        columns: Panels a row.
        xaxis: What is added to every abscissa.
    """
    every = [trace for panel in panels for trace in panel.traces]
    shared = ranged(dict(xaxis), [extent(trace, "x") for trace in every])
    places, inner = _places(panels, columns)
    layout: dict[str, Any] = {"annotations": []}
    drawn: list[Trace] = []
    for index, (panel, place) in enumerate(zip(panels, places, strict=True)):
        number = axis_number(index, -(-len(panels) // columns), columns)
        drawn += [each | {"xaxis": f"x{number}", "yaxis": f"y{number}"} for each in panel.traces]
        is_lowest = index + columns >= len(panels)
        below = {"title": {"text": across, "standoff": 8}} if is_lowest else {}
        layout[f"xaxis{number}"] = (
            AXIS | {"domain": place[0], "anchor": f"y{number}", "showticklabels": is_lowest}
            | below | ({"matches": "x"} if number else {}) | shared
        )  # fmt: skip
        layout[f"yaxis{number}"] = _ordinate(panels, index, columns) | {
            "domain": place[1], "anchor": f"x{number}",
        }  # fmt: skip
        if panel.heading:
            layout["annotations"].append(heading(panel.heading, place))
    legend = {"orientation": "h", "x": 0, "y": -56 / inner, "yanchor": "top"}
    margin = {"l": 80, "r": 20, "t": TOP, "b": BOTTOM}
    described = layout_of(
        title, None, height=TOP + inner + BOTTOM, margin=margin, legend=legend,
        has_legend=len({trace["name"] for trace in every}) > 1,
        meta={"least_width": LEAST * columns}, **layout,
    )  # fmt: skip
    return Figure({"data": named_once(drawn), "layout": described})


def _ordinate(panels: Sequence[Panel], index: int, columns: int) -> dict[str, Any]:
    """A panel's ordinate: the first of a row that share one has its numbers and title."""
    row = index // columns * columns
    alike = [at for at in range(row, min(row + columns, len(panels)))
             if panels[at].unit == panels[index].unit]  # fmt: skip
    values = [extent(trace, "y") for at in alike for trace in panels[at].traces]
    title = {"title": {"text": panels[index].unit, "standoff": 8}}
    limits = panels[index].limits
    own = ranged({"range": list(limits)} if limits else {}, values)
    return AXIS | own | (title if index == alike[0] else {"showticklabels": False})


def _places(
    panels: Sequence[Panel], columns: int
) -> tuple[list[tuple[list[float], list[float]]], int]:
    """Where each panel lies, from left to right and bottom to top; pixels of all rows together."""
    rows = -(-len(panels) // columns)
    tops, down = [], 0
    for row in range(rows):
        is_headed = any(panel.heading for panel in panels[row * columns :][:columns])
        down += (HEADED if is_headed else GAP) if row else 0
        tops.append(down)
        down += ROW
    across = APART if len({panel.unit for panel in panels[:columns]}) > 1 else NEAR
    width = (1 - across * (columns - 1)) / columns
    places = []
    for index in range(len(panels)):
        left, top = index % columns * (width + across), 1 - tops[index // columns] / down
        places.append(([left, min(left + width, 1)], [max(top - ROW / down, 0), top]))
    return places, down
