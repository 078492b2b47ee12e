"""Measures a sweep: each of its runs as any run, then what can be said of all together."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from analyses import ANALYSES, Result, SeriesResult, SweepResult
from interp.executors import MAX_JOBS, Engine
from interp.measure.analyze import lacking_of
from interp.measure.outcomes import Summary, measured, refuse_errors, summarised, with_counts
from interp.measure.runs import analyze_run, analyze_runs
from interp.runs import Run, find_analysis, locked, run_analyses
from interp.sweeps.sweep import (
    SweepFolder,
    SweepRuns,
    analyses_of,
    finished_runs,
    needed_columns,
    sweep_result,
)
from interp.sweeps.table import LazySeries, sweep_table
from interp.training.device import Device

Asked = tuple[type[SweepResult], str, Mapping[str, Any]]  # result class, its name, its options


def analyze_folders(
    folders: Sequence[Run | SweepFolder],
    names: Sequence[str] | None = None,
    *,
    device: Device = "cpu",
    engine: Engine | None = None,
    jobs: int = MAX_JOBS,
    on_place: Callable[[str], None] = lambda place: None,
) -> Iterator[tuple[Path, Sequence[Summary], str]]:
    """Measures runs and sweeps; one that refuses stops no other.

    Args:
        folders: What to measure.
        names: Analyses by name; by default all.
        device: Where models run.
        engine: Takes the runs as jobs.
        jobs: How many jobs it is given at once, at most.
        on_place: Called with the run, the step, or the jobs that are at hand.

    Yields:
        The folder, what became of each analysis, and what it ran into, if anything.
    """
    how = {"device": device, "engine": engine, "jobs": jobs}
    runs = [folder for folder in folders if isinstance(folder, Run)]
    together = analyze_runs(runs, names, **how, on_place=on_place) if engine else []
    of_run = {each.run.path: each for each in together}
    for folder in folders:
        if isinstance(folder, SweepFolder):
            outcomes: list[Summary] = []
            fault = ""
            try:
                analyze_sweep(folder, names, **how, on_run=on_place, on_outcomes=outcomes.extend)
            except (ValueError, OSError) as error:
                fault = str(error)
            yield folder.path, outcomes, fault
        else:
            measured = of_run.get(folder.path) or analyze_run(folder, names, device, on_place)
            yield folder.path, measured.summaries, measured.fault


def analyze_sweep(
    folder: SweepFolder | str | Path,
    names: Sequence[str] | None = None,
    *,
    device: Device = "cpu",
    engine: Engine | None = None,
    jobs: int = MAX_JOBS,
    on_run: Callable[[str], None] = lambda name: None,
    on_outcomes: Callable[[list[Summary]], None] = lambda outcomes: None,
) -> list[Summary]:
    """Measures and saves what is not saved yet: of each run, then of the whole sweep.

    Args:
        folder: The sweep, or its folder's path; its base's `analyses` table gives options.
        names: Analyses by name; by default all. What those of the whole need is measured on the
            runs first.
        device: Where models run.
        engine: Takes the runs as jobs; without one they are measured here, as is the whole.
        jobs: How many jobs it is given, at most.
        on_run: Called with each run's name before it is measured, or how many jobs are over.
        on_outcomes: Called with what is returned, before what refuses is an error.

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
            f"{folder.path}: {unfinished} of {len(sweep.runs) + sweep.missing} runs are not "
            "finished, and are left out",
            stacklevel=2,
        )
    classes = [find_analysis(name) for name in (ANALYSES if names is None else names)]
    chosen = {cls.__name__: cls for cls in classes}
    of_whole: list[Asked] = [
        (cls, name, options)
        for name, cls in chosen.items()
        if issubclass(cls, SweepResult)
        for options in folder.sweep.analyses.get(name, ({},))
    ]
    own = [name for name, cls in chosen.items() if issubclass(cls, Result | SeriesResult)]
    wanted = {*chosen, *_read_by(of_whole)}
    of_runs = [name for name in dict.fromkeys([*run_analyses(), *own]) if name in wanted]
    faults = list(sweep.faults)
    of_each_run: list[Summary] = []
    if of_runs:
        measured_runs = analyze_runs(
            [run for run in sweep.runs if run.steps],
            None if names is None else of_runs,
            device=device,
            engine=engine,
            jobs=jobs,
            on_place=on_run,
        )
        of_each_run = [summary for each in measured_runs for summary in each.summaries]
        faults += [each.fault for each in measured_runs if each.fault]
    with locked(folder.path):
        of_sweep, more_faults = _measure_whole(sweep, of_whole)
    outcomes = [_over_runs(name, of_each_run) for name in of_runs] + of_sweep
    on_outcomes(outcomes)
    if faults or more_faults:
        raise ValueError("; ".join([*faults, *more_faults]))
    return outcomes


def _read_by(asked: Sequence[Asked]) -> list[str]:
    """Analyses of single runs whose saved results some analyses of a sweep read."""
    return list(
        dict.fromkeys(
            name for cls, _, options in asked for name in analyses_of(needed_columns(cls, options))
        )
    )


def _over_runs(name: str, summaries: Sequence[Summary]) -> Summary:
    """What became of one analysis over all runs: counts, and how often for what reason."""
    by_run = [summary for summary in summaries if summary.name == name]
    reasons = [summary.reason for summary in by_run if summary.reason]
    notes = [f"{reasons.count(why)} runs: {why}" for why in dict.fromkeys(reasons)]
    counts = (sum(summary.measured for summary in by_run), sum(summary.kept for summary in by_run))
    applies = not by_run or any(summary.applies for summary in by_run)
    return Summary(name, *counts, with_counts(*counts, notes), applies)


def _measure_whole(sweep: SweepRuns, asked: Sequence[Asked]) -> tuple[list[Summary], list[str]]:
    """What became of each analysis of the whole, and what refused."""
    if not asked:
        return [], []
    table = sweep_table(sweep, _read_by(asked))
    series, axes = LazySeries(list(sweep.runs)), sweep.folder.sweep.axes
    measurements, summaries = [], []
    some_run = next((run for run in sweep.runs if run.steps and not run.failure), None)
    for cls, name, options in asked:
        lacking = lacking_of(some_run, cls) if some_run else ""
        if lacking:
            summaries += [Summary(name, reason=lacking, applies=False)]
            continue
        columns = needed_columns(cls, options)
        absent = [column for column in columns if not {column, f"metrics.{column}"} & set(table)]
        if absent:
            summaries += [Summary(name, reason=f"no run has {', '.join(absent)}", applies=False)]
            continue
        measure = partial(cls.measure, table, series, axes=axes, **options)
        measurements.append(measured(sweep_result(sweep, cls, name, options), measure))
        summaries.append(summarised(name, "", measurements[-1:]))
    try:
        refuse_errors(measurements)
    except ValueError as error:
        return summaries, [f"{sweep.folder.path}: {error}"]
    return summaries, []
