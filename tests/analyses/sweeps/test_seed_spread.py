import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses import SeedSpread
from tests.sweeps import DECAY, LR, drawn, series_of, table_of

END = "metrics.test.accuracy"


def ended(*values, lr=0.1, **columns):
    """Runs of one learning rate that end with given accuracies."""
    return [{LR: lr, END: value} | columns for value in values]


def at_ends(*rows, **options):
    given: dict[str, Any] = {"axes": (LR,), "against": LR} | options
    return SeedSpread.measure(table_of([each for row in rows for each in row]), {}, **given)


def over_steps(*records, failed=(), **options):
    """Runs of one setting, each with its steps and accuracies."""
    rows = [{LR: 0.1, END: 0.5, "failure": "x" if i in failed else ""} for i in range(len(records))]
    series = {f"run-{index}": series_of(*record) for index, record in enumerate(records)}
    given: dict[str, Any] = {"axes": (LR,)} | options
    return SeedSpread.measure(table_of(rows), series, **given)


def test_the_median_is_of_a_settings_runs():
    found = at_ends(ended(0.1, 0.2, 0.9), ended(0.5, 0.7, lr=0.2))
    np.testing.assert_allclose(found.medians[:, 0], [0.2, 0.6])


def test_five_runs_have_an_interval_from_least_to_largest():
    found = at_ends(ended(0.3, 0.1, 0.5, 0.2, 0.4), ended(0.5, lr=0.2))
    np.testing.assert_equal(found.intervals[:, :, 0], [[0.1, math.nan], [0.5, math.nan]])


def test_values_over_steps_have_a_median_a_step():
    steps = [0, 10, 20]
    found = over_steps((steps, [0, 0, 0]), (steps, [0.1, 0.3, 1]), (steps, [0.2, 0.6, 0.9]))
    np.testing.assert_allclose(found.medians, [[0.1, 0.3, 0.9]])
    assert found.steps.tolist() == steps


def test_a_run_that_ended_early_counts_on_with_its_last_value():
    found = over_steps(([0, 10, 20], [0, 0, 0]), ([0, 10], [0, 1]))
    np.testing.assert_allclose(found.medians, [[0, 0.5, 0.5]])
    np.testing.assert_equal(found.values[1], [0, 1, math.nan])


def test_a_run_that_failed_counts_no_more():
    found = over_steps(([0, 10, 20], [0, 0, 0]), ([0, 10], [0, 1]), failed=[1])
    np.testing.assert_allclose(found.medians, [[0, 0.5, 0]])
    assert found.counts.tolist() == [[2, 2, 1]]


def test_the_undefined_is_left_out_and_told():
    found = at_ends(ended(0.1, math.nan, 0.3))
    assert found.medians[0, 0] == pytest.approx(0.2)
    assert found.summary()["undefined"] == 1


def test_a_setting_without_values_has_no_median():
    found = at_ends(ended(0.1), ended(math.nan, lr=0.2))
    np.testing.assert_equal(found.medians[:, 0], [0.1, math.nan])


def test_the_summary_names_the_settings_with_extreme_medians():
    summary = at_ends(ended(0.1), ended(0.9, lr=0.2), ended(0.5, lr=0.3)).summary()
    assert (summary["lowest_median"], summary["lowest_at"]) == (0.1, "lr 0.1")
    assert (summary["highest_median"], summary["highest_at"]) == (0.9, "lr 0.2")


def test_where_no_run_has_a_last_value_medians_are_nan():
    found = over_steps(([0], [0.5]), ([0, 10], [0.5, math.nan]), failed=[0, 1])
    assert found.counts.tolist() == [[2, 0]]
    assert math.isnan(float(found.summary()["lowest_median"]))


ACCURACIES = st.lists(st.integers(0, 100).map(lambda each: each / 100), min_size=1, max_size=12)


@given(ACCURACIES)
def test_the_median_lies_in_its_interval(values):
    found = at_ends(ended(*values))
    low, high = found.intervals[:, 0, 0]
    assert np.isnan(low) == (len(values) < 5)
    assert not low > found.medians[0, 0]
    assert not high < found.medians[0, 0]


@given(ACCURACIES, st.floats(0.1, 10))
def test_medians_scale_with_the_values(values, factor):
    found, scaled = at_ends(ended(*values)), at_ends(ended(*(factor * each for each in values)))
    np.testing.assert_allclose(scaled.medians, factor * found.medians)


