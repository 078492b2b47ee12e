"""Measures analyses of single steps over the checkpoints of a run, a step at a time.

Steps that others are measured against come first; one live model serves all analyses of a step.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from analyses.result import BaseResult
from hooks import Examples, Series, Snapshot
from interp.measure.outcomes import Measurement, measured
from interp.runs.current import StepResults

EXAMPLES_TO_DIAGNOSE = 64  # examples that tell whether a model has diverged

Place = tuple[str | None, int | None]  # split and count of examples


def measure_steps(
    series: Series, analyses: Sequence[StepResults]
) -> Iterator[tuple[int, list[Measurement]]]:
    """Each step, and what became of each analysis that was due at it.

    Analyses whose reference step is not in the series are left out.
    """
    known = (None, *series.steps)
    analyses = [analysis for analysis in analyses if analysis.reference_step in known]
    places = dict.fromkeys(_place(analysis) for analysis in analyses)
    examples = {place: series.examples(*place) for place in places}
    references: dict[StepResults, BaseResult] = {}
    pending = {(analysis, step) for analysis in analyses for step in series.steps}
    for step in _visits(series.steps):
        due = [
            analysis
            for analysis in analyses
            if (analysis, step) in pending
            and (analysis.reference_step in (None, step) or analysis in references)
        ]
        pending -= {(analysis, step) for analysis in due}
        measurements = _measure_step(series, step, due, examples, references)
        for analysis, measurement in zip(due, measurements, strict=True):
            if measurement.is_reference and not measurement.skipped:
                references[analysis] = analysis.file(step).read()
        yield step, measurements


def _place(analysis: StepResults) -> Place:
    """Which examples an analysis takes."""
    return analysis.split, analysis.cls.count


def _visits(steps: Sequence[int]) -> list[int]:
    """The steps in an order in which every reference comes before what is measured against it.

    The first step is visited again after the last, for what is measured against the last.
    """
    return [steps[0], steps[-1], *steps[:-1]] if len(steps) > 1 else list(steps)


def _measure_step(
    series: Series,
    step: int,
    analyses: Sequence[StepResults],
    examples: Mapping[Place, Examples],
    references: Mapping[StepResults, BaseResult],
) -> list[Measurement]:
    """What became of each analysis at a step; the model is made where a result is not current."""

    @cache
    def snapshots() -> dict[Place, Snapshot]:
        first = series.snapshot(step, next(iter(examples.values())))
        return {place: first.on(some) for place, some in examples.items()}

    @cache
    def divergence() -> str:
        snapshot = next(iter(snapshots().values()))
        return _divergence(snapshot.on(snapshot.examples.head(EXAMPLES_TO_DIAGNOSE)))

    def measurement(analysis: StepResults) -> Measurement:
        place, reference = _place(analysis), references.get(analysis)
        return measured(
            analysis.file(step),
            lambda: analysis.measure(snapshots()[place], reference),
            obstacle=divergence,
            diagnose=lambda: _divergence(snapshots()[place]),
        )

    return [measurement(analysis) for analysis in analyses]


def _divergence(snapshot: Snapshot) -> str:
    """Where activations are not finite, or nothing."""
    name = snapshot.first_not_finite()
    return f"activations at {name} hold NaN or infinity, the model has diverged" if name else ""
