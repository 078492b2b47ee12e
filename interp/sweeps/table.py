"""What a whole sweep shows: its table, and results of many runs, measured and saved.

    SWEEP/results/<analysis>/sweep-<hash>/sweep.npz

Only members that are finished or failed count, and whose files can be read. A header holds a hash
of their experiments, checkpoints and metrics and of the saved results that are read, so that a
sweep which went on or was changed is measured again.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from analyses import ANALYSES
from analyses.requirements import option_defaults
from analyses.result import SweepResult
from hooks import Series
from interp.config.experiment import Experiment
from interp.measure.checkpoints import digest_of as digest_of_run
from interp.measure.checkpoints import results_digest
from interp.measure.holding import last_saved, passed_over, without_place
from interp.measure.jobs import Basis, basis_of
from interp.measure.outcomes import Attempt, attempted, in_a_line
from interp.runs.results import (
    Header,
    Saved,
    find_saved,
    is_current,
    make_header,
    read_current,
    result_folder,
    write_result,
)
from interp.runs.run import Run
from interp.sweeps.sweep import SweepFolder
from interp.training.loop import is_done_with


@dataclass(frozen=True)
class Members:
    """Some members of a sweep.

    Attributes:
        folder: The sweep.
        runs: Their experiments, by run.
        missing: How many others there are.
        faults: Why some of those others cannot be read, a line a member.
    """

    folder: SweepFolder
    runs: Mapping[Run, Experiment] = field(hash=False)
    missing: int
    faults: tuple[str, ...] = ()

    @cached_property
    def bases(self) -> dict[Run, Basis]:
        """What the results of each run rest on; reads every checkpoint, once."""
        return {run: basis_of(run) for run in self.runs}


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


@dataclass(frozen=True)
class SweepJob:
    """One analysis of a whole sweep.

    Attributes:
        members: The sweep's.
        cls: The result class.
        name: Its name in `ANALYSES`.
        options: Where they differ from the defaults.
    """

    members: Members
    cls: type[SweepResult]
    name: str
    options: Mapping[str, Any] = field(hash=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table that it needs, as its options have them."""
        return self.cls.needs.columns_with(option_defaults(self.cls) | dict(self.options))

    @property
    def reads(self) -> tuple[str, ...]:
        """Analyses of single runs whose saved results it reads."""
        named = {column.partition(".")[0] for column in self.columns}
        return tuple(name for name in ANALYSES if name in named)

    @property
    def path(self) -> Path:
        """The file of the result."""
        folder = result_folder(
            self.members.folder, self.name, "sweep", {"options": dict(self.options)}
        )
        return folder / "sweep.npz"

    @property
    def header(self) -> Header:
        """What that file should say of itself now."""
        facts = {"split": "sweep", "options": dict(self.options), "missing": self.members.missing}
        return make_header(self.cls, self.name, **facts, runs=digest_of(self.members, self.reads))


def members_of(folder: SweepFolder) -> Members:
    """The members of a sweep that are finished or failed, and can be read.

    Raises:
        ValueError: There are none.
    """
    every = folder.members()
    done, faults = {}, []
    for path, each in every.items():
        fault = fault_of(Run(path))
        faults += [fault] if fault else []
        if not fault and is_done_with(path, each):
            done[Run(path)] = each
    if not done:
        why = "; ".join(faults) or f"{folder.path}: no member is trained yet; run `interp sweep`"
        raise ValueError(why)
    return Members(folder, done, len(every) - len(done), tuple(faults))


def fault_of(run: Run) -> str:
    """Which file of a run's folder cannot be read, and why; nothing where all can, or none is."""
    if not run.path.is_dir():
        return ""
    try:
        _ = run.failure, run.metrics()
        if (run.path / "experiment.toml").is_file():
            _ = run.experiment
    except (ValueError, KeyError, TypeError) as error:  # failure.json may hold any JSON
        told = in_a_line(error)
        return told if str(run.path) in told else f"{run.path}: {told}"
    return ""


