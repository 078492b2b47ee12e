"""Measures a sweep: its runs as any run, then what can be said of all together.

    SWEEP/results/<analysis>/sweep-<hash>/sweep.npz

A header holds a hash of the runs' experiments, checkpoints and metrics and of the saved results
that are read, so that a sweep which went on or was changed is measured again.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from analyses import ANALYSES, SweepResult
from analyses.requirements import option_defaults
from interp.measure.analyze import analyze
from interp.measure.outcomes import Summary, measured, refuse_errors, summarised, with_counts
from interp.runs import (
    RUN_ANALYSES,
    ResultFile,
    Run,
    Saved,
    find_analysis,
    find_saved,
    locked,
    make_header,
    passed_over,
    result_folder,
    without_place,
)
from interp.sweeps.sweep import SweepFolder
from interp.sweeps.table import LazySeries, SweepRuns, finished_runs, sweep_table
from interp.training.device import Device

Asked = tuple[type[SweepResult], str, Mapping[str, Any]]  # result class, its name, its options


def analyze_folder(
    folder: Run | SweepFolder,
    names: Sequence[str] | None = None,
    *,
    device: Device = "cpu",
    on_place: Callable[[str], None] = lambda place: None,
) -> list[Summary]:
    """Measures a run, or a sweep; see `analyze` and `analyze_sweep`.

    Args:
        folder: What to measure.
        names: Analyses by name; by default all.
        device: Where models run.
        on_place: Called with the step, or the run, that is at hand.
    """
    if isinstance(folder, SweepFolder):
        return analyze_sweep(folder, names, device=device, on_run=on_place)
    return analyze(folder, names, device=device, on_step=lambda step: on_place(f"step {step}"))


def analyze_sweep(
    folder: SweepFolder | str | Path,
    names: Sequence[str] | None = None,
    *,
    device: Device = "cpu",
    on_run: Callable[[str], None] = lambda name: None,
) -> list[Summary]:
    """Measures and saves what is not saved yet: of each run, then of the whole sweep.

    Args:
        folder: The sweep, or its folder's path; its base's `analyses` table gives options.
        names: Analyses by name; by default all. What those of the whole need is measured on the
            runs first.
        device: Where models run.
        on_run: Called with each run's name before it is measured.

    Returns:
        What became of each analysis, over all runs.

    Raises:
        ValueError: An unknown analysis or option, no run is trained yet, or, raised after all else
            is measured, a run or an analysis of the whole refuses.
    """
    sweep = finished_runs(folder)
    folder = sweep.folder
    unfinished = sweep.missing - len(sweep.faults)
    if unfinished:
        warnings.warn(
            f"{folder.path}: {unfinished} of {len(sweep.runs) + sweep.missing} members are not "
            "finished, and are left out",
            stacklevel=2,
        )
    chosen = {name: find_analysis(name) for name in (ANALYSES if names is None else names)}
    of_whole: list[Asked] = [
        (cls, name, options)
        for name, cls in chosen.items()
        if issubclass(cls, SweepResult)
        for options in folder.sweep.analyses.get(name, ({},))
    ]
    of_runs = [name for name in RUN_ANALYSES if name in (*chosen, *_read_by(of_whole))]
    faults: list[str] = []
    of_each_run: list[Summary] = []
    for run in sweep.runs if of_runs else ():
        if run.steps:
            on_run(run.name)
            try:
                of_each_run += analyze(run, None if names is None else of_runs, device=device)
            except ValueError as error:  # the other runs are still measured
                faults.append(str(error))
    with locked(folder.path):
        of_sweep, more_faults = _measure_whole(sweep, of_whole)
    refused = [*sweep.faults, *faults, *more_faults]
    if refused:
        raise ValueError("; ".join(refused))
    return [_over_runs(name, of_each_run) for name in of_runs] + of_sweep


def current_sweep_results(folder: SweepFolder) -> tuple[list[Saved], str]:
    """Current results of a whole sweep, and one line on the others (`interp.runs.current`)."""
    everything, faults = find_saved(folder, tuple(ANALYSES))
    if not everything and not faults:
        return [], ""
    try:
        sweep = finished_runs(folder)
    except ValueError as error:
        return [], passed_over(folder.path, [*faults, str(error)])
    current = []
    for saved in everything:
        if issubclass(saved.cls, SweepResult):
            file = sweep_result(sweep, saved.cls, saved.name, saved.options)
            try:
                replace(file, path=saved.file()).read()
            except ValueError as error:
                faults.append(f"{saved.name}: {without_place(error, saved.file())}")
            else:
                current.append(saved)
    return current, passed_over(folder.path, faults)


def sweep_result(
    sweep: SweepRuns, cls: type[SweepResult], name: str, options: Mapping[str, Any]
) -> ResultFile:
    """The file of an analysis of a whole sweep, whose header tells all that it rests on."""
    header = make_header(
        cls,
        name,
        split="sweep",
        options=dict(options),
        missing=sweep.missing,
        runs=_runs_digest(sweep, analyses_of(needed_columns(cls, options))),
    )
    place = result_folder(sweep.folder, name, "sweep", {"options": dict(options)})
    return ResultFile(cls, place / "sweep.npz", header)


def needed_columns(cls: type[SweepResult], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns of a sweep's table that an analysis needs, as its options name them."""
    return cls.needs.columns_with(option_defaults(cls) | dict(options))


