"""What a whole sweep shows: its runs, and a table with a row a run.

Only runs that are finished or failed count, and whose files can be read.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analyses import ANALYSES
from hooks import Series
from interp.config import Experiment
from interp.runs import Basis, Run, in_a_line, is_done_with, last_result
from interp.sweeps.sweep import SweepFolder, find_sweep


@dataclass(frozen=True)
class SweepRuns:
    """Some runs of a sweep.

    Attributes:
        folder: The sweep.
        runs: Their experiments, by run.
        missing: How many other runs the sweep has.
        faults: Why some of those others cannot be read, a line a run.
    """

    folder: SweepFolder
    runs: Mapping[Run, Experiment] = field(hash=False)
    missing: int
    faults: tuple[str, ...] = ()

    @cached_property
    def bases(self) -> dict[Run, Basis]:
        """What the results of each run rest on; reads every checkpoint, once."""
        return {run: run.basis() for run in self.runs}


class LazySeries(Mapping[str, Series]):
    """Runs by name as analyses see them, each read when it is asked for."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = {run.name: run for run in runs}

    def __getitem__(self, name: str) -> Series:
        return self._runs[name].series()

    def __contains__(self, name: object) -> bool:
        return name in self._runs  # the mixin's would read a run to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)


def finished_runs(folder: SweepFolder | str | Path) -> SweepRuns:
    """The runs of a sweep that are finished or failed, and can be read.

    Args:
        folder: The sweep, or its folder's path.

    Raises:
        ValueError: There are none.
        FileNotFoundError: The path is no sweep's folder.
    """
    sweep = folder if isinstance(folder, SweepFolder) else find_sweep(folder)
    if sweep is None:
        raise FileNotFoundError(f"{folder} is not a sweep's folder: it has no sweep.toml")
    experiments, runs, faults = sweep.experiments(), {}, []
    for path, experiment in experiments.items():
        fault = fault_of(Run(path))
        if fault:
            faults.append(fault)
        elif is_done_with(path, experiment):
            runs[Run(path)] = experiment
    if not runs:
        raise ValueError(
            "; ".join(faults) or f"{sweep.path}: no member is trained yet; run `interp sweep`"
        )
    return SweepRuns(sweep, runs, len(experiments) - len(runs), tuple(faults))


def fault_of(run: Run) -> str:
    """Which file of a run's folder cannot be read, and why; nothing where all can, or none is."""
    if not run.path.is_dir():
        return ""
    try:
        _ = run.failure, run.recorded_metrics()
        if (run.path / "experiment.toml").is_file():
            _ = run.experiment
    except (ValueError, KeyError, TypeError) as error:  # failure.json may hold any JSON
        message = in_a_line(error)
        return message if str(run.path) in message else f"{run.path}: {message}"
    return ""


def sweep_table(
    sweep: SweepRuns | SweepFolder | str | Path, analyses: Sequence[str] = tuple(ANALYSES)
) -> pd.DataFrame:
    """One row a run: what it was, how it ended, what was found.

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
    sweep = sweep if isinstance(sweep, SweepRuns) else finished_runs(sweep)
    tables, stale = _table_axes(sweep), []
    rows = []
    for run, experiment in sweep.runs.items():
        row: dict[str, Any] = {"run": run.name, "failure": run.failure}
        row |= {f"experiment.{path}": value for path, value in experiment.fields.items()}
        row |= {f"experiment.{axis}": texts[run] for axis, texts in tables.items()}
        metrics = run.recorded_metrics()
        last = {} if metrics is None else metrics.iloc[-1].to_dict()
        row |= {f"metrics.{name}": value for name, value in last.items()}
        for name in analyses:
            try:
                result = last_result(sweep.bases[run], name)
            except ValueError as error:
                stale.append(str(error))
                continue
            scalars = {} if result is None else result.summary()
            row |= {f"{name}.{scalar}": value for scalar, value in scalars.items()}
        rows.append(row)
    if stale:
        place = sweep.folder.path
        more = f", and {len(stale) - 1} more" if len(stale) > 1 else ""
        warnings.warn(
            f"{place}: saved results that do not hold are left out: {stale[0]}{more}. "
            f"Run `interp analyze {place}`",
            stacklevel=2,
        )
    return pd.DataFrame(rows)


def _table_axes(sweep: SweepRuns) -> dict[str, dict[Run, str]]:
    """Axes whose values are whole tables, as text by run: the fields in which they differ."""
    fields = {run: experiment.fields for run, experiment in sweep.runs.items()}
    texts = {}
    for axis in sweep.folder.sweep.axes:
        within = {
            run: {path: value for path, value in values.items() if path.startswith(f"{axis}.")}
            for run, values in fields.items()
        }
        if any(within.values()):
            texts[axis] = _differences(within)
    return texts


def _differences(fields: Mapping[Run, Mapping[str, Any]]) -> dict[Run, str]:
    """For each run: those of its fields in which the runs differ, as text."""
    paths = dict.fromkeys(path for values in fields.values() for path in values)
    differing = [p for p in paths if len({str(values.get(p)) for values in fields.values()}) > 1]
    return {
        run: ", ".join(f"{p.rpartition('.')[2]} {values[p]}" for p in differing if p in values)
        for run, values in fields.items()
    }
