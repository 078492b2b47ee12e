"""Measure a run with every analysis that applies, and save what is not saved yet.

A file whose header still agrees is kept, so that the same command after a kill does what was left
and no more. What cannot be measured (a damaged checkpoint, a model that has diverged, an analysis
that refuses) stops nothing else, and a line says so. Steps that others are measured against come
first; one live model serves all analyses of a step.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from analyses import ANALYSES, Analysis, BaseResult, Result, SeriesResult, SweepResult
from analyses.requirements import Measurable, Needs, check_options
from analyses.result import of_steps
from hooks import Examples, ModelConfig, Series, Sizes, Snapshot, build
from hooks.models import OwnConfig
from hooks.weights import has_weight
from interp.measure.outcomes import Measurement, Summary, measured, refuse_errors, summarised
from interp.runs import (
    Run,
    StepResults,
    check_run,
    find_analysis,
    locked,
    run_analyses,
    run_result,
    step_results,
)
from interp.training.device import Device, pick_device

if TYPE_CHECKING:
    import pandas

EXAMPLES_TO_DIAGNOSE = 64  # examples that show whether a model has diverged

ExamplesKey = tuple[str | None, int | None]  # split and count of examples


def analyze(
    run: Run,
    names: Sequence[str] | None = None,
    *,
    device: Device = "cpu",
    on_step: Callable[[int], None] = lambda step: None,
    on_outcomes: Callable[[list[Summary]], None] = lambda outcomes: None,
) -> list[Summary]:
    """Measures and saves what is not saved yet.

    Args:
        run: The run; its experiment's `analyses` table gives options.
        names: Analyses by name, and those that they read; by default all that apply (`by_default`
            too).
        device: Where models run; auto takes CUDA where there is one. What is made of their
            activations is computed on the CPU.
        on_step: Called with each step when it is done.
        on_outcomes: Called with what is returned, before an analysis that refuses is an error.

    Returns:
        What became of each analysis.

    Raises:
        ValueError: An unknown analysis or option, or another process is writing to the run; or,
            raised when all else is measured, an analysis refuses a step, or a checkpoint that
            others are measured against is damaged.
    """
    check_run(run, "interp.measure.analyze")
    torch_device = pick_device(device)
    asked = () if names is None else _with_those_read([find_analysis(n).__name__ for n in names])
    chosen = {name: find_analysis(name) for name in (run_analyses() if names is None else asked)}
    for name, cls in chosen.items():
        if issubclass(cls, SweepResult):
            raise ValueError(f"{name} describes a whole sweep: analyse the sweep's folder")
    with locked(run.path), _named(run):
        basis = run.basis()
        is_finite = _intact(run, tuple(basis.hashes))
        series = replace(run.series(), steps=tuple(is_finite), device=torch_device)
        one_example = cache(partial(_OneExample.of, series))
        metrics = cache(run.metric_names)
        lacking = {
            name: _lacking(run, cls, metrics, one_example)
            or _not_by_default(run, name, asked, one_example)
            for name, cls in chosen.items()
        }
        applying = {name: cls for name, cls in chosen.items() if not lacking[name]}
        by_step = [
            results
            for name, cls in applying.items()
            if issubclass(cls, Result)
            for results in step_results(basis, cls, name)
        ]
        measurements: list[Measurement] = []
        for step, of_step in measure_steps(series, by_step):
            measurements += of_step
            on_step(step)
        without = tuple(step for step in series.steps if not is_finite[step])
        finite_steps = tuple(step for step in series.steps if is_finite[step])
        # The same object where no step is left out: it reads metrics, and warns of them, once.
        finite = replace(series, steps=finite_steps) if without else series
        for name, cls in applying.items():
            if issubclass(cls, SeriesResult):
                measurement = measured(
                    run_result(basis, cls, name),
                    partial(cls.measure, finite, **basis.options(name)),
                    obstacle=lambda: "" if finite.steps else "no step is finite",
                )
                measurements.append(replace(measurement, without=without))
        outcomes = [summarised(name, lacking[name], measurements) for name in chosen]
        on_outcomes(outcomes)
        refuse_errors(measurements)
        _check_references(by_step, series.steps)
    return outcomes


def trace(run: Run, analysis: Analysis | str, **options: Any) -> "pandas.DataFrame":
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
    import pandas

    check_run(run, "interp.trace", "of other checkpoints: analyses.trace(checkpoints, ...)")
    cls = of_steps(find_analysis(analysis) if isinstance(analysis, str) else analysis)
    name, basis, series = cls.__name__, run.basis(), run.series()
    options = (basis.options(name) if ANALYSES.get(name) is cls else {}) | options
    check_options(cls, options)
    if not series.steps:
        raise ValueError(f"{run.path}: no checkpoints; train it with `interp train`")
    saved = StepResults(basis, cls, name, cls.splits[0], options)
    examples = series.examples(saved.split, cls.count)
    results: dict[int | None, BaseResult] = {}
    for step in sorted(series.steps, key=lambda step: step != saved.reference_step):
        results[step] = saved.file(step).current() or saved.measure(
            series.snapshot(step, examples), results.get(saved.reference_step)
        )
    frame = pandas.DataFrame([{"step": step} | results[step].summary() for step in series.steps])
    frame.attrs = {"split": saved.split_name, "options": options}
    return frame


def measure_steps(
    series: Series, analyses: Sequence[StepResults]
) -> Iterator[tuple[int, list[Measurement]]]:
    """Each step, and what became of each analysis that was due at it.

    Analyses whose reference step has no intact checkpoint are left out.
    """
    analyses = [saved for saved in analyses if saved.reference_step in (None, *series.steps)]
    examples = {key: series.examples(*key) for key in dict.fromkeys(map(_examples_key, analyses))}
    references: dict[StepResults, BaseResult] = {}
    pending = {(analysis, step) for analysis in analyses for step in series.steps}
    steps = series.steps
    # A reference comes before what is measured against it: the first step, the last, then all
    # others, among them the first again, for what is measured against the last.
    for step in (steps[0], steps[-1], *steps[:-1]) if len(steps) > 1 else steps:
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


def _examples_key(analysis: StepResults) -> ExamplesKey:
    """Which examples an analysis takes."""
    return analysis.split, analysis.cls.count


def _measure_step(
    series: Series,
    step: int,
    analyses: Sequence[StepResults],
    examples: Mapping[ExamplesKey, Examples],
    references: Mapping[StepResults, BaseResult],
) -> list[Measurement]:
    """What became of each analysis at a step; the model is made where a result is not current."""

    @cache
    def snapshots() -> dict[ExamplesKey, Snapshot]:
        first = series.snapshot(step, next(iter(examples.values())))
        return {key: first.on(of_key) for key, of_key in examples.items()}

    @cache
    def divergence() -> str:
        snapshot = next(iter(snapshots().values()))
        return _divergence(snapshot.on(snapshot.examples.head(EXAMPLES_TO_DIAGNOSE)))

    def measurement(analysis: StepResults) -> Measurement:
        return measured(
            analysis.file(step),
            lambda: analysis.measure(
                snapshots()[_examples_key(analysis)], references.get(analysis)
            ),
            obstacle=divergence,
            diagnose=lambda: _divergence(snapshots()[_examples_key(analysis)]),
        )

    return [measurement(analysis) for analysis in analyses]


def _divergence(snapshot: Snapshot) -> str:
    """Where activations are not finite, or nothing."""
    name = snapshot.first_not_finite()
    return f"activations at {name} hold NaN or infinity, the model has diverged" if name else ""


def _with_those_read(names: Sequence[str]) -> list[str]:
    """Some analyses, each behind those whose saved scalars it reads."""
    reads = {name: getattr(find_analysis(name), "reads", ()) for name in names}
    return list(dict.fromkeys(read for name in names for read in (*reads[name], name)))


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

    A warning names the file of each other checkpoint.

    Raises:
        ValueError: There are none.
    """
    intact = {}
    for step in steps:
        try:
            parameters = dict(run.parameters(step))
            intact[step] = all(bool(values.isfinite().all()) for values in parameters.values())
        except ValueError as error:
            warnings.warn(f"step {step} is skipped: {error}", stacklevel=3)
    if not intact:
        raise ValueError(
            f"{run.path}: {'every checkpoint is damaged' if steps else 'no checkpoints'}; "
            "train it with `interp train`"
        )
    first = min(steps)
    if first > 0 and run.experiment.training is not None:
        warnings.warn(
            "the untrained model, checkpoint 0, is gone: what is measured against the first step "
            f"is measured against step {first}",
            stacklevel=3,
        )
    return intact