def test_the_table_has_a_row_a_setting_and_step():
    frame = over_steps(([0, 10], [0, 1]), ([0, 10], [0, 0.5])).to_frame()
    assert frame.columns.tolist() == [LR, "step", "runs", "median", "low", "high"]
    assert frame["median"].tolist() == [0, 0.75]


def test_against_an_axis_the_table_has_a_row_a_setting():
    frame = at_ends(ended(0.1), ended(0.9, lr=0.2)).to_frame()
    assert frame[LR].tolist() == [0.1, 0.2]


def test_every_seed_is_drawn_to_its_end():
    figure = drawn(over_steps(([0, 10, 20], [0, 0, 0]), ([0, 10], [0, 1])).plot())
    (seeds,) = [trace for trace in figure["data"] if trace["name"] == "one seed"]
    np.testing.assert_equal(seeds["x"], [0, 10, 20, math.nan, 0, 10, math.nan])


def test_the_median_is_the_boldest_line():
    figure = drawn(over_steps(([0, 10], [0, 1]), ([0, 10], [0, 0.5])).plot())
    widths = {trace["name"]: trace["line"]["width"] for trace in figure["data"]}
    assert max(widths, key=lambda name: widths[name]) == "median"


def test_against_an_axis_the_other_makes_panels():
    rows = [ended(0.5, lr=lr, **{DECAY: decay}) for decay in (3, 4) for lr in (0.1, 0.2)]
    figure = drawn(at_ends(*rows, axes=(LR, DECAY)).plot())
    headings = [note["text"] for note in figure["layout"]["annotations"]]
    assert headings == ["weight decay 3", "weight decay 4"]
    assert figure["layout"]["xaxis"]["ticktext"] == ["0.1", "0.2"]


def test_every_run_has_a_dot():
    figure = drawn(at_ends(ended(0.1, 0.2, 0.9), ended(0.5, 0.7, lr=0.2)).plot())
    assert figure["data"][0]["y"] == [0.1, 0.2, 0.9, 0.5, 0.7]


def test_an_unknown_axis_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"against = 'lr': step or an axis \(training\.lr\)"):
        at_ends(ended(0.5), against="lr")


def test_a_scalar_that_is_undefined_everywhere_is_refused():
    with pytest.raises(ValueError, match=r"test\.accuracy is undefined in every run"):
        at_ends(ended(math.nan))


def test_a_level_in_percent_is_refused():
    with pytest.raises(ValueError, match="confidence = 90: it must lie between 0 and 1"):
        at_ends(ended(0.5), confidence=90)


def test_the_median_of_one_setting_is_said_with_its_interval_and_seeds():
    (finding,) = at_ends(ended(0.9, 0.91, 0.95, 0.97, 1.0)).findings()
    assert (finding.strength, finding.figure) == ("found", "dots")
    assert finding.text == (
        "Test accuracy ends at 95 % (median; 5 seeds 90 % to 100 %, 90 % interval 90 % to 100 %)"
    )


def test_seeds_too_few_for_an_interval_are_null():
    (finding,) = at_ends(ended(0.9, 1.0)).findings()
    assert finding.strength == "null"
    assert finding.text.endswith("2 seeds 90 % to 100 %: too few for an interval)")


def test_settings_far_apart_are_said_beside_chance():
    (finding,) = at_ends(
        ended(*np.linspace(0.1, 0.2, 6)), ended(*np.linspace(0.8, 0.9, 6), lr=0.2)
    ).findings()
    assert finding.strength == "found"
    assert finding.text.startswith(
        "Test accuracy ends between 15 % (lr 0.1) and 85 % (lr 0.2): medians of 12 runs; by chance "
    )


def test_settings_no_further_apart_than_by_chance_are_null():
    found = at_ends(ended(0.1, 0.5, 0.9), ended(0.2, 0.6, 0.8, lr=0.2))
    assert [finding.strength for finding in found.findings()] == ["null"]


def test_runs_without_a_value_at_the_end_leave_nothing_to_say():
    found = over_steps(([0, 10], [0, math.nan]), failed=[0])
    assert np.isnan(found.medians[:, -1]).all()
    assert found.findings() == ()
