"""Errors by number of examples, beside baselines on the same prompts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses import InContextCurve
from analyses.in_context.curve import bootstrap
from analyses.plots.figures import Figure, as_data
from tests.analyses.in_context.prompted import MIXED, always, task_of, untrained
from tests.sweeps import drawn


def test_a_model_that_answers_zero_has_the_error_of_the_zero_predictor():
    result = InContextCurve.measure(always(untrained(task_of()), 0.0), baselines=["zero"])
    np.testing.assert_allclose(result.error(), result.error("zero"))
    assert result.error().mean() == pytest.approx(1)


def test_a_constant_adds_its_square_over_the_mean_square_of_y():
    zero, two = (
        InContextCurve.measure(always(untrained(task_of()), each), baselines=[])
        for each in (0.0, 2.0)
    )
    added = (two.error() - zero.error()).mean()
    assert added == pytest.approx(4 / float(zero.scale[0]), rel=0.05)


def test_baselines_stand_where_closed_forms_put_them():
    result = InContextCurve.measure(untrained(task_of(test_prompts=3000)))
    expected = [1, 2 / 3, 1 / 3, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(result.error("least_squares"), expected, atol=0.06)
    # The jitter makes it stop just short of an exact fit.
    np.testing.assert_allclose(result.error("bayes"), expected, atol=0.06)


def test_the_first_answer_is_the_same_for_all_baselines():
    result = InContextCurve.measure(untrained(task_of()))
    assert np.ptp(result.errors[0, 1:, 0]) == 0


def test_nothing_beats_bayes_on_its_own_mixture():
    task = task_of(**MIXED, noise=0.3, test_prompts=2000)
    result = InContextCurve.measure(untrained(task))
    place = result.curves.index("bayes")
    mean = np.average(result.errors, axis=0, weights=result.prompts)  # classes of one variance
    assert (mean[place] <= mean[1:] + 0.02).all()


def test_each_group_is_divided_by_its_own_mean_square():
    result = InContextCurve.measure(
        always(untrained(task_of(), "scale"), 0.0), baselines=["least_squares"]
    )
    np.testing.assert_allclose(result.errors[:, 0].mean(axis=1), 1)
    np.testing.assert_allclose(result.errors[:, 1, 4:], 0, atol=1e-6)


def test_bayes_is_passed_over_without_an_exact_prior():
    task = task_of(classes=[{"family": "decision_tree"}])
    assert "bayes" not in InContextCurve.measure(untrained(task)).curves


def test_slow_baselines_have_errors_of_every_group():
    names = ["greedy_tree", "boosted_trees:3", "network:5"]
    task = task_of(**MIXED, weights=[0.98, 0.02], test_prompts=60)
    result = InContextCurve.measure(untrained(task), baselines=names)
    assert result.curves == ("model", *names)
    assert np.isfinite(result.errors).all()


def test_the_excess_over_a_slow_baseline_is_on_its_own_prompts():
    snapshot = always(untrained(task_of(test_prompts=300)), 0.0)
    result = InContextCurve.measure(snapshot, baselines=["greedy_tree"])
    some = InContextCurve.measure(
        snapshot.on(snapshot.examples.head(50)), baselines=["greedy_tree"]
    )  # which are all that the tree is given
    expected = (some.error() - some.error("greedy_tree")) * some.scale[0] / result.scale[0]
    np.testing.assert_allclose(result.excess(), expected)
    assert abs(result.error() - result.matched[0, 1]).max() > 0.01


def test_a_number_after_a_name_is_its_option():
    snapshot = untrained(task_of())
    result = InContextCurve.measure(snapshot, baselines=["ridge:1e-9", "ridge:100", "zero"])
    assert result.error("ridge:1e-9")[5] < 1e-6
    assert result.error("ridge:100")[5] == pytest.approx(result.error("zero")[5], rel=0.2)


def test_another_steps_baselines_are_taken_over():
    snapshot = untrained(task_of())
    first = InContextCurve.measure(snapshot)
    planted = replace(first, errors=first.errors + 5)
    second = InContextCurve.measure(snapshot, reference=planted)
    np.testing.assert_array_equal(second.errors[:, 1:], planted.errors[:, 1:])
    np.testing.assert_array_equal(second.errors[:, 0], first.errors[:, 0])
    np.testing.assert_array_equal(second.matched, first.matched)


@pytest.mark.parametrize(
    "options", [{"baselines": ["zero"]}, {"confidence": 0.5}, {"by": "class"}, {}]
)
def test_baselines_of_other_prompts_or_options_are_not(options):
    snapshot = untrained(task_of(**MIXED, test_prompts=40), "scale")
    other = untrained(task_of(**MIXED, test_prompts=40), "combination")
    reference = InContextCurve.measure(snapshot if options else other, baselines=["zero", "ridge"])
    asked = {"baselines": ["zero", "ridge"]} | options
    found = InContextCurve.measure(snapshot, reference=reference, **asked)
    expected = InContextCurve.measure(snapshot, **asked)
    np.testing.assert_array_equal(found.errors, expected.errors)


def test_bands_hold_the_mean_and_narrow_with_prompts():
    drawing = np.random.default_rng(1)
    values = drawing.exponential(size=(4000, 3))
    low, high = bootstrap(values, 0.9)
    few = bootstrap(values[:40], 0.9)
    # Of a mean of n values the interval is 2 x 1.645 deviations / sqrt(n) wide.
    np.testing.assert_allclose(high - low, 3.29 * values.std(0) / math.sqrt(4000), rtol=0.1)
    assert (few[1] - few[0] > 5 * (high - low)).all()


def test_the_summary_is_at_the_numbers_asked_for():
    result = InContextCurve.measure(untrained(task_of()), at=[2, 5])
    summary = result.summary()
    assert list(summary) == ["error_2", "excess_2", "error_5", "excess_5"]
    assert summary["error_5"] == result.error()[5]
    assert summary["excess_5"] == result.error()[5] - result.errors[0, 1:, 5].min()


def test_by_default_the_summary_is_at_parts_of_d():
    assert InContextCurve.measure(untrained(task_of()), baselines=["zero"]).at == (1, 3, 6, 7)


def test_a_group_names_its_part_of_the_summary():
    result = InContextCurve.measure(untrained(task_of(**MIXED)), baselines=["zero"], at=[7])
    assert list(result.summary()) == [
        "dense_error_7", "dense_excess_7", "sparse_error_7", "sparse_excess_7"
    ]  # fmt: skip


WAVES = {"d": 1, "classes": [{"family": "dense"}, {"family": "sinusoid"}]}


def test_joint_ridge_fits_combinations_that_bayes_does_not():
    task = task_of(**WAVES, alphas=[0.5], test_prompts=800)
    result = InContextCurve.measure(
        untrained(task, "combination"), baselines=["joint_ridge:1e-6", "bayes", "ridge"]
    )
    assert result.error("joint_ridge:1e-6")[7] < 1e-3
    assert min(result.error("bayes")[7], result.error("ridge")[7]) > 0.05


def test_the_ratio_is_to_the_error_of_joint_ridge():
    snapshot = untrained(task_of(**WAVES, alphas=[0.5]), "combination")
    result = InContextCurve.measure(snapshot, at=[7])
    assert result.joint == "joint_ridge"
    expected = result.error()[7] / result.error("joint_ridge")[7]
    assert result.summary()["ratio_7"] == result.ratio()[7] == expected


def test_for_linear_classes_the_ratio_is_to_ridge_alone():
    result = InContextCurve.measure(untrained(task_of(**MIXED)))
    assert (result.joint, "joint_ridge" in result.curves) == ("ridge", False)
    np.testing.assert_allclose(result.ratio(), result.error() / result.error("ridge"))
    assert not any("ratio" in name for name in result.summary())


@pytest.mark.parametrize(
    "family", [{"family": "sinusoid", "frequency": [1, 2]}, {"family": "decision_tree"}]
)
def test_joint_ridge_is_passed_over_where_features_are_not_known(family):
    task = task_of(d=1, classes=[{"family": "dense"}, family])
    result = InContextCurve.measure(untrained(task), baselines=["ridge", "joint_ridge"])
    assert (result.curves, result.joint) == (("model", "ridge"), "")
    assert np.isnan(result.ratio()).all()


def test_the_title_names_the_group_that_it_quotes():
    several = InContextCurve.measure(untrained(task_of(**MIXED)), baselines=["zero"], at=[1])
    alone = InContextCurve.measure(untrained(task_of()), baselines=["zero"], at=[2])
    titles = [drawn(each.plot())["layout"]["title"]["text"] for each in (several, alone)]
    assert titles[0].startswith("Error on dense after 1 example: ")
    assert titles[1].startswith("Error after 2 examples: ")


def test_the_whole_band_is_shown():
    result = InContextCurve.measure(untrained(task_of()), baselines=["zero"])
    wide = replace(result, high=result.errors + 7)
    top = drawn(wide.plot())["layout"]["yaxis"]["range"][1]
    assert top > wide.high[:, 0].max()


def test_the_table_has_a_row_a_group_curve_and_number_of_examples():
    frame = InContextCurve.measure(untrained(task_of(**MIXED)), baselines=["zero"]).to_frame()
    assert len(frame) == 2 * 2 * 8
    low, error, high = frame[["low", "error", "high"]].to_numpy().T
    assert (low <= error).all()
    assert (error <= high).all()


def test_curves_differ_in_dash_or_width():
    figure = InContextCurve.measure(untrained(task_of())).plot()
    assert isinstance(figure, Figure)
    drawn = [each["line"] for each in as_data(figure)["data"] if each["name"] != "model, band"]
    styles = {(each["color"], each.get("dash"), each["width"]) for each in drawn}
    assert len(styles) == len(drawn) == 8
    assert max(each["width"] for each in drawn) == drawn[-1]["width"]  # the model, on top


def test_errors_beside_answers_that_are_all_0_are_not_known():
    snapshot = always(untrained(task_of()), 2.0)
    examples = replace(snapshot.examples, targets=torch.zeros_like(snapshot.examples.targets))
    found = InContextCurve.measure(snapshot.on(examples), baselines=["zero"])
    assert np.isnan(found.errors).all()
    assert np.isnan(found.scale).all()


def test_a_single_prompt_has_no_band():
    low, high = bootstrap(np.ones((1, 3)), 0.9)
    assert np.isnan([low, high]).all()


def test_examples_that_help_are_found_beside_none_and_the_best_baseline():
    measured = InContextCurve.measure(untrained(task_of()), baselines=["zero", "least_squares"])
    errors = np.ones((1, 3, 8))
    errors[0, 0], errors[0, 2, 7] = np.linspace(1, 0.125, 8), 1e-9
    found = replace(measured, errors=errors, low=errors - 0.01, high=errors + 0.01)
    (finding,) = found.findings()
    assert (finding.strength, finding.text) == (
        "found",
        "Squared error after 7 examples is 0.12 of mean y² (after none: 1; best baseline, least "
        "squares: under 0.001)",
    )
    (wide,) = replace(found, high=errors + 1).findings()
    (same,) = replace(found, errors=errors * 0 + 1, low=errors * 0, high=errors * 0 + 2).findings()
    (single,) = replace(found, low=errors * np.nan, high=errors * np.nan).findings()
    assert wide.strength == same.strength == single.strength == "null"


def test_of_several_groups_the_first_and_the_worst_are_said():
    measured = InContextCurve.measure(untrained(task_of(**MIXED)), baselines=[])
    errors = np.stack([np.full((1, 8), 0.25), np.full((1, 8), 0.5)])
    found = replace(measured, errors=errors, low=errors, high=errors)
    assert [finding.text for finding in found.findings()] == [
        f"Squared error on {name} after 7 examples is {error} of mean y² (after none: {error})"
        for name, error in (("dense", 0.25), ("sparse", 0.5))
    ]
    unknown = replace(found, errors=errors * np.nan)
    assert unknown.findings() == ()


def test_wrong_answers_are_a_share():
    measured = InContextCurve.measure(untrained(task_of()), baselines=["zero"])
    errors = np.full((1, 2, 8), 0.5)
    found = replace(measured, unit="share of wrong answers", errors=errors)
    assert found.findings()[0].text == (
        "Share of wrong answers after 7 examples is 50 % (after none: 50 %; best baseline, zero: "
        "50 %)"
    )
