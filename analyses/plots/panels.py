"""Panels: several small figures in one, in rows, so that eyes can go from one to the next.

There are three kinds. `multiples` shows one quantity in many settings: all panels share both axes,
and only the outer panels have numbers and titles. `grid` shows several quantities over one
abscissa: panels of a row with the same unit share their ordinate. `small_multiples` draws each
column of a table in a panel with separate axes. A name that several panels use stands in the legend
once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from analyses.plots.figures import Figure, empty
from analyses.plots.plain import made
from analyses.plots.style import (
    AXIS,
    PALETTE,
    Trace,
    colour,
    curve,
    layout_of,
    line,
    logarithmic,
    plain,
    words,
)

if TYPE_CHECKING:
    import pandas

# What a panel shows: a heading, traces, and what is added to its x and its y axis.
_Cell = tuple[str, Sequence[Trace], Trace, Trace]

TITLE_GAP = 8  # pixels between an axis' numbers and its title
NEAR_COLUMNS = 0.025  # share of the width between panels that share an ordinate
APART_COLUMNS = 0.11  # the same where each needs room for numbers and a title
# Pixels in `multiples`: a panel's height, between two rows, around all panels, of the legend, from
# the panels down to it, and the least width of a panel that can be read.
MULTIPLES_ROW, MULTIPLES_GAP = 170, 34
MULTIPLES_MARGIN = {"l": 70, "r": 20, "t": 60, "b": 100}
MULTIPLES_LEGEND, MULTIPLES_LEGEND_DROP, MULTIPLES_WIDTH = 45, 58, 170
# The same in `grid`, whose rows are further apart where the lower one has headings.
GRID_ROW, GRID_GAP, GRID_HEADED_GAP = 140, 18, 44
GRID_MARGIN = {"l": 80, "r": 20, "t": 74, "b": 104}
GRID_LEGEND_DROP, GRID_WIDTH = 56, 210
# In `small_multiples`: pixels of a row with the gap below it, that gap as a share of the row (it
# holds numbers and a heading of two lines), the share of the width between columns, and pixels
# above and below all panels.
TABLE_ROW, TABLE_GAP, TABLE_COLUMNS, TABLE_MARGINS = 200, 0.38, 0.08, 110
SHADE = "rgba(79,163,209,0.35)"  # seen on white and on black
# Panels a row, the most wanted first: of few panels, of many, and in `small_multiples`.
FEW_PANELS = 20
FEW_COLUMNS, MANY_COLUMNS, TABLE_WIDTHS = (4, 3, 5, 6), (6, 5, 4, 3), (3, 4, 5)
MAX_BLANK = 1 / 3  # share of the last row that may stay empty
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")


@dataclass(frozen=True)
class Panel:
    """A panel of `grid`.

    Attributes:
        heading: What stands above it; may be empty.
        unit: Title of its ordinate.
        traces: What is drawn.
        limits: Range of its ordinate; without them it holds all that is drawn.
        is_log: Whether its ordinate is logarithmic.
    """

    heading: str
    unit: str
    traces: Sequence[Trace]
    limits: tuple[float, float] | None = None
    is_log: bool = False


@dataclass(frozen=True)
class _Sheet:
    """Where panels stand that fill rows one after the other.

    Attributes:
        count: How many panels there are.
        columns: Panels a row.
        height: Of all rows together: in pixels, or 1.
        row: A panel's height, in the same unit.
        tops: How far below the top of all rows each row begins, in the same unit.
        column_gap: Share of the width between two columns.
        shared: Letters of the axes that all panels share: none, `x`, or `xy`.
    """

    count: int
    columns: int
    height: float
    row: float
    tops: Sequence[float]
    column_gap: float
    shared: str = ""

    def is_lowest(self, index: int) -> bool:
        """Whether no panel stands below."""
        return index + self.columns >= self.count

    def number(self, index: int) -> str:
        """The number in the names of a panel's axes; the axes `x` and `y` have none.

        If panels share an axis, the others follow `x` and `y`, which belong to the lower left one.
        """
        row, column = divmod(index, self.columns)
        row = len(self.tops) - 1 - row if self.shared else row
        number = row * self.columns + column
        return str(number + 1) if number else ""

    def place(self, index: int) -> tuple[list[float], list[float]]:
        """Where a panel lies, from left to right and from bottom to top, as shares of all."""
        row, column = divmod(index, self.columns)
        width = (1 - self.column_gap * (self.columns - 1)) / self.columns
        left = column * (width + self.column_gap)
        top = 1 - self.tops[row] / self.height
        return [left, min(left + width, 1)], [max(top - self.row / self.height, 0), top]

    def laid_out(self, cells: Iterable[_Cell]) -> tuple[list[Trace], dict[str, Any]]:
        """The traces, each on the axes of its panel, and the layout of axes and headings."""
        traces: list[Trace] = []
        layout: dict[str, Any] = {"annotations": []}
        for index, (heading, drawn, x, y) in enumerate(cells):
            number, place = self.number(index), self.place(index)
            traces += [t | {"xaxis": f"x{number}", "yaxis": f"y{number}"} for t in drawn]
            for letter, other, axis, domain in zip("xy", "yx", (x, y), place, strict=True):
                placed = AXIS | {"domain": domain, "anchor": f"{other}{number}"}
                follows = {"matches": letter} if number and letter in self.shared else {}
                layout[f"{letter}axis{number}"] = placed | follows | axis
            if heading:
                layout["annotations"].append(_heading(heading, place))
        return traces, layout

    def figure(
        self,
        title: str,
        cells: Iterable[_Cell],
        *,
        margin: Mapping[str, int],
        legend_drop: int,
        panel_width: int,
        **more: Any,
    ) -> Figure:
        """The figure of a sheet in pixels.

        Args:
            title: What is seen.
            cells: What the panels show.
            margin: Pixels around all panels.
            legend_drop: Pixels from the panels down to the legend.
            panel_width: The least width of a panel, in pixels.
            more: What is added to the layout.
        """
        traces, layout = self.laid_out(cells)
        legend = {"orientation": "h", "x": 0, "y": -legend_drop / self.height, "yanchor": "top"}
        layout |= {
            "height": margin["t"] + self.height + margin["b"],
            "margin": margin,
            "legend": legend,
            "meta": {"least_width": panel_width * self.columns},
        }
        return _figure(title, None, traces, **layout | more)


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
    traces = [trace for drawn in panels.values() for trace in drawn]
    x, y = (_ranged(more.pop(f"{letter}axis", {}), traces, letter) for letter in "xy")
    if len(panels) == 1:
        return _figure(title, axes, traces, xaxis=x, yaxis=y, **more)
    wanted = FEW_COLUMNS if len(panels) <= FEW_PANELS else MANY_COLUMNS
    columns = columns if 1 < columns <= 6 else _columns(len(panels), wanted)
    tops = [row * (MULTIPLES_ROW + MULTIPLES_GAP) for row in range(-(-len(panels) // columns))]
    sheet = _Sheet(
        count=len(panels),
        columns=columns,
        height=tops[-1] + MULTIPLES_ROW,
        row=MULTIPLES_ROW,
        tops=tops,
        column_gap=NEAR_COLUMNS,
        shared="xy",
    )
    cells = [
        (
            name,
            drawn,
            _labelled(axes[0], sheet.is_lowest(index)) | x,
            _labelled(axes[1], index % columns == 0) | y,
        )
        for index, (name, drawn) in enumerate(panels.items())
    ]
    unused = 0 if _have_several_names(traces) else MULTIPLES_LEGEND
    return sheet.figure(
        title,
        cells,
        margin=MULTIPLES_MARGIN | {"b": MULTIPLES_MARGIN["b"] - unused},
        legend_drop=MULTIPLES_LEGEND_DROP,
        panel_width=MULTIPLES_WIDTH,
        **more,
    )


def grid(
    panels: Sequence[Panel], *, title: str, across: str, columns: int, xaxis: Mapping[str, Any]
) -> Figure:
    """Panels over one abscissa; those of a row with the same unit share their ordinate.

    Args:
        panels: At least one, a row after the other.
        title: What is seen.
        across: Title of the abscissa, with its unit.
        columns: Panels a row.
        xaxis: What is added to every abscissa.
    """
    x = _ranged(dict(xaxis), [trace for panel in panels for trace in panel.traces], "x")
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    gaps = [GRID_HEADED_GAP if any(p.heading for p in row) else GRID_GAP for row in rows[1:]]
    tops = [0, *accumulate(GRID_ROW + gap for gap in gaps)]
    have_several_units = len({panel.unit for panel in rows[0]}) > 1
    sheet = _Sheet(
        count=len(panels),
        columns=columns,
        height=tops[-1] + GRID_ROW,
        row=GRID_ROW,
        tops=tops,
        column_gap=APART_COLUMNS if have_several_units else NEAR_COLUMNS,
        shared="x",
    )
    cells = [
        (
            panel.heading,
            panel.traces,
            _labelled(across, sheet.is_lowest(index)) | x,
            _ordinate(rows[index // columns], index % columns),
        )
        for index, panel in enumerate(panels)
    ]
    return sheet.figure(
        title, cells, margin=GRID_MARGIN, legend_drop=GRID_LEGEND_DROP, panel_width=GRID_WIDTH
    )


def small_multiples(frame: "pandas.DataFrame", *, x: str, title: str, x_title: str) -> Figure:
    """A small panel for each column of numbers, which is drawn against one of the columns.

    Args:
        frame: It has a column named `x`; every other numeric column becomes a panel.
        x: The column of the abscissa.
        title: What is seen.
        x_title: Title of the abscissa, with its unit.
    """
    names = [name for name in frame.select_dtypes("number").columns if name != x]
    if not names:
        return empty(title, "no numbers to draw")
    columns = _columns(len(names), TABLE_WIDTHS)
    rows = -(-len(names) // columns)
    gap = TABLE_GAP / rows
    row = (1 - gap * (rows - 1)) / rows
    sheet = _Sheet(
        count=len(names),
        columns=columns,
        height=1,
        row=row,
        tops=[index * (row + gap) for index in range(rows)],
        column_gap=TABLE_COLUMNS,
    )
    cells = [
        (
            words(str(name)),
            [curve(frame[x], frame[name], str(name), {"color": PALETTE[0]})],
            {"title": {"text": x_title}} if sheet.is_lowest(index) else {},
            {},
        )
        for index, name in enumerate(names)
    ]
    traces, layout = sheet.laid_out(cells)
    height = TABLE_MARGINS + TABLE_ROW * rows
    return made({"data": traces, "layout": layout_of(title, None, height=height, **layout)})


def strands(curves: Iterable[tuple[np.ndarray, np.ndarray]], name: str, style: Trace) -> Trace:
    """Many curves, each an abscissa and an ordinate, as one trace; NaN is left out."""
    points = [np.stack([x, y])[:, np.isfinite(y)] for x, y in curves]
    gap = np.full((2, 1), np.nan)  # ends a curve, so that none is joined to the next
    xs, ys = np.hstack([gap[:, :0], *(part for curve in points for part in (curve, gap))])
    return line(xs, ys, name, style)


def band(x: np.ndarray, ends: tuple[np.ndarray, np.ndarray], name: str) -> Trace:
    """The area between two curves where both are finite."""
    is_known = np.isfinite(ends[0]) & np.isfinite(ends[1])
    low, high = ends[0][is_known], ends[1][is_known]
    around = [*x[is_known], *x[is_known][::-1]]
    filled = {"fill": "toself", "fillcolor": SHADE, "hoverinfo": "skip"}
    return line(around, [*low, *high[::-1]], name, {"width": 0}) | filled


def dots(x: Any, y: Any, name: str, marker: Trace, texts: Sequence[str] = ()) -> Trace:
    """Dots; the text of a dot, if it has one, appears when a pointer is over it."""
    hover = {"text": list(texts), "hoverinfo": "text"} if texts else {}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "marker": marker,
        "x": plain(x),
        "y": plain(y),
        **hover,
    }


def whiskers(
    x: Any, y: np.ndarray, ends: tuple[np.ndarray, np.ndarray], name: str, index: int
) -> Trace:
    """Dots with intervals; the index chooses colour and symbol."""
    low, high = ends
    bounds = {"array": plain(high - y), "arrayminus": plain(y - low), "symmetric": False}
    bars = {"type": "data", "color": colour(index), "thickness": 2, "width": 4}
    marker = {"color": colour(index), "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 8}
    return dots(x, y, name, marker) | {"error_y": bounds | bars}


def seed_dots(
    places: np.ndarray, groups: Sequence[np.ndarray], *, shift: float, spread: float
) -> Trace:
    """A small dot a run; the runs of a group stand side by side.

    Args:
        places: Where each group stands on the abscissa.
        groups: The values of its runs.
        shift: How far right of its place the middle of a group is.
        spread: How far from that middle its runs stand at most.
    """
    x = [
        place + shift + offset
        for place, values in zip(places, groups, strict=True)
        for offset in np.linspace(-spread, spread, len(values) + 2)[1:-1]
    ]
    marker = {"color": PALETTE[6], "size": 6, "opacity": 0.7}
    return dots(x, np.concatenate(groups), "one seed", marker)


def seed_curves(
    steps: np.ndarray,
    runs: np.ndarray,
    median: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    interval: str,
) -> list[Trace]:
    """Curves over steps: a thin one for each run, a bold one for their median, and its interval.

    Args:
        steps: Shared abscissa.
        runs: One row for each run.
        median: Of the runs.
        ends: Lower and upper ends of the median's interval.
        interval: Name of the interval.
    """
    return [
        band(steps, ends, interval),
        strands(((steps, run) for run in runs), "one seed", {"color": PALETTE[6], "width": 1}),
        strands([(steps, median)], "median", {"color": PALETTE[0], "width": 3}),
    ]


def ticks(names: Sequence[str]) -> Trace:
    """An abscissa with names at 0, 1, ..., so that dots of the same name can stand side by side."""
    return {
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "range": [-0.5, len(names) - 0.5],
        "zeroline": False,
    }


def _figure(
    title: str, axes: tuple[str, str] | None, traces: Sequence[Trace], **layout: Any
) -> Figure:
    """A figure in whose legend each name stands once; there it shows and hides its traces."""
    names = [trace["name"] for trace in traces]
    named = [
        trace | {"legendgroup": trace["name"], "showlegend": trace["name"] not in names[:index]}
        for index, trace in enumerate(traces)
    ]
    described = layout_of(title, axes, has_legend=_have_several_names(traces), **layout)
    return made({"data": named, "layout": described})


def _have_several_names(traces: Iterable[Trace]) -> bool:
    return len({trace["name"] for trace in traces}) > 1


def _columns(count: int, wanted: Sequence[int]) -> int:
    """How many panels make a row: the first number that leaves little of the last row empty.

    If all leave much of it empty, the one that leaves least. As many as fit into one row stand in
    one row.

    Args:
        count: How many panels there are.
        wanted: Numbers of panels a row, the most wanted first.
    """
    if count <= wanted[0]:
        return count
    blank = {columns: -count % columns / columns for columns in wanted}
    return next((n for n in wanted if blank[n] <= MAX_BLANK), min(wanted, key=blank.__getitem__))


def _heading(text: str, place: tuple[list[float], list[float]]) -> dict[str, Any]:
    """A panel's name, above its middle."""
    (left, right), (_, top) = place
    return {
        "text": text,
        "x": (left + right) / 2,
        "y": top,
        "xanchor": "center",
        "yanchor": "bottom",
        "xref": "paper",
        "yref": "paper",
        "showarrow": False,
        "font": {"size": 12},
    }