def _check_references(analyses: Sequence[StepResults], intact: Sequence[int]) -> None:
    """Refuses to call it done where the checkpoint that others are measured against is damaged."""
    lost = {
        saved.name: saved.reference_step
        for saved in analyses
        if saved.reference_step not in (None, *intact)
    }
    if lost:
        step = next(iter(lost.values()))
        names = ", ".join(name for name, reference in lost.items() if reference == step)
        raise ValueError(
            f"the checkpoint of step {step} is damaged, and {names} measure every step against "
            "it; all else is measured; put the file back, or leave these out with --only"
        )


@dataclass(frozen=True)
class _OneExample:
    """The last step on a single example, without a model: enough to say what a run has."""

    examples: Examples
    config: ModelConfig
    sizes: Sizes
    parameters: Mapping[str, Tensor]

    @classmethod
    def of(cls, series: Series) -> "_OneExample":
        parameters = series.parameters(series.steps[-1])
        return cls(series.examples(count=1), series.config, series.sizes, parameters)

    def has_weights(self, name: str) -> bool:
        return has_weight(self.config, self.parameters, name)

    def has_hook_point(self, name: str) -> bool:
        # The kinds here have what analyses ask for: only a model of the user's own is built.
        return not isinstance(self.config, OwnConfig) or name in self._hook_points

    @cached_property
    def _hook_points(self) -> frozenset[str]:
        """Of a model that is built for its hook points alone."""
        return frozenset(build(self.config, self.sizes, seed=0).hook_dict)


