"""Which saved results still hold?

A result holds if its file is undamaged and its header is the one that would be written today: same
checkpoint, task, model, data seed, options and version. Everything that reads saved results asks
here, so that no number of another checkpoint or experiment is printed; what does not hold is passed
over, and said.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from analyses import ANALYSES
from analyses.result import BaseResult, Result, SeriesResult, SweepResult
from interp.measure.checkpoints import SeriesJob, digest_of
from interp.measure.jobs import Basis, Job, basis_of, jobs_of, options_of
from interp.measure.outcomes import steps_told
from interp.runs.results import AGAIN, Header, Saved, find_saved, read_current
from interp.runs.run import Run

OF_RUNS = tuple(name for name, cls in ANALYSES.items() if not issubclass(cls, SweepResult))


def holding(run: Run, names: Sequence[str] = OF_RUNS) -> tuple[list[Saved], str]:
    """Saved results of a run that hold, in the order of the analyses, and one line on the others.

    Returns:
        Those that hold, each with the steps that do; and which do not, why and what to do about it,
        empty where all hold.
    """
    found, faults = find_saved(run, names)
    if not found and not faults:
        return [], ""
    basis, held = basis_of(run), []
    for each in found:
        why: dict[int | None, str] = {}
        for step in each.steps or (None,):
            try:
                read_current(each.file(step), each.cls, _header(run, each, step, basis))
            except (ValueError, FileNotFoundError) as error:
                why[step] = without_place(error, each.file(step))
        steps = tuple(step for step in each.steps if step not in why)
        held += [replace(each, steps=steps)] if steps or not why else []
        faults += _by_reason(each.name, why)
    return held, passed_over(run.path, faults)


def saved_scalars(run: Run, name: str) -> pd.DataFrame:
    """Saved summaries of an analysis by step (column `step`); empty where nothing is saved.

    They are those of the options that the experiment has today, on the first of the analysis'
    splits. The frame's `attrs` hold `split`, `options` and `checkpoints`, hashes by step. A warning
    tells of steps whose result does not hold.

    Raises:
        ValueError: There are results, but of other options, or none of them holds.
    """
    cls, found = ANALYSES[name], find_saved(run, [name])
    if not issubclass(cls, Result):
        raise ValueError(f"{name} is of a whole run or sweep, and has no scalars by step")
    if found == ([], []):
        return pd.DataFrame()
    basis = basis_of(run)
    job = jobs_of(run, cls, name, basis)[0]
    rows: list[dict[str, float | str]] = []
    faults: dict[int | None, str] = {}
    for step in basis.hashes:
        try:
            rows.append({"step": step} | _read(job, step).summary())
        except ValueError as error:
            faults[step] = without_place(error, job.path(step))
    told = "; ".join(_by_reason(name, faults))
    if not rows:
        options = f" with the experiment's options {dict(job.options)}" if job.options else ""
        raise ValueError(
            f"{run.path}: no saved result of {name}{options} holds; {told}; "
            f"run `interp analyze {run.path}`"
        )
    if faults:
        warnings.warn(f"{run.path}: passed over {told}", stacklevel=3)
    frame = pd.DataFrame(rows)
    hashes = {step: each for step, each in basis.hashes.items() if step not in faults}
    frame.attrs = {"split": job.split_name, "options": dict(job.options), "checkpoints": hashes}
    return frame


def last_saved(run: Run, name: str, basis: Basis) -> BaseResult | None:
    """The result of a whole run, or of its last step on the first split, with today's options.

    None where nothing is saved.

    Raises:
        ValueError: What is saved does not hold.
    """
    cls, steps = ANALYSES[name], tuple(basis.hashes)
    if issubclass(cls, SeriesResult):
        job = SeriesJob(run, cls, name, options_of(run, cls, name), digest_of(run, basis))
        return read_current(job.path, cls, job.header) if job.path.is_file() else None
    if not issubclass(cls, Result) or not steps:
        return None
    job = jobs_of(run, cls, name, basis)[0]
    return _read(job, steps[-1]) if job.path(steps[-1]).is_file() else None


def _read(job: Job, step: int) -> BaseResult:
    """The saved result of a job at a step.

    Raises:
        ValueError: There is none, or it does not hold.
    """
    path = job.path(step)
    if not path.is_file():
        raise ValueError(f"{path} is not there")
    return read_current(path, job.cls, job.header(step))


def without_place(error: Exception, path: Path) -> str:
    """Why a file does not hold, in few words."""
    return str(error).replace(AGAIN, "").replace(str(path), "").removeprefix(" is ").strip()


def _by_reason(name: str, why: Mapping[int | None, str]) -> list[str]:
    """For each reason, the steps of an analysis: `FourierSpectrum at steps 0, 10: damaged`."""
    told = []
    for reason in dict.fromkeys(why.values()):
        steps = [step for step, own in why.items() if own == reason and step is not None]
        told.append(f"{name}{' at ' if steps else ''}{steps_told(steps)}: {reason}")
    return told


def _header(run: Run, each: Saved, step: int | None, basis: Basis) -> Header:
    """What the file of a result should say of itself now.

    Raises:
        ValueError: It is of a step without a checkpoint, or a file of another kind of result.
    """
    if issubclass(each.cls, SeriesResult) and step is None:
        return SeriesJob(run, each.cls, each.name, each.options, digest_of(run, basis)).header
    if step is None or not issubclass(each.cls, Result):
        raise ValueError(f"{each.path} holds no results of {each.name}")
    if step not in basis.hashes:
        raise ValueError(f"{each.file(step)} is of a step without a checkpoint")
    return Job(run, each.cls, each.name, each.split, each.options, basis).header(step)


def passed_over(place: Path, faults: Sequence[str]) -> str:
    """One line on saved results of a folder that do not hold; empty where there are none."""
    if not faults:
        return ""
    return (
        f"{place}: saved results that do not hold are passed over: {'; '.join(faults)}. "
        f"Run `interp analyze {place}`, and delete what is named here after that"
    )
