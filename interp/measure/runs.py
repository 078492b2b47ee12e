"""Measures many runs, one after the other or as jobs of an engine (`interp.executors`)."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hooks.own_classes import trusting
from interp.executors import MAX_JOBS, Engine, Job, in_words, shared_out
from interp.executors.job_log import JobLog
from interp.measure.analyze import analyze
from interp.measure.outcomes import Summary
from interp.runs import Run
from interp.training.device import Device, prepare_process


@dataclass(frozen=True)
class MeasuredRun:
    """What became of a run's analyses.

    Attributes:
        run: The run.
        summaries: What became of each analysis.
        fault: What it ran into, or nothing.
    """

    run: Run
    summaries: tuple[Summary, ...] = ()
    fault: str = ""


def analyze_runs(
    runs: Sequence[Run],
    names: Sequence[str] | None = None,
    *,
    device: Device = "cpu",
    engine: Engine | None = None,
    jobs: int = MAX_JOBS,
    on_place: Callable[[str], None] = lambda place: None,
) -> list[MeasuredRun]:
    """Measures runs with every analysis that applies (`analyze`); one that refuses stops no other.

    Args:
        runs: The runs.
        names: Analyses by name; by default all.
        device: Where models run.
        engine: Takes the runs as jobs; without one they are measured here.
        jobs: How many jobs it is given, at most.
        on_place: Called with the run at hand, or how many jobs are over.
    """
    if engine is None:
        return [analyze_run(run, names, device, on_place) for run in runs]
    bundles = shared_out([float(len(run.steps)) for run in runs], jobs)
    paths = [[str(runs[number].path.resolve()) for number in bundle] for bundle in bundles]
    asked = None if names is None else list(names)
    outcomes = engine.run(
        [Job(analyze_job, (each, asked, device), tuple(each)) for each in paths],
        lambda over: on_place(f"{over} of {len(bundles)} jobs are over"),
    )
    found: dict[int, MeasuredRun] = {}
    for bundle, outcome in zip(bundles, outcomes, strict=True):
        for place, number in enumerate(bundle):
            found[number] = (
                _read(runs[number], outcome.value[place])
                if outcome.fault is None
                else MeasuredRun(
                    runs[number], fault=f"{runs[number].path}: {in_words(outcome.fault)}"
                )
            )
    return [found[number] for number in range(len(runs))]


def analyze_run(
    run: Run, names: Sequence[str] | None, device: Device, on_place: Callable[[str], None]
) -> MeasuredRun:
    """Measures a run here; tells of the run, then of each step."""
    summaries: list[Summary] = []
    on_place(run.name)
    try:
        analyze(
            run,
            names,
            device=device,
            on_step=lambda step: on_place(f"{run.name}, step {step}"),
            on_outcomes=summaries.extend,
        )
    except (ValueError, OSError) as error:  # the other runs are still measured
        return MeasuredRun(run, tuple(summaries), str(error))
    return MeasuredRun(run, tuple(summaries))


def analyze_job(
    paths: Sequence[str], names: Sequence[str] | None, device: Device
) -> list[dict[str, Any]]:
    """Measures runs where this is called: what a worker does.

    Args:
        paths: Run folders.
        names: Analyses by name; None for all.
        device: Where models run.

    Returns:
        Of each run its `summaries`, its `fault`, and what was warned of, in plain data.
    """
    prepare_process()
    told = []
    log = JobLog.of(Path(paths[0]).parent if paths else None)
    log.begins(device)
    with trusting():  # whoever handed them over has imported these classes
        for path in map(Path, paths):
            log.say(f"measures {path.name}")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                measured = analyze_run(Run(path), names, device, lambda place: None)
            for each in caught:
                log.say(f"warning: {each.message}")
            if measured.fault:
                log.say(f"did not measure {path.name}: {measured.fault}")
            told.append(
                {
                    "summaries": [asdict(summary) for summary in measured.summaries],
                    "fault": measured.fault,
                    "warnings": [str(each.message) for each in caught],
                }
            )
    return told


def _read(run: Run, told: Mapping[str, Any]) -> MeasuredRun:
    """What a job tells of a run; its warnings are given again here."""
    for message in told["warnings"]:
        warnings.warn(message, stacklevel=3)
    return MeasuredRun(run, tuple(Summary(**each) for each in told["summaries"]), told["fault"])