def lacking_of(run: Run, cls: Analysis) -> str:
    """Why an analysis does not apply to a run, or nothing; columns of a sweep are not looked at."""
    return _lacking(run, cls, run.metric_names, cache(partial(_OneExample.of, run.series())))


def _lacking(
    run: Run,
    cls: Analysis,
    metrics: Callable[[], tuple[str, ...]],
    one_example: Callable[[], Measurable],
) -> str:
    """Why an analysis does not apply to a run, or nothing."""
    columns = cls.needs.metrics
    try:
        recorded = metrics() if columns else ()
    except ValueError:
        return ""  # measuring it says what is wrong with them, after all else is measured
    if columns and not recorded:
        return f"{run.path / 'metrics.jsonl'} has no rows; train the run to have metrics"
    absent = [name for name in columns if name not in recorded]
    recorded = ", ".join(name for name in recorded if name != "step")
    lacking = [f"{', '.join(absent)} in metrics.jsonl, which has {recorded}"] if absent else []
    if cls.needs.pairs and not run.changes:
        lacking.append("pairs of inputs, and this task gives none")
    if not cls.needs.are_of_metrics:
        lacking += cls.needs.missing(one_example())
    return f"needs {'; '.join(lacking)}" if lacking else ""


def _not_by_default(
    run: Run, name: str, asked: Sequence[str], one_example: Callable[[], Measurable]
) -> str:
    """Why an analysis that neither names nor options ask for is passed over, or nothing."""
    cls = ANALYSES[name]
    if name in (*asked, *run.experiment.analyses) or cls.by_default == Needs():
        return ""
    lacking = cls.by_default.missing(one_example())
    return f"unasked, needs {'; '.join(lacking)}; --only {name} asks for it" if lacking else ""