def _labelled(title: str, is_outer: bool) -> Trace:
    """An axis with numbers and a title where it is the outermost, and with neither elsewhere."""
    named = {"title": {"text": title, "standoff": TITLE_GAP}}
    return {"showticklabels": is_outer} | (named if is_outer else {})


def _ordinate(row: Sequence[Panel], column: int) -> Trace:
    """A panel's ordinate: the first of a row that share one has its numbers and title."""
    panel = row[column]
    sharing = [other for other in row if other.unit == panel.unit]
    traces = [trace for other in sharing for trace in other.traces]
    kind = {"type": "log"} if panel.is_log else {}
    axis = _ranged(kind | ({"range": list(panel.limits)} if panel.limits else {}), traces, "y")
    return axis | _labelled(panel.unit, panel is sharing[0])


def _ranged(axis: Trace, traces: Sequence[Trace], letter: str) -> Trace:
    """An axis with a range that holds all values, unless it has one or its values are names.

    A panel without any value would otherwise decide the range of all that share its axis.
    """
    if "range" in axis or axis.get("type") == "category":
        return axis
    values = np.concatenate([_extent(trace, letter) for trace in traces])
    values = values[np.isfinite(values)]
    if axis.get("type") == "log":
        axis = logarithmic({"": values}) | axis
        values = np.log10(values[values > 0])
    if not len(values) or np.ptp(values) == 0:
        return axis
    air = 0.05 * float(np.ptp(values))
    return axis | {"range": [float(values.min()) - air, float(values.max()) + air]}


def _extent(trace: Trace, letter: str) -> np.ndarray:
    """The values of a trace along an axis, with the ends of its intervals."""
    if trace["x"] and isinstance(trace["x"][0], str) and letter == "x":
        return np.zeros(0)
    values = np.array(trace[letter], dtype=np.float64)
    bounds = trace.get(f"error_{letter}", {"array": [], "arrayminus": []})
    above = values[: len(bounds["array"])] + bounds["array"]
    below = values[: len(bounds["arrayminus"])] - bounds["arrayminus"]
    return np.concatenate([values, above, below])
