"""How do the runs of a sweep differ, apart from their seeds, and what did each run reach?

A setting is one value for each axis; its runs differ in their seeds alone. Values are numbers or
text, so that they can be saved. They stand in ascending order if all values of an axis are numbers,
else in the order of the table. A scalar is a metric, or a number that an analysis saved, of each
run: at the end of training, or over steps.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses.plots.style import words
from hooks import Series

if TYPE_CHECKING:
    import pandas

Setting = tuple[Any, ...]
PlacesByPanel = dict[str, dict[str, int]]

WHOLE = "all runs"
METRIC = "metrics."
MAX_STEPS = 120  # steps of a curve; a small panel has no room for more


def settings_of(
    table: "pandas.DataFrame", axes: Sequence[str]
) -> tuple[tuple[Setting, ...], Int[np.ndarray, " run"]]:
    """The settings of some runs, in order, and for each run the number of its setting.

    Args:
        table: It has a row for each run and a column `experiment.<axis>` for each axis.
        axes: Fields that vary; if there are none, all runs have the empty setting.

    Raises:
        ValueError: An axis has no column.
    """
    columns = [_values(table, axis) for axis in axes]
    rows: list[Setting] = list(zip(*columns, strict=True)) if axes else [()] * len(table)
    places = [
        {value: place for place, value in enumerate(ordered_values(values))} for values in columns
    ]
    settings = sorted(
        dict.fromkeys(rows),
        key=lambda row: [place[value] for place, value in zip(places, row, strict=True)],
    )
    return tuple(settings), np.array([settings.index(row) for row in rows], dtype=np.int64)


def groups_of(
    table: "pandas.DataFrame", axis: str
) -> tuple[tuple[Any, ...], Int[np.ndarray, " run"]]:
    """The values of one field among some runs, in order, and for each run the number of its value.

    Raises:
        ValueError: The field has no column.
    """
    settings, group = settings_of(table, (axis,))
    return tuple(value for (value,) in settings), group


def ordered_values(values: Sequence[Any]) -> list[Any]:
    """Each value once: ascending where all are numbers, else in their order."""
    distinct = list(dict.fromkeys(values))
    return sorted(distinct) if all(isinstance(v, int | float) for v in distinct) else distinct


def axis_name(axis: str, axes: Sequence[str]) -> str:
    """The last part of a field's path, or all of it where another axis ends in the same word."""
    last = axis.rpartition(".")[2]
    is_shared = sum(other.rpartition(".")[2] == last for other in axes) > 1
    return words(axis.replace(".", " ") if is_shared else last)


def field_name(axis: str) -> str:
    """A field in words: `model.n_layers` is layers."""
    return axis_name(axis, (axis,)).removeprefix("n ")


