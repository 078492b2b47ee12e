"""Figures that are drawn for a page alone: plain tables, which plotly does not look through.

Most of the time of making a plotly figure goes into validating what we lay out ourselves. Inside of
`plain_figures` figures are made without that, and hold what `as_data` gives.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import plotly.graph_objects as go

_IS_PLAIN: ContextVar[bool] = ContextVar("are figures made plain", default=False)


@contextmanager
def plain_figures() -> Iterator[None]:
    """A block in which figures are made for a page alone."""
    token = _IS_PLAIN.set(True)
    try:
        yield
    finally:
        _IS_PLAIN.reset(token)


def made(table: Mapping[str, Any]) -> go.Figure:
    """A figure of traces and a layout; inside of `plain_figures` one that is not validated."""
    return PlainFigure(table) if _IS_PLAIN.get() else go.Figure(table)


class PlainFigure(go.Figure):
    """A figure that holds plain tables, and can be changed in the ways that analyses use.

    Args:
        table: `data`, a list of traces, and `layout`.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_table", {"data": [], "layout": {}} | dict(table))

    def to_plotly_json(self) -> dict[str, Any]:
        """The traces and the layout."""
        return self.__dict__["_table"]

    def update_layout(  # pyright: ignore[reportIncompatibleMethodOverride]  # what analyses use of it
        self, **changes: Any
    ) -> "PlainFigure":
        """Changes parts of the layout."""
        return self._with(layout=_merged(self.to_plotly_json()["layout"], changes))

    def update_xaxes(  # pyright: ignore[reportIncompatibleMethodOverride]  # what analyses use of it
        self, *tables: Mapping[str, Any], **changes: Any
    ) -> "PlainFigure":
        """Changes parts of every x axis."""
        return self._with_axes("x", *tables, changes)

    def update_yaxes(  # pyright: ignore[reportIncompatibleMethodOverride]  # what analyses use of it
        self, *tables: Mapping[str, Any], **changes: Any
    ) -> "PlainFigure":
        """Changes parts of every y axis."""
        return self._with_axes("y", *tables, changes)

    def update_traces(  # pyright: ignore[reportIncompatibleMethodOverride]  # what analyses use of it
        self, **changes: Any
    ) -> "PlainFigure":
        """Changes parts of every trace."""
        return self._with(data=[_merged(trace, changes) for trace in self.to_plotly_json()["data"]])

    def _with_axes(self, letter: str, *tables: Mapping[str, Any]) -> "PlainFigure":
        layout = self.to_plotly_json()["layout"]
        names = [name for name in layout if re.fullmatch(rf"{letter}axis\d*", name)]
        for table in tables:
            layout = _merged(layout, {name: table for name in names or [f"{letter}axis"]})
        return self._with(layout=layout)

    def _with(self, **parts: Any) -> "PlainFigure":
        object.__setattr__(self, "_table", self.to_plotly_json() | parts)
        return self


def _merged(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A table with parts changed, tables in it too."""
    merged = dict(table)
    for name, value in changes.items():
        before = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        merged[name] = _merged(dict(before or {}), value) if both else value
    return merged
