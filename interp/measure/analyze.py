"""Measure a run with every analysis that applies, and save what is not saved yet.

A file whose header still agrees is kept, so that the same command after a kill does what was left
and no more. What cannot be measured (a damaged checkpoint, a model that has diverged, an analysis
that refuses) stops nothing else and is told.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import pandas as pd

from analyses import ANALYSES
from analyses.requirements import Needs, check_options
from analyses.result import (
    Analysis,
    BaseResult,
    Result,
    SeriesResult,
    SweepResult,
    of_steps,
)
from hooks import Series
from interp.measure.checkpoints import SeriesJob, digest_of, measure, measure_all, measure_series
from interp.measure.holding import OF_RUNS
from interp.measure.jobs import Job, basis_of, jobs_of, options_of
from interp.measure.outcomes import Attempt, Outcome, outcome, refuse
from interp.runs.lock import alone
from interp.runs.results import current
from interp.runs.run import Run, check_run
from interp.training.device import Device, pick_device


def analyze(
    run: Run,
    names: Sequence[str] | None = None,
    *,
    device: Device = "cpu",
    on_step: Callable[[int], None] = lambda step: None,
) -> list[Outcome]:
    """Measures and saves what is not saved yet.

    Args:
        run: The run; its experiment's `analyses` table gives options.
        names: Analyses by name, and those that they read; by default all that apply (`by_default`
            too).
        device: Where models run; auto takes CUDA where there is one. What is made of their
            activations is computed on the CPU.
        on_step: Called with each step when it is done.

    Returns:
        What became of each analysis.

    Raises:
        ValueError: An unknown analysis or option, another process is writing to the run, or, told
            after all else is measured, an analysis refuses a step, or a checkpoint that others are
            measured against is damaged.
    """
    check_run(run, "interp.measure.analyze")
    place = pick_device(device)
    chosen = {name: find_analysis(name) for name in (OF_RUNS if names is None else _read_by(names))}
    asked = () if names is None else tuple(chosen)
    _refuse_sweeps(chosen)
    with alone(run.path), _named(run):
        basis = basis_of(run)
        intact = _intact(run, tuple(basis.hashes))
        series = replace(run.series(), steps=tuple(intact), device=place)
        lacking = {
            name: _lacking(run, series, cls) or _not_by_default(run, series, name, asked)
            for name, cls in chosen.items()
        }
        applying = {name: cls for name, cls in chosen.items() if not lacking[name]}
        jobs = [
            job
            for name, cls in applying.items()
            if issubclass(cls, Result)
            for job in jobs_of(run, cls, name, basis)
        ]
        attempts: list[Attempt] = []
        for step, made in measure_all(series, jobs):
            attempts += made
            on_step(step)
        digest = digest_of(run, basis)
        without = tuple(step for step, is_finite in intact.items() if not is_finite)
        for name, cls in applying.items():
            if issubclass(cls, SeriesResult):
                job = SeriesJob(run, cls, name, options_of(run, cls, name), digest)
                attempts.append(measure_series(job, series, without))
        refuse(attempts)
        _check_references(jobs, series.steps)
    return [outcome(name, lacking[name], attempts) for name in chosen]


def trace(run: Run, analysis: Analysis | str, **options: Any) -> pd.DataFrame:
    """An analysis' scalars at every step of a run.

    Saved results whose header agrees are read, the rest is measured in memory; nothing is written.

    Args:
        run: A run.
        analysis: A result class, or its name.
        options: Options of its `measure`; the experiment's own where they are not given.

    Returns:
        One row a step: `step`, then the summary's columns. Its `attrs` hold `split` and `options`.

    Raises:
        TypeError: `run` is something other than a run, or `analysis` than an analysis.
        ValueError: The analysis is of a whole run or sweep, an option is unknown, or no checkpoint
            was kept.
    """
    check_run(run, "interp.trace", "of a Series: analyses.trace(series, ...)")
    cls = of_steps(find_analysis(analysis) if isinstance(analysis, str) else analysis)
    name = next((name for name, known in ANALYSES.items() if known is cls), cls.__name__)
    options = (options_of(run, cls, name) if name in ANALYSES else {}) | options
    check_options(cls, options)
    job, series = Job(run, cls, name, cls.splits[0], options, basis_of(run)), run.series()
    if not series.steps:
        raise ValueError(f"{run.path}: no checkpoints; train it with `interp train`")
    examples = series.examples(job.split, cls.count)
    measured: dict[int, BaseResult] = {}
    for step in sorted(series.steps, key=lambda step: step != job.reference_step):
        found = current(job.path(step), cls, job.header(step))
        measured[step] = found or measure(job, series.snapshot(step, examples), measured)
    frame = pd.DataFrame([{"step": step} | measured[step].summary() for step in series.steps])
    frame.attrs = {"split": job.split_name, "options": options}
    return frame


def find_analysis(name: str) -> Analysis:
    """A result class by name.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    if name not in ANALYSES:
        near = get_close_matches(name, ANALYSES)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"no analysis '{name}'; {meant}there are {', '.join(ANALYSES)}")
    return ANALYSES[name]