def analyses_of(columns: Sequence[str]) -> tuple[str, ...]:
    """Analyses of single runs whose saved scalars are among some columns of a sweep's table."""
    named = {column.partition(".")[0] for column in columns}
    return tuple(name for name in ANALYSES if name in named)


def _read_by(asked: Sequence[Asked]) -> list[str]:
    """Analyses of single runs whose saved results some analyses of a sweep read."""
    return list(
        dict.fromkeys(
            name for cls, _, options in asked for name in analyses_of(needed_columns(cls, options))
        )
    )


def _over_runs(name: str, summaries: Sequence[Summary]) -> Summary:
    """What became of one analysis over all runs: counts, and how often for what reason."""
    of_it = [summary for summary in summaries if summary.name == name]
    reasons = [summary.reason for summary in of_it if summary.reason]
    notes = [f"{reasons.count(why)} members: {why}" for why in dict.fromkeys(reasons)]
    counts = (sum(summary.measured for summary in of_it), sum(summary.kept for summary in of_it))
    applies = not of_it or any(summary.applies for summary in of_it)
    return Summary(name, *counts, with_counts(*counts, notes), applies)


def _measure_whole(sweep: SweepRuns, asked: Sequence[Asked]) -> tuple[list[Summary], list[str]]:
    """What became of each analysis of the whole, and what refused."""
    if not asked:
        return [], []
    table = sweep_table(sweep, _read_by(asked))
    series, axes = LazySeries(list(sweep.runs)), sweep.folder.sweep.axes
    measurements, summaries = [], []
    for cls, name, options in asked:
        columns = needed_columns(cls, options)
        absent = [column for column in columns if not {column, f"metrics.{column}"} & set(table)]
        if absent:
            reason = f"no member has {', '.join(absent)}"
            summaries.append(Summary(name, reason=reason, applies=False))
            continue
        measure = partial(cls.measure, table, series, axes=axes, **options)
        measurements.append(measured(sweep_result(sweep, cls, name, options), measure))
        summaries.append(summarised(name, "", measurements[-1:]))
    try:
        refuse_errors(measurements)
    except ValueError as error:
        return summaries, [f"{sweep.folder.path}: {error}"]
    return summaries, []


def _runs_digest(sweep: SweepRuns, read: Sequence[str]) -> str:
    """A hash of what results of a sweep may read of its runs.

    Args:
        sweep: The sweep's runs.
        read: Analyses whose saved results are read.
    """
    facts = [
        [
            run.name,
            run.failure,
            sweep.bases[run].run_digest,
            sweep.bases[run].results_digest(read),
            experiment.model_dump(mode="json", exclude_defaults=True),
        ]
        for run, experiment in sweep.runs.items()
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