def value_name(value: Any) -> str:
    """A value in few characters."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else str(value)


def group_name(axis: str, value: Any) -> str:
    """A value of a field in words: 2 layers, weight decay 0.1."""
    is_count = axis.rpartition(".")[2].startswith("n_")
    field, shown = field_name(axis), value_name(value)
    return f"{shown} {field}" if is_count else f"{field} {shown}"


def setting_name(axes: Sequence[str], setting: Sequence[Any]) -> str:
    """A setting in words: `weight decay 0.1, lr 0.01`."""
    parts = [
        f"{axis_name(axis, axes)} {value_name(value)}"
        for axis, value in zip(axes, setting, strict=True)
    ]
    return ", ".join(parts) or WHOLE


def places_by_panel(
    axes: Sequence[str], settings: Sequence[Setting], across: str
) -> tuple[str, PlacesByPanel]:
    """The title of the panels' abscissa, and for each panel the numbers of its settings by name.

    If each value of the axis belongs to one setting alone, as in lists taken side by side, there is
    a single panel, and all axes lie along its abscissa.

    Args:
        axes: Fields that vary.
        settings: Each has one value for each axis.
        across: The axis along which the settings of a panel lie.
    """
    if not axes:
        return "", {"": {WHOLE: 0}}
    place = list(axes).index(across)
    if len({setting[place] for setting in settings}) == len(settings):
        names = [", ".join(map(value_name, setting)) for setting in settings]
        title = ", ".join(axis_name(axis, axes) for axis in axes)
        return title, {"": {name: index for index, name in enumerate(names)}}
    laid_out: PlacesByPanel = {}
    for index, setting in enumerate(settings):
        others = [i for i in range(len(axes)) if i != place]
        panel = setting_name([axes[i] for i in others], [setting[i] for i in others])
        laid_out.setdefault(panel, {})[value_name(setting[place])] = index
    return axis_name(across, axes), laid_out


def columns_of(axes: Sequence[str], settings: Sequence[Setting]) -> int:
    """Panels of a row, if each setting has one and the last axis lies across; 0 for any number."""
    if len(axes) < 2:
        return 0
    count = len({setting[-1] for setting in settings})
    return count if count * len({setting[:-1] for setting in settings}) == len(settings) else 0


def has_failed(table: "pandas.DataFrame") -> Bool[np.ndarray, " run"]:
    """Which runs could not be finished."""
    import pandas

    failures = table.get("failure", pandas.Series("", index=table.index))
    return np.asarray(failures != "", dtype=bool)


def at_end(table: "pandas.DataFrame", scalar: str) -> Float[np.ndarray, " run"]:
    """A scalar of each run: a metric at its last evaluation, or what an analysis found last.

    NaN where it is undefined or not measured, and of a run that failed.

    Raises:
        ValueError: No such column, or it holds text.
    """
    return np.where(has_failed(table), np.nan, _numbers(table, _column(table, scalar)))


def over_steps(
    table: "pandas.DataFrame", series: Mapping[str, Series], scalar: str
) -> tuple[Int[np.ndarray, " step"], Float[np.ndarray, "run step"]]:
    """A scalar of each run at the steps of all of them, at most `MAX_STEPS`, evenly chosen.

    Between two steps of a run its value is interpolated linearly; before its first and after its
    last step it is NaN. A run that refuses to give its scalars (they may be of another checkpoint)
    has NaN at all steps, and one warning says why.

    Raises:
        ValueError: No such column, it holds text, or no run has it at steps.
    """
    import pandas

    is_metric = _column(table, scalar) != scalar
    analysis, _, key = scalar.partition(".")
    frames, refusals = [], []
    for run in table["run"]:
        try:
            frames.append(_metrics(series[run]) if is_metric else series[run].scalars(analysis))
        except ValueError as error:
            frames.append(pandas.DataFrame())
            refusals.append(str(error))
    records = [_record(frame, scalar if is_metric else key) for frame in frames]
    known = np.unique(np.concatenate([steps for steps, _ in records]))
    if not len(known):
        raise ValueError(
            f"scalar: no run has {scalar} at steps; where it is one number a run, set against to "
            "an axis"
        )
    if refusals:
        more = f", and {len(refusals) - 1} more" if len(refusals) > 1 else ""
        warnings.warn(f"{scalar} is left out of runs: {refusals[0]}{more}", stacklevel=2)
    places = np.linspace(0, len(known) - 1, min(len(known), MAX_STEPS)).round().astype(np.int64)
    steps = known[places]
    values = [
        np.interp(steps, *record, left=np.nan, right=np.nan)
        if len(record[0])
        else np.full(len(steps), np.nan)
        for record in records
    ]
    return steps, np.array(values)


def _values(table: "pandas.DataFrame", axis: str) -> list[Any]:
    """Each run's value of a field.

    Raises:
        ValueError: The field has no column.
    """
    name = f"experiment.{axis}"
    if name not in table:
        fields = [column for column in table if str(column).startswith("experiment.")]
        raise ValueError(f"axis '{axis}': the table has no column {name}; it has {fields}")
    return [_plain(value) for value in table[name]]


def _plain(value: Any) -> Any:
    """A value as a number or text: `none` if it is missing, a list's values with commas."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(value_name, value))
    return value if isinstance(value, int | float | str) else str(value)


def _column(table: "pandas.DataFrame", scalar: str) -> str:
    """The column of the table that holds a scalar.

    Raises:
        ValueError: There is none; the message lists those of its kind.
    """
    import pandas

    for name in (METRIC + scalar, scalar):
        if name in table:
            return name
    numbers = [name for name in table if pandas.api.types.is_numeric_dtype(table[name])]
    known = [name.removeprefix(METRIC) for name in numbers if not name.startswith("experiment.")]
    raise ValueError(f"scalar: the table has no '{scalar}'; it has {', '.join(known) or 'none'}")


def _metrics(series: Series) -> "pandas.DataFrame":
    """The metrics of a run; empty if none were recorded."""
    import pandas

    return series.metrics if series.has_metrics else pandas.DataFrame()


def _record(frame: "pandas.DataFrame", column: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one run; both are empty if it has no such column."""
    if column not in frame:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    return frame["step"].to_numpy(dtype=np.int64), _numbers(frame, column)


def _numbers(frame: "pandas.DataFrame", column: str) -> np.ndarray:
    """A column as float64, with NaN for what is not finite.

    Raises:
        ValueError: It holds text.
    """
    values = frame[column].tolist()
    if any(isinstance(value, str) for value in values):
        raise ValueError(
            f"scalar: {column.removeprefix(METRIC)} is text; OutcomeShares counts that"
        )
    numbers = np.array(values, dtype=np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan)
