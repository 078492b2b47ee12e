"""Measure a run with every analysis that applies, and save what is not saved yet.

Steps are taken one at a time, those that others are measured against first; one live model serves
all analyses of a step. A file whose header still agrees is kept, so that the same command after a
kill does what was left and no more.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analyses import ANALYSES
from analyses.options import check_options
from analyses.result import Analysis, Finding, Result, SeriesResult, missing
from hooks import Examples, Series, Snapshot
from interp.jobs import Job, hashes_of, jobs_of, options_of
from interp.lock import alone
from interp.results import is_current, make_header, read_result, result_folder, write_result
from interp.run import Run


@dataclass(frozen=True)
class Outcome:
    """What became of one analysis: results measured, results kept, or why it does not apply."""

    name: str
    measured: int = 0
    kept: int = 0
    reason: str = ""


def analyze(
    run: Run,
    names: Sequence[str] | None = None,
    *,
    on_step: Callable[[int], None] = lambda step: None,
) -> list[Outcome]:
    """Measures and saves what is not saved yet.

    Args:
        run: The run; its experiment's `analyses` table gives options.
        names: Analyses by name; by default all.
        on_step: Called with each step when it is done.

    Returns:
        What became of each analysis.

    Raises:
        ValueError: An unknown analysis or option, another process is writing to the run, or a
            checkpoint that others are measured against is damaged (all else is measured first).
    """
    chosen = {name: find_analysis(name) for name in (ANALYSES if names is None else names)}
    with alone(run.path), _named(run):
        hashes = hashes_of(run)
        series = replace(run.series(), steps=_intact(run, tuple(hashes)))
        lacking = {name: _lacking(run, series, cls) for name, cls in chosen.items()}
        jobs = [
            job
            for name, cls in chosen.items()
            if not lacking[name] and issubclass(cls, Result)
            for job in jobs_of(run, cls, name, hashes)
        ]
        counts = {name: [0, 0] for name in chosen}
        for step, done in _measure_all(series, jobs):
            for job, is_new in done:
                counts[job.name][not is_new] += 1
            on_step(step)
        digest = _digest(run, [hashes[step] for step in series.steps])
        for name, cls in chosen.items():
            if not lacking[name] and issubclass(cls, SeriesResult):
                is_new = _measure_series(run, series, cls, name, digest)
                counts[name][not is_new] += 1
        _check_references(jobs, series.steps)
    return [Outcome(name, *counts[name], reason=lacking[name]) for name in chosen]


def trace(run: Run, analysis: Analysis | str, **options: Any) -> pd.DataFrame:
    """An analysis' scalars at every step of a run.

    Saved results whose header agrees are read, the rest is measured in memory; nothing is written.

    Args:
        run: A run.
        analysis: A result class, or its name.
        options: Options of its `measure`.

    Returns:
        One row a step: `step`, then the summary's columns.
    """
    cls = find_analysis(analysis) if isinstance(analysis, str) else analysis
    if not issubclass(cls, Result):
        raise ValueError(f"{cls.__name__} describes a whole run: call its measure(run.series())")
    name = next((name for name, known in ANALYSES.items() if known is cls), cls.__name__)
    job, series = Job(run, cls, name, cls.splits[0], options, hashes_of(run)), run.series()
    check_options(cls, options)
    examples = series.examples(job.split, cls.count)
    measured: dict[int, Finding] = {}
    for step in sorted(series.steps, key=lambda step: step != job.against):
        measured[step] = _read(job, step) or _measure(
            job, series.snapshot(step, examples), measured
        )
    rows = [{"step": step} | measured[step].summary() for step in series.steps]
    return pd.DataFrame(rows)


def find_analysis(name: str) -> Analysis:
    """A result class by name.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    if name not in ANALYSES:
        raise ValueError(f"no analysis '{name}'; there are {', '.join(ANALYSES)}")
    return ANALYSES[name]


@contextmanager
def _named(run: Run) -> Iterator[None]:
    """Errors inside name the run, since one command may take several."""
    try:
        yield
    except ValueError as error:
        if str(run.path) in str(error):
            raise
        raise ValueError(f"{run.path}: {error}") from error