def sweep_table(members: Members, analyses: Sequence[str] = tuple(ANALYSES)) -> pd.DataFrame:
    """One row a run: what it was, how it ended, what was found.

    Args:
        members: The sweep's.
        analyses: Those of single runs whose saved scalars are read: of a whole run, or of its last
            step, on the first of several splits, with the options of the run's experiment. Those
            that do not hold (`interp.measure.holding`) are left out, and one warning tells.

    Returns:
        Columns `run`, `failure`, `experiment.<field>`, `metrics.<column>` at the last evaluation,
        and `<Analysis>.<scalar>`. An axis whose values are whole tables has a column of its own,
        which tells in what they differ.
    """
    told, stale = table_axes(members), []
    rows = []
    for run, experiment in members.runs.items():
        row: dict[str, Any] = {"run": run.name, "failure": run.failure}
        row |= {f"experiment.{path}": value for path, value in experiment.fields.items()}
        row |= {f"experiment.{axis}": texts[run] for axis, texts in told.items()}
        metrics = run.metrics()
        last = {} if metrics is None else metrics.iloc[-1].to_dict()
        row |= {f"metrics.{name}": value for name, value in last.items()}
        for name in analyses:
            try:
                found = last_saved(run, name, members.bases[run])
            except ValueError as error:
                stale.append(str(error))
                continue
            scalars = {} if found is None else found.summary()
            row |= {f"{name}.{scalar}": value for scalar, value in scalars.items()}
        rows.append(row)
    if stale:
        place = members.folder.path
        more = f", and {len(stale) - 1} more" if len(stale) > 1 else ""
        warnings.warn(
            f"{place}: saved results that do not hold are left out: {stale[0]}{more}. "
            f"Run `interp analyze {place}`",
            stacklevel=2,
        )
    return pd.DataFrame(rows)


def table_axes(members: Members) -> dict[str, dict[Run, str]]:
    """Axes whose values are whole tables, as text: the fields in which they differ."""
    fields = {run: experiment.fields for run, experiment in members.runs.items()}
    told = {}
    for axis in members.folder.sweep.axes:
        within = {
            run: {path: value for path, value in each.items() if path.startswith(f"{axis}.")}
            for run, each in fields.items()
        }
        if any(within.values()):
            told[axis] = _differences(within)
    return told


def measure_sweep(job: SweepJob, table: pd.DataFrame) -> Attempt:
    """Measures and saves a result of a whole sweep."""
    if is_current(job.path, job.cls, job.header):
        return Attempt(job.name, None, is_new=False)
    series, axes = LazySeries(list(job.members.runs)), job.members.folder.sweep.axes
    tried = partial(job.cls.measure, table, series, axes=axes, **job.options)
    found = attempted(tried, lambda: "")
    if not isinstance(found, SweepResult):
        return Attempt(job.name, None, missed=found)
    write_result(job.path, found, job.header)
    return Attempt(job.name, None)


def digest_of(members: Members, reads: Sequence[str]) -> str:
    """A hash of what results of a sweep may read of its members.

    Args:
        members: The sweep's.
        reads: Analyses whose saved results are read.
    """
    facts = [
        [
            run.name,
            run.failure,
            digest_of_run(run, members.bases[run]),
            results_digest(run, reads),
            experiment.model_dump(mode="json", exclude_defaults=True),
        ]
        for run, experiment in members.runs.items()
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def holding_in_sweep(folder: SweepFolder) -> tuple[list[Saved], str]:
    """Results of a whole sweep that hold, and one line on the others (`interp.measure.holding`)."""
    found, faults = find_saved(folder, tuple(ANALYSES))
    if not found and not faults:
        return [], ""
    try:
        members = members_of(folder)
    except ValueError as error:
        return [], passed_over(folder.path, [*faults, str(error)])
    held = []
    for each in found:
        if not issubclass(each.cls, SweepResult):
            continue
        job = SweepJob(members, each.cls, each.name, each.options)
        try:
            read_current(each.file(), each.cls, job.header)
        except ValueError as error:
            faults.append(f"{each.name}: {without_place(error, each.file())}")
        else:
            held.append(each)
    return held, passed_over(folder.path, faults)


def _differences(within: Mapping[Run, Mapping[str, Any]]) -> dict[Run, str]:
    """Each run's own among some fields, as text."""
    paths = dict.fromkeys(path for each in within.values() for path in each)
    varied = [p for p in paths if len({str(each.get(p)) for each in within.values()}) > 1]
    return {
        run: ", ".join(f"{p.rpartition('.')[2]} {each[p]}" for p in varied if p in each)
        for run, each in within.items()
    }
