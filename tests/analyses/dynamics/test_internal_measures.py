import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analyses import InternalMeasures
from tests.measured_runs import measured_run
from tests.sweeps import drawn

RISING = (0.0, 0.2, 0.7, 1.0)


def test_measures_are_the_saved_scalars_at_every_step():
    found = InternalMeasures.measure(measured_run(RISING, tscore=(1, 2, 3, 4), norm=(9, 8, 7, 5)))
    np.testing.assert_allclose(found.measures, [[1, 2, 3, 4], [1] * 4, [1] * 4, [9, 8, 7, 5]])
    assert found.steps.tolist() == [0, 10, 20, 30]


def test_generalization_lies_on_the_line_between_evaluations():
    series = measured_run(RISING)
    recorded = pd.DataFrame({"step": [0, 20, 40], "generalization.accuracy": [0.0, 1.0, 0.5]})
    found = InternalMeasures.measure(replace(series, recorded=recorded))
    np.testing.assert_allclose(found.generalization, [0, 0.5, 1, 0.75])


def test_steps_are_those_at_which_all_is_saved():
    whole, part = measured_run(RISING), measured_run(RISING[1:], steps=(10, 20, 30))
    series = replace(
        whole, saved_scalars=lambda name: (part if name == "WeightNorms" else whole).scalars(name)
    )
    assert InternalMeasures.measure(series).steps.tolist() == [10, 20, 30]


def test_correlations_are_of_ranks_over_steps():
    series = measured_run(RISING, tscore=(1, 1.1, 5, 99), sparsity=(-1, -2, -3, -4))
    told = InternalMeasures.measure(series).correlations
    assert told["tscore"] == pytest.approx(1)
    assert told["sparsity"] == pytest.approx(-1)
    assert math.isnan(told["norm"])


def test_early_steps_can_be_left_out_of_correlations():
    series = measured_run(RISING, tscore=(0, 3, 2, 1))
    assert InternalMeasures.measure(series, since=10).correlations["tscore"] == pytest.approx(-1)


def test_the_summary_has_the_last_step_and_the_baseline():
    summary = InternalMeasures.measure(measured_run(RISING, tparseval=(0, 0, 0, 0.8))).summary()
    assert (summary["generalization"], summary["tparseval"]) == (1, 0.8)
    assert summary["f1_right_branching"] == 0.6


def test_the_frame_has_a_row_a_step():
    frame = InternalMeasures.measure(measured_run(RISING)).to_frame()
    assert [*frame] == ["step", "generalization", "tscore", "tparseval", "sparsity", "norm"]
    assert frame["generalization"].tolist() == [*RISING]


def test_every_measure_has_a_panel_over_the_same_steps():
    data = drawn(InternalMeasures.measure(measured_run(RISING)).plot())["data"]
    assert len({each["yaxis"] for each in data}) == 5
    assert all(each["x"] == [0, 10, 20, 30] for each in data)


def test_the_title_tells_which_sentences_are_read():
    title = drawn(InternalMeasures.measure(measured_run(RISING)).plot())["layout"]["title"]["text"]
    assert title.endswith("on the task's own split")


def test_what_is_not_saved_is_named():
    series = replace(measured_run(RISING), saved_scalars=lambda name: pd.DataFrame())
    with pytest.raises(ValueError, match="no saved results of TreeProjection"):
        InternalMeasures.measure(series)


def test_runs_without_generalization_are_refused():
    recorded = pd.DataFrame({"step": [0], "test.accuracy": [1.0]})
    with pytest.raises(ValueError, match=r"no generalization\.accuracy among .* test\.accuracy"):
        InternalMeasures.measure(replace(measured_run(RISING), recorded=recorded))


LONG = (0.0, 0.2, 0.2, 0.7, 0.3, 0.9, 0.4, 1.0)
LONG_STEPS = tuple(range(0, 80, 10))


def test_a_measure_that_follows_generalization_more_than_the_step_does_is_found():
    waves = (0.0, 1.0, 0.1, 0.9, 0.0, 0.8, 0.2, 0.7)
    run = measured_run(waves, steps=LONG_STEPS, tscore=waves, tparseval=[0.5] * 7 + [0.9])
    follows, trees = InternalMeasures.measure(run).findings()
    assert (follows.strength, follows.text) == (
        "found",
        "Of 2 internal measures how tree-like computation is (tscore) follows generalization most: "
        "rank correlation +1.00 over 8 steps (step number: +0.10)",
    )
    assert (trees.strength, trees.text) == (
        "found",
        "Projected trees reach F1 0.90 with the gold trees at the last step (right-branching "
        "trees: 0.60)",
    )


def test_a_measure_that_only_grows_with_the_steps_is_null_and_so_are_trees_of_the_baseline():
    run = measured_run(LONG, steps=LONG_STEPS, norm=range(8), tparseval=[0.5] * 7 + [0.6])
    follows, trees = InternalMeasures.measure(run).findings()
    assert follows.strength == trees.strength == "null"
    assert "the norm of weights" in follows.text or "tparseval" in follows.text


def test_what_has_no_correlation_is_left_out():
    (trees,) = InternalMeasures.measure(measured_run((0.5,) * 4)).findings()
    assert trees.text.startswith("Projected trees")
