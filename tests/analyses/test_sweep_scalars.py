import math

import numpy as np
import pandas as pd
import pytest

from analyses.sweep_table import MAX_STEPS, at_end, over_steps
from tests.sweeps import LR, series_of, table_of

NAME = "test.accuracy"
SAVED = pd.DataFrame({"step": [0, 10], "fve": [0.0, 1.0]})


def sweep_of(*series, **columns):
    """A table of as many runs, and the series by name."""
    rows = [{LR: 0.1, f"metrics.{NAME}": 0.5} | columns for _ in series]
    return table_of(rows), {f"run-{index}": each for index, each in enumerate(series)}


def test_a_metric_is_its_last_value():
    table = table_of([{f"metrics.{NAME}": 0.25}, {f"metrics.{NAME}": 0.75}])
    assert at_end(table, NAME).tolist() == [0.25, 0.75]


def test_what_a_failed_run_recorded_last_is_no_end():
    table = table_of([{f"metrics.{NAME}": 0.25, "failure": "diverged"}, {f"metrics.{NAME}": 0.75}])
    np.testing.assert_equal(at_end(table, NAME), [math.nan, 0.75])


def test_infinity_is_undefined():
    np.testing.assert_equal(at_end(table_of([{"A.loss": math.inf}]), "A.loss"), [math.nan])


def test_runs_are_read_at_the_steps_of_all_of_them():
    steps, values = over_steps(
        *sweep_of(series_of([0, 10], [0, 1]), series_of([0, 5], [1, 2])), NAME
    )
    assert steps.tolist() == [0, 5, 10]
    np.testing.assert_equal(values, [[0, 0.5, 1], [1, 2, math.nan]])


def test_many_steps_are_chosen_evenly_with_both_ends():
    every = range(0, 5000, 10)
    steps, values = over_steps(*sweep_of(series_of(every, np.sqrt(every).tolist())), NAME)
    assert (len(steps), steps[0], steps[-1]) == (MAX_STEPS, 0, 4990)
    np.testing.assert_allclose(values[0], np.sqrt(steps))


def test_saved_scalars_are_read_over_steps():
    table, series = sweep_of(series_of([0], [0], SAVED), **{"FourierCircuit.fve": 1.0})
    steps, values = over_steps(table, series, "FourierCircuit.fve")
    assert (steps.tolist(), values.tolist()) == ([0, 10], [[0, 1]])


def test_a_run_without_records_is_undefined_everywhere():
    table, series = sweep_of(series_of([0, 1], [0, 1]), series_of([], []))
    np.testing.assert_equal(over_steps(table, series, NAME)[1], [[0, 1], [math.nan] * 2])


def test_an_unknown_scalar_is_refused_with_those_there_are():
    table, series = sweep_of(series_of([0], [0]), **{"FourierCircuit.fve": 1.0})
    with pytest.raises(ValueError, match=r"no 'test\.acc'; it has test\.accuracy, FourierCircuit"):
        over_steps(table, series, "test.acc")


def test_text_is_refused():
    with pytest.raises(ValueError, match=r"A\.verdict is text; OutcomeShares counts that"):
        at_end(table_of([{"A.verdict": "clock"}]), "A.verdict")


def test_a_scalar_that_is_one_number_a_run_has_no_steps():
    table, series = sweep_of(series_of([0], [0]), **{"GrokkingPhases.t_test": 40.0})
    with pytest.raises(ValueError, match="one number a run, set against to an axis"):
        over_steps(table, series, "GrokkingPhases.t_test")
