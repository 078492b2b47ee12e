"""A scalar of every run of a sweep: at the end of training, or over steps."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from hooks import Series

STEPS = 120  # more than a small panel has room for
METRIC = "metrics."


def has_failed(table: pd.DataFrame) -> Bool[np.ndarray, " run"]:
    """Which runs could not be finished."""
    failures = table.get("failure", pd.Series("", index=table.index))
    return np.asarray(failures != "", dtype=bool)


def at_end(table: pd.DataFrame, scalar: str) -> Float[np.ndarray, " run"]:
    """A scalar of each run: a metric at its last evaluation, or what an analysis found last.

    NaN where it is undefined or not measured, and of a run that failed.

    Raises:
        ValueError: No such column, or it holds text.
    """
    values = _numbers(table, column_of(table, scalar))
    return np.where(has_failed(table), np.nan, values)


def over_steps(
    table: pd.DataFrame, series: Mapping[str, Series], scalar: str
) -> tuple[Int[np.ndarray, " step"], Float[np.ndarray, "run step"]]:
    """A scalar of each run at the steps of all of them, at most `STEPS`, evenly chosen.

    Between two of its own steps a run's value lies on the line between them; before the first and
    after the last it is NaN.

    Raises:
        ValueError: No such column, it holds text, or no run has it at steps.
    """
    column = column_of(table, scalar)
    records = [_record(series[run], scalar, column) for run in table["run"]]
    known = np.unique(np.concatenate([steps for steps, _ in records]))
    if not len(known):
        raise ValueError(
            f"scalar: no run has {scalar} at steps; where it is one number a run, set against to "
            "an axis"
        )
    places = np.linspace(0, len(known) - 1, min(len(known), STEPS)).round().astype(np.int64)
    steps = known[places]
    return steps, np.array([_at(steps, *record) for record in records])


def column_of(table: pd.DataFrame, scalar: str) -> str:
    """The column of the table that holds a scalar.

    Raises:
        ValueError: There is none; the message lists those of its kind.
    """
    for name in (METRIC + scalar, scalar):
        if name in table:
            return name
    numbers = [name for name in table if pd.api.types.is_numeric_dtype(table[name])]
    known = [name.removeprefix(METRIC) for name in numbers if not name.startswith("experiment.")]
    raise ValueError(f"scalar: the table has no '{scalar}'; it has {', '.join(known) or 'none'}")


def _record(series: Series, scalar: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one run; none where it has none."""
    analysis, _, key = scalar.partition(".")
    try:
        frame = series.metrics if column != scalar else series.scalars(analysis)
    except ValueError:
        frame = pd.DataFrame()
    name = scalar if column != scalar else key
    if name not in frame:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    return frame["step"].to_numpy(dtype=np.int64), _numbers(frame, name)


def _at(steps: np.ndarray, own: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A run's values at given steps."""
    if not len(own):
        return np.full(len(steps), np.nan)
    return np.interp(steps, own, values, left=np.nan, right=np.nan)


def _numbers(frame: pd.DataFrame, column: str) -> np.ndarray:
    """A column as float64, what is not finite as NaN.

    Raises:
        ValueError: It holds text.
    """
    values = frame[column].tolist()
    if any(isinstance(each, str) for each in values):
        name = column.removeprefix(METRIC)
        raise ValueError(f"scalar: {name} is text; OutcomeShares counts that")
    numbers = np.array(values, dtype=np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan)
