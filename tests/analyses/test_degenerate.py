"""Every analysis on models and data that hold nothing to find: NaN or one line, never a crash.

Warnings are errors (pyproject), so that a division by zero that only warns fails here too.
"""

import math
import re
from dataclasses import replace

import pytest
import torch

from analyses import ANALYSES, Result, SeriesResult, SweepResult
from analyses.requirements import pairs_for
from hooks import Sizes, Snapshot, build
from hooks.edit import Edit
from interp.sweeps.table import LazySeries, finished_runs, sweep_table
from tests.by_needs import QUICK, run_for

RESULTS = {name: cls for name, cls in ANALYSES.items() if issubclass(cls, Result)}
SERIES = {name: cls for name, cls in ANALYSES.items() if issubclass(cls, SeriesResult)}
SWEEPS = {name: cls for name, cls in ANALYSES.items() if issubclass(cls, SweepResult)}


def filled(snapshot, value):
    """The snapshot with every parameter at one value."""
    names = snapshot.parameters()
    return snapshot.edited(
        Edit(parameters=dict.fromkeys(names, lambda each: torch.full_like(each, value)))
    )


def smallest(snapshot):
    """A model of the same kind with one head, one neuron and two dimensions."""
    config, cfg = snapshot.config, snapshot.live.model.cfg
    least = {"n_heads": 1, "d_mlp": 1, "d_model": 2, "d_head": 2}
    options = config.model_dump(exclude_none=True)
    options |= {name: value for name, value in least.items() if name in options}
    sizes = Sizes(d_vocab=cfg.d_vocab, d_in=getattr(cfg, "d_in", None),
                  d_vocab_out=cfg.d_vocab_out, n_ctx=cfg.n_ctx)  # fmt: skip
    model = build(type(config).model_validate(options), sizes, seed=0)
    return Snapshot.of(model, snapshot.examples, step=0)


def constant(snapshot):
    """The same example over and over, so that every label, target and tree is the same."""
    return snapshot.on(snapshot.examples.at(torch.zeros(len(snapshot.examples), dtype=torch.long)))


DEGENERATE = {
    "all weights 0": lambda snapshot: filled(snapshot, 0.0),
    "all weights 1": lambda snapshot: filled(snapshot, 1.0),
    "all weights alike": lambda snapshot: filled(snapshot, 0.1),
    "smallest model": smallest,
    "one example": lambda snapshot: snapshot.on(snapshot.examples.head(1)),
    "one example over and over": constant,
}


# Of pairs, those that are taken.
POOR_PAIRS = {
    "one example": torch.tensor([0]),
    "one example over and over": torch.zeros(8, dtype=torch.long),
}


def check(measure):
    """What is measured is told in full, or refused in one line."""
    try:
        result = measure()
    except ValueError as error:
        told = str(error)
        if not re.fullmatch(r"[^\n]{20,400}", told):
            pytest.fail(f"not one line that says something: {told!r}")
        return
    numbers = [each for each in result.summary().values() if not isinstance(each, str)]
    assert not any(map(math.isinf, numbers))
    result.to_frame()
    for drawing in result.figures().values():
        assert drawing


@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize("name", RESULTS)
def test_a_model_without_structure_is_measured_or_refused_in_one_line(name, kind, run, request):
    cls, own = RESULTS[name], run_for(name, run, request)
    snapshot = DEGENERATE[kind](own.snapshot(split=cls.splits[0], count=cls.count))
    rows = POOR_PAIRS.get(kind, torch.arange(8))
    pairs = pairs_for(
        cls, own.changes, lambda change: own.input_pairs(None, 8, change).at(rows), ""
    )
    check(lambda: cls.measure(snapshot, **pairs))


def with_parameters(series, value):
    """The series with every parameter of every step at one value."""
    names = series.parameters(series.steps[-1])
    filled = {name: torch.full_like(each, value) for name, each in names.items()}
    return replace(series, parameters=lambda step: filled)


def with_metrics(series, change):
    """The series with recorded metrics and saved scalars changed, all columns but the step."""

    def changed(frame):
        numbers = frame.select_dtypes("number").columns.drop("step", errors="ignore")
        return change(
            frame.assign(**{name: frame[name].astype(float) for name in numbers}), numbers
        )

    return replace(
        series,
        recorded=changed(series.metrics),
        saved_scalars=lambda name: changed(series.scalars(name)),
    )


def set_to(value):
    """Numbers of a table at one value."""
    return lambda frame, numbers: frame.assign(**dict.fromkeys(numbers, value))


def last_is_nan(frame, numbers):
    frame.loc[frame.index[-1], numbers] = math.nan
    return frame


WORTHLESS = {
    "weights 0": lambda series: with_parameters(series, 0.0),
    "weights 1": lambda series: with_parameters(series, 1.0),
    "metrics 0": lambda series: with_metrics(series, set_to(0.0)),
    "metrics 1": lambda series: with_metrics(series, set_to(1.0)),
    "metrics NaN": lambda series: with_metrics(series, set_to(math.nan)),
    "last metrics NaN": lambda series: with_metrics(series, last_is_nan),
    "one evaluation": lambda series: with_metrics(series, lambda frame, _: frame.tail(1)),
    "one step": lambda series: replace(series, steps=series.steps[-1:]),
}


@pytest.mark.parametrize("kind", WORTHLESS)
@pytest.mark.parametrize("name", SERIES)
def test_a_run_without_structure_is_measured_or_refused_in_one_line(name, kind, run, request):
    series = WORTHLESS[kind](run_for(name, run, request).series())
    check(lambda: SERIES[name].measure(series, **QUICK.get(name, {})))


POOR = {
    "one run": lambda table: table.head(1),
    "two runs": lambda table: table.head(2),
    "every scalar 0": lambda table: scalars_at(table, 0.0),
    "every scalar NaN": lambda table: scalars_at(table, math.nan),
    "every run failed": lambda table: table.assign(failure="diverged at step 3"),
}


def scalars_at(table, value):
    """The table with every metric and scalar at one value; fields stay."""
    numbers = table.select_dtypes("number").columns
    scalars = [name for name in numbers if not name.startswith("experiment.")]
    return table.assign(**dict.fromkeys(scalars, value))


@pytest.mark.parametrize("kind", POOR)
@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_without_structure_is_measured_or_refused_in_one_line(name, kind, run, request):
    folder = run_for(name, run, request)
    members = finished_runs(folder)
    table, series = POOR[kind](sweep_table(members)), LazySeries(list(members.runs))
    check(lambda: SWEEPS[name].measure(table, series, axes=folder.sweep.axes))
