import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from analyses import Generalization
from hooks import GivenCheckpoints, Sizes
from tests.planted import tiny_config
from tests.sweeps import drawn


def series(validation, generalization, losses=None, **columns):
    steps = range(0, 100 * len(validation), 100)
    losses = validation if losses is None else losses
    recorded = {"step": steps, "validation.accuracy": validation, "validation.loss": losses}
    recorded |= {"generalization.accuracy": generalization} | columns
    return GivenCheckpoints(
        steps=(), config=tiny_config(), sizes=Sizes(d_vocab=4, d_vocab_out=4, n_ctx=4),
        parameters=lambda step: {}, make_examples=lambda *which: None,  # pyright: ignore[reportArgumentType]  # asked for by nobody
        recorded=pd.DataFrame(recorded),
    )  # fmt: skip


def measured(generalization, **options):
    return Generalization.measure(series([1.0] * len(generalization), generalization), **options)


def claims(generalization):
    summary = measured(generalization).summary()
    return summary["ever"], summary["sustained"], summary["final"]


def test_one_evaluation_over_the_level_is_neither_sustained_nor_final():
    assert claims([0.1, 0.9, 0.1, 0.1]) == (1, 0, 0)


def test_three_evaluations_in_succession_are_sustained_but_not_final():
    assert claims([0.9, 0.9, 0.9, 0.1]) == (1, 1, 0)


def test_a_last_evaluation_over_the_level_is_final_but_not_sustained():
    assert claims([0.1, 0.9, 0.1, 0.9]) == (1, 0, 1)


def test_a_run_that_stays_below_makes_none_of_the_claims():
    assert claims([0.1, 0.79, 0.1]) == (0, 0, 0)


def test_the_level_itself_is_no_success():
    assert claims([0.8, 0.8, 0.8]) == (0, 0, 0)
    assert claims([0.801, 0.801, 0.801]) == (1, 1, 1)


def test_steps_of_success_are_its_first():
    found = measured([0.1, 0.9, 0.1, 0.9, 0.9, 0.9])
    assert (found.t_ever, found.t_sustained) == (100, 300)


def test_steps_of_success_that_never_came_are_undefined():
    found = measured([0.1, 0.2, 0.3])
    assert math.isnan(found.t_ever)
    assert math.isnan(found.t_sustained)


def test_share_above_counts_evaluations():
    assert measured([0.1, 0.9, 0.8, 0.85]).share_above == 0.5


def test_early_stopping_takes_the_first_of_equal_maxima():
    found = Generalization.measure(series([0.5, 1.0, 1.0], [0.1, 0.2, 0.3])).summary()
    assert (found["first_maximum_step"], found["at_first_maximum"]) == (100, 0.2)


def test_early_stopping_by_loss_takes_the_least():
    given = series([1.0, 1.0, 1.0], [0.1, 0.2, 0.3], losses=[2.0, 1.5, 1.0])
    found = Generalization.measure(given).summary()
    assert (found["least_loss_step"], found["at_least_loss"]) == (200, 0.3)


def test_the_dip_is_looked_for_after_the_first_maximum():
    found = Generalization.measure(series([0.5, 1.0, 1.0, 1.0], [0.0, 0.4, 0.1, 0.9]))
    assert found.summary()["least_later"] == 0.1


def test_kinds_are_the_recorded_columns_of_generalization():
    columns = {"generalization.accuracy_ORC": [0.1, 0.3], "validation.accuracy_ORC": [0.0, 0.0]}
    found = Generalization.measure(series([1.0, 1.0], [0.2, 0.4], None, **columns))
    assert found.summary()["last_ORC"] == 0.3
    np.testing.assert_array_equal(found.by_kind, [[0.1, 0.3]])


def test_without_kinds_there_is_no_figure_of_them():
    assert list(measured([0.1, 0.9]).figures()) == ["accuracy"]


def test_metrics_of_other_splits_are_refused():
    given = series([1.0], [1.0])
    other = given.metrics.rename(columns={"generalization.accuracy": "test.accuracy"})
    with pytest.raises(ValueError, match=r"needs generalization.accuracy; metrics has"):
        Generalization.measure(dataclasses.replace(given, recorded=other))


@pytest.mark.parametrize("options", [{"level": -0.1}, {"level": 1.0}, {"evaluations": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        measured([1.0], **options)


def test_an_evaluation_that_is_no_number_is_no_stop():
    found = Generalization.measure(
        series([0.1, math.nan, 1.0, 0.5], [0.1, 0.2, 0.3, 0.4], [3.0, math.nan, 0.5, 1.0])
    )
    summary = found.summary()
    assert (summary["first_maximum_step"], summary["least_loss_step"]) == (200, 200)


def test_where_no_evaluation_is_known_there_is_no_stop():
    summary = Generalization.measure(series([math.nan] * 2, [0.1, 0.2])).summary()
    assert np.isnan([summary["first_maximum_step"], summary["least_loss_step"]]).all()


def said(generalization, **options):
    (finding,) = measured(generalization, **options).findings()
    return finding.strength, finding.text


@pytest.mark.parametrize(
    ("accuracy", "strength", "text"),
    [
        (
            [0.1, 0.9, 0.9, 0.97],
            "found",
            "above 80 % for 3 evaluations in a row from step 100, and ends at 97 %",
        ),
        (
            [0.1, 0.9, 0.9, 0.9, 0.3],
            "not found",
            "above 80 % for 3 evaluations in a row from step 100, but does not stay, and ends at "
            "30 %",
        ),
        (
            [0.1, 0.9, 0.2, 0.83],
            "not found",
            "above 80 % only in spikes of under 3 evaluations (2 of 4, first at step 100), and "
            "ends in one, at 83 %",
        ),
        (
            [0.1, 0.9, 0.2, 0.3],
            "not found",
            "above 80 % only in spikes of under 3 evaluations (1 of 4, first at step 100), and "
            "ends at 30 %",
        ),
        ([0.1, 0.2, 0.3], "not found", "at no evaluation above 80 %, and ends at 30 %"),
        ([0.1, 0.2, math.nan], "not found", "at no evaluation above 80 %"),
    ],
)
def test_only_what_lasts_is_found_and_a_spike_is_called_one(accuracy, strength, text):
    told = f"Generalization accuracy is {text}"
    assert said(accuracy) == (strength, f"{told} (10 % at the best validation accuracy)")
    assert drawn(measured(accuracy).plot())["layout"]["title"]["text"] == told


def test_early_stopping_that_is_not_known_is_left_out():
    (finding,) = Generalization.measure(series([math.nan] * 3, [0.9] * 3)).findings()
    assert finding.text.endswith("ends at 90 %")


def test_a_spike_before_success_is_marked_as_one():
    marks = measured([0.1, 0.9, 0.1, 0.9, 0.9, 0.9]).marks()
    assert (marks["first spike > 80%"], marks["generalization > 80%"]) == (100, 300)
    assert "first spike > 80%" not in measured([0.1, 0.9, 0.9, 0.9]).marks()
