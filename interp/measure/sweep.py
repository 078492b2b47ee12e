"""Measure a sweep: its members as any run, then what can be said of all together."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from analyses import ANALYSES
from analyses.result import SweepResult
from interp.measure.analyze import analyze, find_analysis
from interp.measure.holding import OF_RUNS
from interp.measure.outcomes import Outcome, outcome, refuse
from interp.runs.lock import alone
from interp.runs.run import Run
from interp.sweeps.sweep import SweepFolder
from interp.sweeps.table import Members, SweepJob, measure_sweep, members_of, sweep_table
from interp.training.device import Device


def analyze_folder(
    folder: Run | SweepFolder,
    names: Sequence[str] | None = None,
    *,
    device: Device = "cpu",
    on_place: Callable[[str], None] = lambda place: None,
) -> list[Outcome]:
    """Measures a run, or a sweep; see `analyze` and `analyze_sweep`.

    Args:
        folder: What to measure.
        names: Analyses by name; by default all.
        device: Where models run.
        on_place: Called with the step, or the member, that is at hand.
    """
    if isinstance(folder, SweepFolder):
        return analyze_sweep(folder, names, device=device, on_run=on_place)
    return analyze(folder, names, device=device, on_step=lambda step: on_place(f"step {step}"))


def analyze_sweep(
    folder: SweepFolder,
    names: Sequence[str] | None = None,
    *,
    device: Device = "cpu",
    on_run: Callable[[str], None] = lambda name: None,
) -> list[Outcome]:
    """Measures and saves what is not saved yet: of each member, then of the whole.

    Args:
        folder: The sweep; its base's `analyses` table gives options.
        names: Analyses by name; by default all. What those of the whole need is measured on the
            members first.
        device: Where models run.
        on_run: Called with each member's name before it is measured.

    Returns:
        What became of each analysis, over all members.

    Raises:
        ValueError: An unknown analysis or option, no member is trained yet, or, told after all else
            is measured, a member or an analysis of the whole refuses.
    """
    members = members_of(folder)
    unfinished = members.missing - len(members.faults)
    if unfinished:
        every = len(members.runs) + members.missing
        left = f"{unfinished} of {every} members are not finished"
        warnings.warn(f"{folder.path}: {left}, and are left out", stacklevel=2)
    chosen = {name: find_analysis(name) for name in (ANALYSES if names is None else names)}
    jobs = [
        SweepJob(members, cls, name, options)
        for name, cls in chosen.items() if issubclass(cls, SweepResult)
        for options in folder.sweep.analyses.get(name, ({},))
    ]  # fmt: skip
    needed = {name for job in jobs for name in job.reads}
    of_runs = [name for name in OF_RUNS if name in chosen or name in needed]
    asked = None if names is None else of_runs
    measured = partial(analyze, names=asked, device=device)
    outcomes, faults = _measure_members(members, of_runs, on_run, measured)
    with alone(folder.path):
        of_all, more = _measure_whole(members, jobs)
    refused = [*members.faults, *faults, *more]
    if refused:
        raise ValueError("; ".join(refused))
    return outcomes + of_all


def _measure_members(
    members: Members,
    names: Sequence[str],
    on_run: Callable[[str], None],
    measured: Callable[[Run], list[Outcome]],
) -> tuple[list[Outcome], list[str]]:
    """What became of each analysis over all members, and the members that could not be measured.

    Args:
        members: The runs.
        names: Analyses by name.
        on_run: Called with each run's name before it is measured.
        measured: Measures a run by them.
    """
    faults: list[str] = []
    outcomes: dict[Run, list[Outcome]] = {}
    for run in members.runs:
        if names and run.steps:
            on_run(run.name)
            try:
                outcomes[run] = measured(run)
            except ValueError as error:  # the other members are still measured
                faults.append(str(error))
    return [_together(name, outcomes) for name in names], faults


def _measure_whole(members: Members, jobs: Sequence[SweepJob]) -> tuple[list[Outcome], list[str]]:
    """What became of each analysis of the whole, and what refused."""
    if not jobs:
        return [], []
    table = sweep_table(members, list(dict.fromkeys(name for job in jobs for name in job.reads)))
    attempts, outcomes = [], []
    for job in jobs:
        lacking = _lacking(job, set(table))
        made = [] if lacking else [measure_sweep(job, table)]
        outcomes.append(outcome(job.name, lacking, made))
        attempts += made
    try:
        refuse(attempts)
    except ValueError as error:
        return outcomes, [f"{members.folder.path}: {error}"]
    return outcomes, []


def _lacking(job: SweepJob, known: set[str]) -> str:
    """Why an analysis does not apply to a sweep, or nothing."""
    absent = [name for name in job.columns if not known & {name, f"metrics.{name}"}]
    return f"no member has {', '.join(absent)}" if absent else ""


def _together(name: str, outcomes: Mapping[Run, Sequence[Outcome]]) -> Outcome:
    """What became of one analysis over all members: counts, and how often for what reason."""
    own = [each for found in outcomes.values() for each in found if each.name == name]
    measured, kept = sum(each.measured for each in own), sum(each.kept for each in own)
    reasons = [each.reason for each in own if each.reason]
    told = [f"{reasons.count(why)} members: {why}" for why in dict.fromkeys(reasons)]
    counts = f"{measured} measured, {kept} kept"
    applies = not own or any(each.applies for each in own)
    return Outcome(name, measured, kept, "; ".join([counts, *told]) if told else "", applies)
