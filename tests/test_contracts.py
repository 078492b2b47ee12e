"""One contract for every analysis and every task; a new one is tested on arrival."""

import dataclasses
import inspect
import math

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import ANALYSES, Result, SeriesResult, SweepResult, trace
from analyses.plots.figures import Figure
from analyses.plots.views import View
from analyses.requirements import pairs_for
from analyses.result import Drawing
from hooks import Snapshot, build
from interp.randomness import generator
from interp.runs.results import read_result, write_result
from interp.sweeps.table import LazySeries, finished_runs, sweep_table
from interp.tasks import TASKS
from interp.tasks.functions.regression import RegressionTask
from tests.by_needs import QUICK, run_for
from tests.planted import config_for, task_of

RESULTS = {name: cls for name, cls in ANALYSES.items() if issubclass(cls, Result)}
SERIES = {name: cls for name, cls in ANALYSES.items() if issubclass(cls, SeriesResult)}
ANSWERING_CLASSES = [name for name, cls in TASKS.items() if not issubclass(cls, RegressionTask)]
ANSWERING_NUMBERS = [name for name, cls in TASKS.items() if issubclass(cls, RegressionTask)]
SWEEPS = {name: cls for name, cls in ANALYSES.items() if issubclass(cls, SweepResult)}


def measured(name, run):
    """An analysis of the tiny run, or sweep, as `interp analyze` measures it."""
    if name in SWEEPS:
        members = finished_runs(run)
        table, series = sweep_table(members), LazySeries(list(members.runs))
        return SWEEPS[name].measure(table, series, axes=run.sweep.axes)
    if name in SERIES:
        return SERIES[name].measure(run.series(), **QUICK.get(name, {}))
    cls = RESULTS[name]
    return cls.measure(run.snapshot(split=cls.splits[0], count=cls.count), **pairs_of(cls, run))


def pairs_of(cls, run):
    """The pairs of inputs that an analysis takes, as `interp analyze` gives them."""
    return pairs_for(cls, run.changes, lambda change: run.input_pairs(None, 8, change), "")


def as_plain(result):
    """Field values that compare with ==."""
    return {
        each.name: value.tolist() if isinstance(value := getattr(result, each.name), np.ndarray)
        else value
        for each in dataclasses.fields(result)
    }  # fmt: skip


@pytest.fixture(params=ANALYSES)
def name(request):
    return request.param


@pytest.fixture
def run(name, run, request):
    return run_for(name, run, request)


@pytest.fixture
def result(name, run):
    return measured(name, run)