def _read_by(names: Sequence[str]) -> list[str]:
    """Some analyses, each behind those whose saved scalars it reads."""
    found: dict[str, None] = {}
    for name in names:
        cls = find_analysis(name)
        found |= dict.fromkeys((*(cls.reads if issubclass(cls, SeriesResult) else ()), name))
    return list(found)


@contextmanager
def _named(run: Run) -> Iterator[None]:
    """Errors inside name the run, since one command may take several."""
    try:
        yield
    except ValueError as error:
        if str(run.path) in str(error):
            raise
        raise ValueError(f"{run.path}: {error}") from error


def _intact(run: Run, steps: Sequence[int]) -> dict[int, bool]:
    """Steps whose checkpoint can be read, and whether all its weights are finite.

    Of each other a warning names the file.

    Raises:
        ValueError: There are none.
    """
    intact = {}
    for step in steps:
        try:
            weights = dict(run.parameters(step)).values()
            intact[step] = all(bool(each.isfinite().all()) for each in weights)
        except ValueError as error:
            warnings.warn(f"step {step} is skipped: {error}", stacklevel=3)
    if not intact:
        why = "every checkpoint is damaged" if steps else "no checkpoints"
        raise ValueError(f"{run.path}: {why}; train it with `interp train`")
    first = min(steps)
    if first > 0 and run.experiment.training is not None:
        warnings.warn(
            "the untrained model, checkpoint 0, is gone: what is told since the first step is told "
            f"since step {first}",
            stacklevel=3,
        )
    return intact


def _check_references(jobs: Sequence[Job], intact: Sequence[int]) -> None:
    """Refuses to call it done where the checkpoint that others are measured against is damaged."""
    lost = {
        job.name: job.reference_step for job in jobs if job.reference_step not in (None, *intact)
    }
    if lost:
        step = next(iter(lost.values()))
        names = ", ".join(name for name, lost_step in lost.items() if lost_step == step)
        raise ValueError(
            f"the checkpoint of step {step} is damaged, and {names} measure every step against "
            "it; all else is measured; put the file back, or leave these out with --only"
        )


def _refuse_sweeps(chosen: Mapping[str, Analysis]) -> None:
    """Refuses analyses of many runs.

    Raises:
        ValueError: There is one among those chosen.
    """
    for name, cls in chosen.items():
        if issubclass(cls, SweepResult):
            raise ValueError(f"{name} describes a whole sweep: analyse the sweep's folder")


def _lacking(run: Run, series: Series, cls: Analysis) -> str:
    """Why an analysis does not apply to a run, or nothing."""
    columns = cls.needs.metrics
    if columns and not _are_read(series):
        return ""  # measuring it says what is wrong with them, after all else is measured
    if columns and not series.has_metrics:
        return f"{run.path / 'metrics.jsonl'} has no rows; train the run to have metrics"
    absent = [name for name in columns if name not in series.metrics]
    there = ", ".join(name for name in series.metrics if name != "step") if absent else ""
    lacking = [f"{', '.join(absent)} in metrics.jsonl, which has {there}"] if absent else []
    if not cls.needs.are_of_metrics:
        snapshot = series.snapshot(series.steps[-1], series.examples(count=1))
        lacking += cls.needs.missing(snapshot)
    return f"needs {'; '.join(lacking)}" if lacking else ""


def _are_read(series: Series) -> bool:
    """Whether there is nothing wrong with a run's metrics."""
    try:
        _ = series.has_metrics
    except ValueError:
        return False
    return True


def _not_by_default(run: Run, series: Series, name: str, names: Sequence[str]) -> str:
    """Why an analysis that neither names nor options ask for is passed over, or nothing."""
    cls = ANALYSES[name]
    if name in (*names, *run.experiment.analyses) or cls.by_default == Needs():
        return ""
    snapshot = series.snapshot(series.steps[-1], series.examples(count=1))
    lacking = cls.by_default.missing(snapshot)
    return f"unasked, needs {'; '.join(lacking)}; --only {name} asks for it" if lacking else ""
