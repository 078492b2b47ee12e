import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from analyses import MeasureCorrelations
from tests.measured_runs import measured_run, sweep_of
from tests.sweeps import drawn

ENDS = (0.1, 0.3, 0.5, 0.8, 0.9, 1.0)


def runs_of(depth: int = 4, ends=ENDS):
    """Seeds whose tscore grows with generalization; within each it falls while that rises."""
    return {
        f"{depth}-{seed}": (
            depth,
            measured_run(
                (0, end / 3, end / 2, end), tscore=(9 + end, 8 + end, 7 + end, 6 + end),
                norm=(1, 2, 3, -end),
            ),
        )
        for seed, end in enumerate(ends)
    }  # fmt: skip


def found_of(runs: Any = None, failed=(), **options: Any) -> MeasureCorrelations:
    table, series = sweep_of(runs or runs_of(), failed)
    return MeasureCorrelations.measure(table, series, axes=(), **options)


def test_across_seeds_the_ends_of_runs_are_ranked():
    found = found_of()
    assert found.across[0, 0] == pytest.approx(1)
    assert found.across[3, 0] == pytest.approx(-1)
    many = found_of(runs_of(ends=np.linspace(0.1, 1, 10)))
    np.testing.assert_allclose(many.across_ends[:, 0, 0], 1)


def test_within_a_seed_steps_are_ranked():
    found = found_of()
    np.testing.assert_allclose(found.within[0], -1)
    np.testing.assert_allclose(found.mean_within[0], -1)
    assert np.isnan(found.within_ends[:, 0, 0]).all()  # all alike: no spread to go by


def test_a_measure_that_never_changes_correlates_with_nothing():
    found = found_of()
    assert np.isnan(found.across[1]).all()
    assert np.isnan(found.within[2]).all()


def test_early_steps_can_be_left_out_within_a_seed():
    runs = {f"{seed}": (2, measured_run((0, 0.2, 0.4, 0.6), tscore=(9, 1, 2, 3)))
            for seed in range(3)}  # fmt: skip
    np.testing.assert_allclose(found_of(runs, since=10).within[0], 1)
    assert found_of(runs).within[0, 0] < 1


def test_depths_are_ranked_apart():
    rising = runs_of(2, (0.1, 0.2, 0.3))
    falling = {
        f"8-{seed}": (8, measured_run((0, 0, 0, seed / 10), tscore=(0, 0, 0, -seed)))
        for seed in range(3)
    }
    np.testing.assert_allclose(found_of(rising | falling).across[0], [1, -1])


def test_few_seeds_have_no_interval():
    found = found_of(runs_of(2, (0.1, 0.2, 0.3)))
    assert found.across[0, 0] == pytest.approx(1)
    assert np.isnan(found.across_ends[:, 0, 0]).all()


def test_a_run_that_failed_is_left_out_across_seeds():
    runs = runs_of() | {"bad": (4, measured_run((0, 0, 0, 1), tscore=(0, 0, 0, -99)))}
    assert found_of(runs, failed=("bad",)).across[0, 0] == pytest.approx(1)
    assert found_of(runs).across[0, 0] < 1


def test_a_run_of_which_something_is_not_saved_has_no_correlation_over_steps():
    table, series = sweep_of(runs_of())
    series["4-0"] = replace(series["4-0"], saved_scalars=lambda name: pd.DataFrame())
    found = MeasureCorrelations.measure(table, series, axes=())
    assert math.isnan(found.within[0, 0])
    assert found.mean_within[0, 0] == pytest.approx(-1)


def test_the_summary_names_depths_where_there_are_several():
    assert "tscore_across_seeds" in found_of().summary()
    assert "tscore_over_time_at_8" in found_of(runs_of(2) | runs_of(8)).summary()


def test_the_seed_decides_intervals():
    ends = (0.5, 0.1, 0.4, 0.9, 0.2, 0.7, 0.3, 0.6, 0.8, 1.0)
    runs = {f"{seed}": (2, measured_run((0, 0, 0, end), tscore=(0, 0, 0, seed)))
            for seed, end in enumerate(ends)}  # fmt: skip
    first, again, other = (found_of(runs, seed=seed).across_ends[:, 0, 0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.tolist() != other.tolist()


def test_every_run_is_a_dot_that_tells_its_name():
    data = drawn(found_of(runs_of(2) | runs_of(8)).figures()["seeds"])["data"]
    assert len(data) == 8  # measures by depths
    assert data[0]["text"] == [f"2-{seed}" for seed in range(6)]
    assert data[0]["x"] == [*ENDS]


def test_both_correlations_have_a_panel():
    layout = drawn(found_of().figures()["correlations"])["layout"]
    assert [note["text"] for note in layout["annotations"]] == [
        "across seeds, at the end", "within a seed, over steps (mean)",
    ]  # fmt: skip


def test_a_level_that_is_none_is_refused():
    with pytest.raises(ValueError, match="confidence = 0"):
        found_of(confidence=0.0)


def test_two_runs_say_why_seeds_have_no_correlation_and_claim_no_interval():
    layout = drawn(found_of(runs_of(ends=(0.2, 0.9))).figures()["correlations"])["layout"]
    assert [note["text"] for note in layout["annotations"]] == [
        "across seeds, at the end: takes three runs", "within a seed, over steps (mean)",
    ]  # fmt: skip
    assert layout["title"]["text"] == "Rank correlation with generalization"


def test_intervals_are_named_where_there_are_some():
    found = found_of(runs_of(ends=np.linspace(0.1, 1, 10)))
    title = drawn(found.figures()["correlations"])["layout"]["title"]["text"]
    assert title == (
        "Rank correlation with generalization, with 95% intervals (bootstrap across seeds)"
    )


def test_few_seeds_have_an_exact_p():
    found = found_of()
    assert found.across_p[0, 0] == pytest.approx(2 / math.factorial(6))
    assert found.summary()["tscore_across_seeds_p"] == found.across_p[0, 0]
    assert found.to_frame()["across_p"][0] == found.across_p[0, 0]


def test_the_mean_over_seeds_has_students_interval_within_the_range_of_correlations():
    # Within seeds: -1, -1 and 1.
    runs = {f"{seed}": (2, measured_run((0, 0.2, 0.4, 0.6), tscore=own))
            for seed, own in enumerate([(9, 8, 7, 6), (9, 8, 7, 6), (6, 7, 8, 9)])}  # fmt: skip
    found = found_of(runs, confidence=0.5)
    expected = ttest_1samp([-1, -1, 1], 0).confidence_interval(0.5)
    np.testing.assert_allclose(found.within_ends[:, 0, 0], [*expected])
    np.testing.assert_allclose(found_of(runs).within_ends[:, 0, 0], [-1, 1])


def test_a_correlation_across_seeds_is_said_with_its_p_over_all_looked_at():
    (finding,) = found_of().findings()
    assert (finding.strength, finding.figure) == ("found", "correlations")
    # Of 720 orders of six seeds two are as extreme; two measures have a correlation.
    assert finding.text == (
        "Across 6 seeds of 4 layers, tscore and generalization have rank correlation 1.00 "
        "(the surest of 2, by chance p = 0.0056)"
    )


def test_three_seeds_cannot_show_a_correlation():
    assert [f.strength for f in found_of(runs_of(ends=(0.1, 0.2, 0.3))).findings()] == ["null"]


def test_two_seeds_leave_nothing_to_say():
    assert found_of(runs_of(ends=(0.1, 0.2))).findings() == ()
