import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analyses.sweep_table import (
    MAX_STEPS,
    at_end,
    axis_name,
    columns_of,
    over_steps,
    places_by_panel,
    setting_name,
    settings_of,
)
from tests.sweeps import DECAY, LR, series_of, table_of

NAME = "test.accuracy"
SAVED = pd.DataFrame({"step": [0, 10], "fve": [0.0, 1.0]})


def grid(*rows):
    return table_of([{LR: lr, DECAY: decay} for lr, decay in rows])


def test_numbers_stand_in_ascending_order():
    settings, setting = settings_of(grid((1e-2, 1.0), (1e-3, 1.0), (1e-2, 1.0)), [LR])
    assert settings == ((1e-3,), (1e-2,))
    assert setting.tolist() == [1, 0, 1]


def test_text_stands_in_the_order_of_the_table():
    table = table_of([{"training.optimizer": name} for name in ("sgd", "adamw", "sgd")])
    assert settings_of(table, ["training.optimizer"])[0] == (("sgd",), ("adamw",))


def test_lists_are_text():
    table = table_of([{"training.betas": [0.9, 0.98]}, {"training.betas": [0.9, 0.999]}])
    assert settings_of(table, ["training.betas"])[0] == (("0.9, 0.98",), ("0.9, 0.999",))


def test_a_field_that_is_left_out_is_none():
    table = table_of([{"training.grad_clip": 1.0}, {}])
    assert settings_of(table, ["training.grad_clip"])[0] == ((1.0,), ("none",))


def test_without_axes_all_runs_are_of_one_setting():
    settings, setting = settings_of(grid((1e-2, 1.0), (1e-3, 1.0)), [])
    assert settings == ((),)
    np.testing.assert_array_equal(setting, [0, 0])


def test_an_axis_without_a_column_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no column experiment\.task\.p; it has"):
        settings_of(grid((1e-2, 1.0)), ["task.p"])


def test_a_setting_is_told_in_words():
    assert setting_name([LR, DECAY], (1e-5, 1.0)) == "lr 1e-05, weight decay 1"


def test_axes_that_end_alike_are_told_in_full():
    axes = ["training.evaluate.every", "training.checkpoints.every"]
    assert axis_name(axes[0], axes) == "training evaluate every"


def test_a_grid_has_a_panel_a_row():
    settings, _ = settings_of(grid((1, 3), (1, 4), (2, 3), (2, 4)), [LR, DECAY])
    title, laid = places_by_panel([LR, DECAY], settings, DECAY)
    assert title == "weight decay"
    assert laid == {"lr 1": {"3": 0, "4": 1}, "lr 2": {"3": 2, "4": 3}}


def test_panels_may_lie_along_the_other_axis():
    settings, _ = settings_of(grid((1, 3), (1, 4), (2, 3), (2, 4)), [LR, DECAY])
    title, laid = places_by_panel([LR, DECAY], settings, LR)
    assert title == "lr"
    assert laid == {"weight decay 3": {"1": 0, "2": 2}, "weight decay 4": {"1": 1, "2": 3}}


def test_lists_side_by_side_have_one_panel():
    settings, _ = settings_of(grid((1, 3), (2, 4)), [LR, DECAY])
    title, laid = places_by_panel([LR, DECAY], settings, DECAY)
    assert title == "lr, weight decay"
    assert laid == {"": {"1, 3": 0, "2, 4": 1}}


def test_a_row_of_panels_is_a_row_of_the_grid():
    settings, _ = settings_of(grid((1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)), [LR, DECAY])
    assert columns_of([LR, DECAY], settings) == 3


def test_a_grid_with_holes_has_no_rows():
    settings, _ = settings_of(grid((1, 3), (1, 4), (2, 3)), [LR, DECAY])
    assert columns_of([LR, DECAY], settings) == 0


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


def test_a_run_that_refuses_its_scalars_is_undefined_and_one_warning_says_why():
    def refuse(name):
        raise ValueError(f"no saved result of {name} holds")

    refusing = replace(series_of([0], [0]), saved_scalars=refuse)
    reads = series_of([0], [0], SAVED)
    table, series = sweep_of(reads, refusing, refusing, **{"FourierCircuit.fve": 1.0})
    with pytest.warns(UserWarning, match="no saved result of FourierCircuit holds, and 1 more"):
        _, values = over_steps(table, series, "FourierCircuit.fve")
    np.testing.assert_equal(values, [[0, 1], [math.nan] * 2, [math.nan] * 2])


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
