"""In what the runs of a sweep differ, seeds left out: settings, their names and their order.

A setting is one value for each axis; its runs differ in their seeds alone. Values are numbers or
text, so that they can be saved, and stand in ascending order where all of an axis are numbers, else
in the order of the table.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from analyses.plots.style import words

Setting = tuple[Any, ...]
Panels = dict[str, dict[str, int]]

WHOLE = "all runs"


def settings_of(
    table: pd.DataFrame, axes: Sequence[str]
) -> tuple[tuple[Setting, ...], Int[np.ndarray, " run"]]:
    """The settings among some runs, in order, and which of them each run has.

    Args:
        table: One row a run, a column `experiment.<axis>` an axis.
        axes: Fields that vary; without any, all runs have the empty setting.

    Raises:
        ValueError: An axis has no column.
    """
    columns = [_values(table, axis) for axis in axes]
    rows: list[Setting] = list(zip(*columns, strict=True)) if axes else [()] * len(table)
    places = [{value: place for place, value in enumerate(_ordered(each))} for each in columns]
    settings = sorted(
        dict.fromkeys(rows),
        key=lambda row: [place[value] for place, value in zip(places, row, strict=True)],
    )
    index = {setting: place for place, setting in enumerate(settings)}
    return tuple(settings), np.array([index[row] for row in rows], dtype=np.int64)


def axis_name(axis: str, axes: Sequence[str]) -> str:
    """The last part of a field's path, or all of it where another axis ends alike."""
    last = axis.rpartition(".")[2]
    alike = sum(other.rpartition(".")[2] == last for other in axes) > 1
    return words(axis.replace(".", " ") if alike else last)


def setting_name(axes: Sequence[str], setting: Sequence[Any]) -> str:
    """A setting in words: `weight decay 0.1, lr 0.01`."""
    parts = [
        f"{axis_name(axis, axes)} {shown(value)}"
        for axis, value in zip(axes, setting, strict=True)
    ]  # fmt: skip
    return ", ".join(parts) or WHOLE


def shown(value: Any) -> str:
    """A value in few characters."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else str(value)


def panels(axes: Sequence[str], settings: Sequence[Setting], across: str) -> tuple[str, Panels]:
    """What lies across the panels, and settings by panel and by their place across.

    Where each value of that axis belongs to one setting alone, as in lists taken side by side,
    there is one panel, and what lies across are all axes.

    Args:
        axes: Fields that vary.
        settings: One value an axis each.
        across: The axis along which the settings of a panel lie.
    """
    if not axes:
        return "", {"": {WHOLE: 0}}
    place = list(axes).index(across)
    if len({setting[place] for setting in settings}) == len(settings):
        names = [", ".join(map(shown, setting)) for setting in settings]
        title = ", ".join(axis_name(axis, axes) for axis in axes)
        return title, {"": {name: index for index, name in enumerate(names)}}
    laid: Panels = {}
    for index, setting in enumerate(settings):
        others = [i for i in range(len(axes)) if i != place]
        told = setting_name([axes[i] for i in others], [setting[i] for i in others])
        laid.setdefault(told, {})[shown(setting[place])] = index
    return axis_name(across, axes), laid


def columns_of(axes: Sequence[str], settings: Sequence[Setting]) -> int:
    """How many panels, one a setting, make a row: the last of several axes lies across."""
    if len(axes) < 2:
        return 0
    count = len({setting[-1] for setting in settings})
    return count if count * len({setting[:-1] for setting in settings}) == len(settings) else 0


def _values(table: pd.DataFrame, axis: str) -> list[Any]:
    name = f"experiment.{axis}"
    if name not in table:
        fields = [each for each in table if str(each).startswith("experiment.")]
        raise ValueError(f"axis '{axis}': the table has no column {name}; it has {fields}")
    return [_plain(value) for value in table[name]]


def _plain(value: Any) -> Any:
    """A number or text; what is left out is `none`, a list its values."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(shown(each) for each in value)
    return value if isinstance(value, int | float | str) else str(value)


def _ordered(values: Sequence[Any]) -> list[Any]:
    """Each value once: ascending where all are numbers, else in order."""
    found = list(dict.fromkeys(values))
    return sorted(found) if all(isinstance(each, int | float) for each in found) else found