def _intact(run: Run, steps: Sequence[int]) -> tuple[int, ...]:
    """Steps whose checkpoint can be read; of each other a warning names the file.

    Raises:
        ValueError: There are none.
    """
    intact = []
    for step in steps:
        try:
            dict(run.parameters(step))
            intact.append(step)
        except ValueError as error:
            warnings.warn(f"step {step} is skipped: {error}", stacklevel=3)
    if not intact:
        why = "every checkpoint is damaged" if steps else "no checkpoints"
        raise ValueError(f"{run.path}: {why}; train it with `interp train`")
    return tuple(intact)


def _check_references(jobs: Sequence[Job], intact: Sequence[int]) -> None:
    """Refuses to call it done where the checkpoint that others are measured against is damaged."""
    lost = {job.name: job.against for job in jobs if job.against not in (None, *intact)}
    if lost:
        step = next(iter(lost.values()))
        names = ", ".join(name for name, against in lost.items() if against == step)
        raise ValueError(
            f"the checkpoint of step {step} is damaged, and {names} measure every step against "
            "it; all else is measured; put the file back, or leave these out with --only"
        )


def _lacking(run: Run, series: Series, cls: Analysis) -> str:
    """Why an analysis does not apply to a run, or nothing."""
    columns = [need.partition(".")[2] for need in cls.needs if need.startswith("metrics.")]
    if columns and series.recorded is None:
        return f"{run.path / 'metrics.jsonl'} has no rows; train the run to have metrics"
    absent = [f"metrics.{name}" for name in columns if name not in series.metrics]
    if len(columns) < len(cls.needs):
        absent += missing(cls, series.snapshot(series.steps[-1], series.examples(count=1)))
    return f"this run has no {', '.join(absent)}" if absent else ""


def _measure_all(
    series: Series, jobs: Sequence[Job]
) -> Iterator[tuple[int, list[tuple[Job, bool]]]]:
    """Each step, and for each job done at it whether its result is new."""
    jobs = [job for job in jobs if job.against in (None, *series.steps)]
    places = {(job.split, job.cls.count) for job in jobs}
    examples = {place: series.examples(*place) for place in places}
    references: dict[Job, dict[int, Finding]] = {job: {} for job in jobs}
    pending = {(job, step) for job in jobs for step in series.steps}
    for step in _visits(series.steps):
        ready = [job for job in jobs if (job, step) in pending and job.is_ready(step, references)]
        stale = [job for job in ready if not is_current(job.path(step), job.header(step))]
        snapshots = _snapshots(series, step, examples) if stale else {}
        for job in stale:
            result = _measure(job, snapshots[job.split, job.cls.count], references[job])
            write_result(job.path(step), result, job.header(step))
        for job in ready:
            pending.remove((job, step))
            if step == job.against:
                references[job][step] = read_result(job.path(step), job.cls)[0]
        yield step, [(job, job in stale) for job in ready]


def _visits(steps: Sequence[int]) -> list[int]:
    """The steps in an order in which every reference comes before what is measured against it.

    The first step is visited again after the last, for what is measured against the last.
    """
    return [steps[0], steps[-1], *steps[:-1]] if len(steps) > 1 else list(steps)


def _snapshots(
    series: Series, step: int, examples: Mapping[tuple[str | None, int | None], Examples]
) -> dict[tuple[str | None, int | None], Snapshot]:
    """One live model of a step, on each set of examples."""
    first = series.snapshot(step, next(iter(examples.values())))
    return {place: first.on(each) for place, each in examples.items()}


def _measure(job: Job, snapshot: Snapshot, measured: Mapping[int, Finding]) -> Result:
    reference = None if job.against in (None, snapshot.step) else measured[job.against]
    return job.cls.measure(snapshot, reference=reference, **job.options)


def _measure_series(
    run: Run, series: Series, cls: type[SeriesResult], name: str, digest: str
) -> bool:
    """Measures a result of the whole run; whether it had to."""
    options = options_of(run, cls, name)
    path = result_folder(run, name, "series", {"options": options}) / "series.npz"
    facts = {"split": "series", "options": options, "run": digest}
    header = make_header(cls, name, **facts)
    if is_current(path, header):
        return False
    write_result(path, cls.measure(series, **options), header)
    return True


def _digest(run: Run, hashes: Sequence[str]) -> str:
    """A hash of all that a series result may read: checkpoints, by their hashes, and metrics."""
    metrics = run.path / "metrics.jsonl"
    facts = [*hashes, metrics.read_text("utf-8") if metrics.is_file() else ""]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _read(job: Job, step: int) -> Finding | None:
    path = job.path(step)
    return read_result(path, job.cls)[0] if is_current(path, job.header(step)) else None
