"""What a whole sweep shows: a table with a row for each run, and the runs as analyses see them."""

import warnings
from collections import UserDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses import ANALYSES
from hooks import Series
from interp.runs import Run, last_result
from interp.sweeps.sweep import SweepFolder, SweepRuns, finished_runs

if TYPE_CHECKING:
    import pandas


class LazySeries(UserDict[str, Any]):
    """Runs by name as analyses see them, each read when it is asked for."""

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__({run.name: run for run in runs})

    def __getitem__(self, name: str) -> Series:
        return self.data[name].series()


def sweep_table(
    sweep: SweepRuns | SweepFolder | str | Path, analyses: Sequence[str] = tuple(ANALYSES)
) -> "pandas.DataFrame":
    """One row for each run: what it was, how it ended, what was found.

    Args:
        sweep: The runs; of a sweep, or the path of its folder, those of `finished_runs`.
        analyses: Those of single runs whose saved scalars are read: of a whole run, or of its last
            step, on the first of several splits, with the options of the run's experiment. Results
            that are not current (`interp.runs.current`) are left out, and one warning says so.

    Returns:
        Columns `run`, `failure`, `experiment.<field>`, `metrics.<column>` at the last evaluation,
        and `<Analysis>.<scalar>`. An axis whose values are whole tables has a column of its own,
        which says in what they differ.
    """
    import pandas

    sweep = sweep if isinstance(sweep, SweepRuns) else finished_runs(sweep)
    table_axes, rows, stale = _table_axes(sweep), [], []
    for run, experiment in sweep.runs.items():
        row: dict[str, Any] = {"run": run.name, "failure": run.failure}
        row |= {f"experiment.{path}": value for path, value in experiment.fields.items()}
        row |= {f"experiment.{axis}": texts[run] for axis, texts in table_axes.items()}
        metrics = run.recorded_metrics()
        last = {} if metrics is None else metrics.iloc[-1].to_dict()
        row |= {f"metrics.{name}": value for name, value in last.items()}
        for name in analyses:
            try:
                result = last_result(sweep.bases[run], name)
            except ValueError as error:
                stale.append(str(error))
            else:
                scalars = {} if result is None else result.summary()
                row |= {f"{name}.{scalar}": value for scalar, value in scalars.items()}
        rows.append(row)
    if stale:
        place = sweep.folder.path
        more = f", and {len(stale) - 1} more" if len(stale) > 1 else ""
        warnings.warn(
            f"{place}: saved results that are not current are left out: {stale[0]}{more}. "
            f"Run `interp analyze {place}`",
            stacklevel=2,
        )
    return pandas.DataFrame(rows)


def _table_axes(sweep: SweepRuns) -> dict[str, dict[Run, str]]:
    """Axes whose values are whole tables, as text by run: the fields in which they differ."""
    fields = {run: experiment.fields for run, experiment in sweep.runs.items()}
    texts = {axis: _differences(fields, f"{axis}.") for axis in sweep.folder.sweep.axes}
    return {axis: by_run for axis, by_run in texts.items() if by_run}


def _differences(fields: Mapping[Run, Mapping[str, Any]], prefix: str) -> dict[Run, str]:
    """For each run: the fields of a table in which the runs differ, as text; empty for no table."""
    paths = dict.fromkeys(p for values in fields.values() for p in values if p.startswith(prefix))
    differing = [p for p in paths if len({str(values.get(p)) for values in fields.values()}) > 1]
    return {
        run: ", ".join(f"{p.rpartition('.')[2]} {values[p]}" for p in differing if p in values)
        for run, values in fields.items()
        if paths
    }
