import math
from typing import Any

import numpy as np
import pytest

from analyses import MeasuresByDepth
from analyses.sweep_table import group_name
from tests.measured_runs import measured_run, sweep_of
from tests.sweeps import drawn

ENDS = {2: (0.1, 0.2, 0.3), 6: (0.7, 0.9, 1.0), 10: (0.4, 0.5, 0.6)}


def runs_of(ends: dict[int, tuple[float, ...]] = ENDS):
    """Runs whose tscore is their depth throughout."""
    return {
        f"{depth}-{seed}": (depth, measured_run((0, 0.1, 0.2, end), tscore=[depth] * 4))
        for depth, own in ends.items() for seed, end in enumerate(own)
    }  # fmt: skip


def found_of(runs: Any = None, failed=(), **options: Any) -> MeasuresByDepth:
    table, series = sweep_of(runs or runs_of(), failed)
    return MeasuresByDepth.measure(table, series, axes=("model.n_layers",), **options)


def test_medians_are_over_the_seeds_of_a_depth():
    found = found_of()
    assert found.depths == (2, 6, 10)
    np.testing.assert_allclose(found.medians[:2], [[0.2, 0.9, 0.5], [2, 6, 10]])


def test_the_best_depth_has_the_highest_median_generalization():
    summary = found_of().summary()
    assert summary["best"] == "6"
    assert summary["best_median_generalization"] == 0.9
    assert summary["highest_tscore_at"] == "10"


def test_a_run_that_failed_counts_nowhere_at_the_end():
    found = found_of(failed=("6-1", "6-2"))
    np.testing.assert_allclose(found.medians[0], [0.2, 0.7, 0.5])


def test_runs_are_grouped_by_one_field_whatever_else_varies():
    assert found_of().depth.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_values_over_steps_are_those_of_each_run():
    steps, values = found_of().over_steps("generalization")
    assert steps.tolist() == [0, 10, 20, 30]
    np.testing.assert_allclose(values[4], [0, 0.1, 0.2, 0.9])


def test_measures_may_have_steps_of_their_own():
    runs = runs_of({2: (0.5, 0.5)})
    runs["2-0"] = (2, measured_run((0, 0.5), steps=(0, 7), tscore=(1, 2)))
    steps, values = found_of(runs).over_steps("tscore")
    assert steps.tolist() == [0, 7, 10, 20, 30]
    np.testing.assert_equal(values[0], [1, 2, math.nan, math.nan, math.nan])


def test_curves_are_at_the_smallest_the_best_and_the_largest_depth():
    ends = ENDS | {4: (0.3,), 8: (0.4,)}
    notes = drawn(found_of(runs_of(ends)).figures()["curves"])["layout"]["annotations"]
    assert [note["text"] for note in notes] == [
        "2 layers (smallest)", "6 layers (best)", "10 layers (largest)",
    ]  # fmt: skip


def test_where_the_largest_is_best_it_is_drawn_once():
    notes = drawn(found_of(runs_of({2: (0.1,), 4: (0.9,)})).figures()["curves"])["layout"]
    assert [note["text"] for note in notes["annotations"]] == [
        "2 layers (smallest)", "4 layers (largest, best)",
    ]  # fmt: skip


def test_every_seed_is_a_dot():
    data = drawn(found_of().figures()["depths"])["data"]
    dots = [each["y"] for each in data if each["name"] == "one seed"]
    assert len(dots) == 5
    assert sorted(dots[0]) == sorted(end for own in ENDS.values() for end in own)


def test_medians_of_five_seeds_have_an_interval():
    found = found_of(runs_of({2: (0.1, 0.2, 0.3, 0.4, 0.5)}))
    bars = next(each for each in drawn(found.plot())["data"] if "error_y" in each)["error_y"]
    assert (bars["array"], bars["arrayminus"]) == (pytest.approx([0.2]), pytest.approx([0.2]))


def test_the_frame_has_a_row_a_run():
    frame = found_of().to_frame()
    assert frame["model.n_layers"].tolist() == [2, 2, 2, 6, 6, 6, 10, 10, 10]
    assert frame["tscore"].tolist() == frame["model.n_layers"].tolist()


def test_a_level_that_is_none_is_refused():
    with pytest.raises(ValueError, match="confidence = 1"):
        found_of(confidence=1.0)


def test_a_field_that_is_not_in_the_table_is_refused():
    with pytest.raises(ValueError, match=r"axis 'model\.depth'"):
        found_of(axis="model.depth")


@pytest.mark.parametrize(
    ("ends", "name"), [((0.1, 0.4), "median"), ((0.1,) * 5, "median (90% interval)")]
)
def test_the_legend_names_an_interval_where_there_is_one(ends, name):
    data = drawn(found_of(runs_of({2: ends})).plot())["data"]
    assert {each["name"] for each in data} == {"one seed", name}


def test_values_of_a_number_of_things_are_read_as_counts():
    assert group_name("model.n_layers", 2) == "2 layers"
    assert group_name("training.weight_decay", 0.1) == "weight decay 0.1"


def test_depths_that_do_not_differ_have_no_best():
    summary = found_of(runs_of(dict.fromkeys(ENDS, (0.5, 0.5, 0.5)))).summary()
    assert (summary["best"], summary["highest_norm_at"]) == ("all alike", "all alike")


def test_depths_of_which_nothing_is_known_have_no_best():
    runs = runs_of()
    found = found_of(runs, failed=tuple(runs))
    assert found.summary()["best"] == "unknown"
    title = drawn(found.figures()["depths"])["layout"]["title"]["text"]
    assert title.startswith("Generalization is not known")


def eight_from(low: float) -> tuple[float, ...]:
    return tuple(np.linspace(low, low + 0.1, 8).tolist())


FAR = {2: eight_from(0.1), 6: eight_from(0.8), 10: eight_from(0.3)}


def test_the_best_depth_is_said_beside_the_worst_and_chance():
    best, highest = found_of(runs_of(FAR)).findings()
    assert (best.strength, best.figure) == ("found", "depths")
    assert best.text.startswith(
        "Median generalization is best, 85 % at 6 layers, and worst, 15 % at 2 layers (by chance "
    )
    assert highest.strength == "null"
    assert highest.text == ("0 of 1 internal measures are highest at the best depth; by chance 0.3")


def test_measures_that_single_out_the_best_depth_are_found():
    highest_at_6 = {2: 1.0, 6: 3.0, 10: 2.0}
    names = ("tscore", "tparseval", "sparsity", "norm")
    runs = {}
    for depth, ends in FAR.items():
        measures: Any = dict.fromkeys(names, [highest_at_6[depth]] * 4)
        runs |= {f"{depth}-{end}": (depth, measured_run((0, 0, 0, end), **measures))
                 for end in ends}  # fmt: skip
    _, highest = found_of(runs).findings()
    assert highest.strength == "found"
    assert "(tscore, tparseval, sparsity, norm); by chance 1.3" in highest.text


def test_depths_that_differ_as_much_by_chance_are_null_and_single_out_nothing():
    found = found_of(runs_of({2: (0.1, 0.9), 6: (0.2, 1.0)}))
    assert [finding.strength for finding in found.findings()] == ["null"]


def test_one_depth_is_compared_with_none():
    assert found_of(runs_of({2: (0.1, 0.9)})).findings() == ()
