"""Measuring the jobs of a run, a step at a time, and its results over all steps.

Steps that others are measured against come first; one live model serves all analyses of a step.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from analyses.result import BaseResult, Result, SeriesResult
from hooks import Examples, Series, Snapshot
from hooks.finite import first_not_finite
from interp.measure.jobs import Basis, Job
from interp.measure.outcomes import Attempt, Missed, attempted
from interp.runs.results import (
    Header,
    is_current,
    make_header,
    read_result,
    result_folder,
    write_result,
)
from interp.runs.run import Run

FEW = 64  # examples that tell whether a model has diverged

Place = tuple[str | None, int | None]  # split and count of examples


@dataclass(frozen=True)
class SeriesJob:
    """One analysis of a whole run.

    Attributes:
        options: Options that differ from the defaults.
        digest: Of all that it may read; see `digest_of`.
    """

    run: Run
    cls: type[SeriesResult]
    name: str
    options: Mapping[str, Any] = field(hash=False)
    digest: str

    @property
    def path(self) -> Path:
        """The file of the result."""
        key = {"options": dict(self.options)}
        return result_folder(self.run, self.name, "series", key) / "series.npz"

    @property
    def header(self) -> Header:
        """What that file should say of itself now."""
        facts = {"split": "series", "options": dict(self.options), "run": self.digest}
        facts |= {"results": results_digest(self.run, self.cls.reads)} if self.cls.reads else {}
        return make_header(self.cls, self.name, **facts)


def measure_all(series: Series, jobs: Sequence[Job]) -> Iterator[tuple[int, list[Attempt]]]:
    """Each step, and what became of each job whose turn it was."""
    jobs = [job for job in jobs if job.reference_step in (None, *series.steps)]
    places = {(job.split, job.cls.count) for job in jobs}
    examples = {place: series.examples(*place) for place in places}
    references: dict[Job, dict[int, BaseResult]] = {job: {} for job in jobs}
    pending = {(job, step) for job in jobs for step in series.steps}
    for step in _visits(series.steps):
        ready = [job for job in jobs if (job, step) in pending and job.is_ready(step, references)]
        stale = [job for job in ready if not is_current(job.path(step), job.cls, job.header(step))]
        snapshots = _snapshots(series, step, examples) if stale else {}
        missed = _measure_stale(stale, step, snapshots, references)
        made = []
        for job in ready:
            pending.remove((job, step))
            if step == job.reference_step and job not in missed:
                references[job][step] = read_result(job.path(step), job.cls)[0]
            made.append(
                Attempt(job.name, step, job in stale, missed.get(job), step == job.reference_step)
            )
        yield step, made


def _visits(steps: Sequence[int]) -> list[int]:
    """The steps in an order in which every reference comes before what is measured against it.

    The first step is visited again after the last, for what is measured against the last.
    """
    return [steps[0], steps[-1], *steps[:-1]] if len(steps) > 1 else list(steps)


def _snapshots(
    series: Series, step: int, examples: Mapping[Place, Examples]
) -> dict[Place, Snapshot]:
    """One live model of a step, on each set of examples."""
    first = series.snapshot(step, next(iter(examples.values())))
    return {place: first.on(each) for place, each in examples.items()}


def _measure_stale(
    jobs: Sequence[Job],
    step: int,
    snapshots: Mapping[Place, Snapshot],
    references: Mapping[Job, Mapping[int, BaseResult]],
) -> dict[Job, Missed]:
    """Measures and saves jobs at one step; which could not be, and why."""
    missed: dict[Job, Missed] = {}
    if not jobs:
        return missed
    some = next(iter(snapshots.values()))
    diverged = _diverged(some.on(some.examples.head(FEW)))
    for job in jobs:
        snapshot = snapshots[job.split, job.cls.count]
        tried = partial(measure, job, snapshot, references[job])
        found = Missed(diverged) if diverged else attempted(tried, partial(_diverged, snapshot))
        if isinstance(found, Missed):
            missed[job] = found
        else:
            write_result(job.path(step), found, job.header(step))
    return missed


def _diverged(snapshot: Snapshot) -> str:
    """Where activations are not finite, or nothing."""
    name = first_not_finite(snapshot)
    return f"activations at {name} hold NaN or infinity, the model has diverged" if name else ""


def measure(job: Job, snapshot: Snapshot, measured: Mapping[int, BaseResult]) -> Result:
    """The result of a job at a step, against its reference among those measured."""
    compared = {}
    if job.reference_step not in (None, snapshot.step):
        compared["reference"] = measured[job.reference_step]
    return job.cls.measure(snapshot, **compared, **job.options)


def measure_series(job: SeriesJob, series: Series, without: tuple[int, ...]) -> Attempt:
    """Measures and saves a result of a whole run.

    Args:
        job: What to measure.
        series: The run.
        without: Steps to leave out, since their weights are not finite.
    """
    if is_current(job.path, job.cls, job.header):
        return Attempt(job.name, None, is_new=False, without=without)
    finite = replace(series, steps=tuple(step for step in series.steps if step not in without))
    tried = partial(job.cls.measure, finite, **job.options)
    found = attempted(tried, lambda: "") if finite.steps else Missed("no step is finite")
    if isinstance(found, Missed):
        return Attempt(job.name, None, missed=found, without=without)
    write_result(job.path, found, job.header)
    return Attempt(job.name, None, without=without)


def results_digest(run: Run, names: Sequence[str]) -> str:
    """A hash of the saved results of some analyses."""
    digest = hashlib.sha256()
    folders = [run.path / "results" / name for name in names]
    for file in (file for each in folders for file in sorted(each.rglob("*.npz"))):
        digest.update(file.relative_to(run.path).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def digest_of(run: Run, basis: Basis) -> str:
    """A hash of all that a series result may read of a run.

    That are task, model and data seed, checkpoints (by their hashes, the damaged ones among them:
    another result is due when one is put back) and metrics.
    """
    metrics = run.path / "metrics.jsonl"
    facts = [
        basis.experiment,
        run.experiment.seeds.data,
        list(basis.hashes.items()),
        hashlib.sha256(metrics.read_bytes() if metrics.is_file() else b"").hexdigest(),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