def test_a_result_is_frozen(result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(result, dataclasses.fields(result)[0].name, None)


def test_a_result_comes_back_from_disk_as_it_was(result, tmp_path):
    write_result(tmp_path / "result.npz", result, {"analysis": "any"})
    again, header = read_result(tmp_path / "result.npz", type(result))
    np.testing.assert_equal(as_plain(again), as_plain(result))
    assert header == {"analysis": "any"}


def test_a_saved_result_has_the_same_bytes_twice(result, tmp_path):
    for copy in ("one.npz", "two.npz"):
        write_result(tmp_path / copy, result, {})
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_a_summary_holds_text_and_numbers_that_are_not_infinite(result):
    for value in result.summary().values():
        assert type(value) in (float, int, str)
        assert isinstance(value, str) or not math.isinf(value)


def test_a_result_is_a_table(result):
    frame = result.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert not frame.empty


def test_every_array_of_a_result_has_axes_with_names(result):
    dataset = result.to_xarray()
    fields = {each.name: getattr(result, each.name) for each in dataclasses.fields(result)}
    for name, array in fields.items():
        if isinstance(array, np.ndarray):
            shown = name if name in dataset else name.removesuffix("s")
            np.testing.assert_array_equal(dataset[shown], array)
    assert not [axis for axis in dataset.dims if str(axis)[-1].isdecimal()]


def test_figures_are_figures_or_views_with_titles(result):
    for drawing in result.figures().values():
        assert isinstance(drawing, Drawing)
        assert drawing.title if isinstance(drawing, View) else drawing["layout"]["title"]["text"]


def test_axes_of_figures_have_titles(result):
    for drawing in result.figures().values():
        if isinstance(drawing, Figure) and drawing["data"]:  # an empty one says why
            axes = (drawing["layout"][axis]["title"]["text"] for axis in ("xaxis", "yaxis"))
            assert None not in axes


def test_plot_is_the_first_figure(result):
    assert type(result.plot()) is type(next(iter(result.figures().values())))


def test_measuring_twice_gives_the_same(result, name, run):
    np.testing.assert_equal(as_plain(measured(name, run)), as_plain(result))


def test_every_public_name_of_a_result_is_documented(name):
    cls = ANALYSES[name]
    public = [value for key, value in vars(cls).items() if not key.startswith("_")]
    functions = [each for each in public if callable(each) or isinstance(each, property)]
    assert cls.__doc__
    assert all(each.__doc__ for each in functions)


@pytest.mark.parametrize("name", RESULTS)
def test_a_reference_is_taken_where_there_is_a_reference_step_alone(name):
    takes = "reference" in inspect.signature(RESULTS[name].measure).parameters
    assert takes == (RESULTS[name].reference is not None)


@pytest.mark.parametrize("name", RESULTS)
def test_sliding_figures_exist(result):
    assert set(result.sliding) <= set(result.figures())


@pytest.mark.parametrize("name", RESULTS)
def test_a_trace_has_a_row_a_step(name, run):
    frame = trace(run.series(), RESULTS[name])
    assert frame["step"].tolist() == list(run.steps)


@pytest.mark.parametrize("name", RESULTS)
def test_measuring_leaves_the_model_as_it_was(name, run):
    snapshot = run.snapshot(split=RESULTS[name].splits[0], count=RESULTS[name].count)
    before = {key: value.clone() for key, value in snapshot.parameters().items()}
    RESULTS[name].measure(snapshot, **pairs_of(RESULTS[name], run))
    assert all(torch.equal(before[key], value) for key, value in snapshot.parameters().items())


@pytest.fixture(params=TASKS)
def task(request):
    return task_of(request.param)


def test_a_task_is_listed_under_its_name(task):
    assert TASKS[task.name] is type(task)


def test_a_task_is_frozen(task):
    with pytest.raises(ValueError, match="frozen"):
        task.name = "other"


def test_the_same_seed_draws_the_same_examples(task):
    one, two = (task.examples(task.splits[0], 20, 3) for _ in range(2))
    assert torch.equal(one.model_inputs, two.model_inputs)
    assert torch.equal(one.targets, two.targets)


def test_the_same_generator_draws_the_same_training_data(task):
    one, two = (task.data(20, generator(3, 0)) for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_every_split_gives_at_most_the_count_asked_for(task):
    for split in task.splits:
        assert len(task.examples(split, 7, 0)) <= 7


def test_an_unknown_split_is_refused_with_those_there_are(task):
    with pytest.raises(ValueError, match=task.splits[0]):
        task.examples("nonsense", None, 0)


def test_targets_are_zero_where_nothing_is_scored(task):
    examples = task.examples(task.splits[0], 20, 0)
    assert not examples.targets[~examples.scored].any()


def test_training_scores_splits_that_exist(task):
    assert set(task.evaluated) <= set(task.splits)


@pytest.mark.parametrize("task", ANSWERING_CLASSES, indirect=True)
def test_a_task_tells_chance(task):
    assert 0 < task.facts.chance < 1


@pytest.mark.parametrize("task", ANSWERING_CLASSES, indirect=True)
def test_an_untrained_model_of_the_tasks_sizes_scores_about_chance(task):
    model = build(config_for(task.sizes), task.sizes, seed=0)
    score = task.score(Snapshot.of(model, task.examples(task.splits[0], 500, 0)))
    assert score["accuracy"] < 0.2 + task.facts.chance


@pytest.mark.parametrize("task", ANSWERING_NUMBERS, indirect=True)
def test_an_untrained_model_explains_about_nothing(task):
    model = build(config_for(task.sizes), task.sizes, seed=0)
    score = task.score(Snapshot.of(model, task.examples(task.splits[0], 500, 0)))
    assert score["error"] == pytest.approx(1, abs=0.2)
    assert score["explained"] == pytest.approx(0, abs=0.2)
