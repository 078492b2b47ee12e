import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses import InContextCurve
from analyses.in_context_curve import bootstrap
from analyses.in_context_prompts import most_frequent, pairs_of
from analyses.plots import Figure, as_data
from hooks import Snapshot, build
from hooks.edit import Edit
from interp.tasks.function_classes import FunctionClasses
from tests.planted import config_for

TASK = {"d": 3, "pairs": 8, "test_prompts": 400}
MIXED = {"classes": [{"family": "dense"}, {"family": "sparse", "nnz": 1}]}


def task_of(**options):
    return FunctionClasses.model_validate(TASK | options)


def untrained(task, split="test", count=None):
    """A model that was never trained, on prompts of a task."""
    model = build(config_for(task.sizes), task.sizes, seed=0)
    return Snapshot.of(model, task.examples(split, count, 0))


def always(snapshot, answer):
    """The model made to answer one number."""
    constant = {
        "unembed.W_U": lambda weights: torch.zeros_like(weights),
        "unembed.b_U": lambda weights: torch.full_like(weights, answer),
    }
    return snapshot.edited(Edit(parameters=constant))


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


def test_classes_are_told_apart():
    result = InContextCurve.measure(untrained(task_of(**MIXED)))
    assert result.groups == ("dense", "sparse")
    assert result.prompts.sum() == 400
    assert result.error("lasso", "sparse")[2] < result.error("lasso", "dense")[2]


@pytest.mark.parametrize(
    ("split", "groups"),
    [
        ("scale", ("scale 0.3", "scale 1", "scale 3", "scale 10")),
        ("sparsity", ("nnz 1", "nnz 2", "nnz 3")),
        ("combination", ("alpha 0", "alpha 0.5", "alpha 1")),
    ],
)
def test_prompts_of_other_splits_are_grouped_by_what_tells_them_apart(split, groups):
    snapshot = untrained(task_of(**MIXED, alphas=[0, 0.5, 1]), split)
    assert InContextCurve.measure(snapshot, baselines=["zero"]).groups == groups


def test_each_group_is_divided_by_its_own_mean_square():
    result = InContextCurve.measure(
        always(untrained(task_of(), "scale"), 0.0), baselines=["least_squares"]
    )
    np.testing.assert_allclose(result.errors[:, 0].mean(axis=1), 1)
    np.testing.assert_allclose(result.errors[:, 1, 4:], 0, atol=1e-6)


def test_a_label_can_be_asked_for():
    result = InContextCurve.measure(untrained(task_of(**MIXED), "scale"), baselines=[], by="class")
    assert (result.by, result.groups) == ("class", ("dense", "sparse"))


def test_a_single_class_gives_its_name():
    of_two = untrained(task_of(**MIXED, weights=[0, 1]))
    for snapshot, name in ((untrained(task_of()), "dense"), (of_two, "sparse")):
        result = InContextCurve.measure(snapshot, baselines=[])
        assert (result.by, result.groups) == ("", (name,))


def test_bayes_is_passed_over_without_an_exact_prior():
    task = task_of(classes=[{"family": "decision_tree"}])
    assert "bayes" not in InContextCurve.measure(untrained(task)).curves


def test_slow_baselines_take_the_first_prompts_only():
    names = ["greedy_tree", "boosted_trees:3", "network:5"]
    result = InContextCurve.measure(untrained(task_of(test_prompts=60)), baselines=names)
    assert result.curves == ("model", *names)
    assert np.isfinite(result.errors).all()


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


def test_where_answers_are_classes_errors_are_shares_of_wrong_ones():
    snapshot = untrained(task_of())
    examples = snapshot.examples
    classes = replace(examples, targets=(examples.targets > 0).long())
    result = InContextCurve.measure(snapshot.on(classes))
    expected = (classes.targets[:, ::2] != 0).double().mean(0)  # one output: always class 0
    np.testing.assert_allclose(result.error(), expected)
    assert result.curves == ("model", "most_frequent")
    assert result.unit == "share of wrong answers"


def test_the_most_frequent_answer_is_that_of_earlier_pairs():
    answers = torch.tensor([[2, 1, 1, 2, 2, 0]])
    assert most_frequent(answers).tolist() == [[0, 2, 1, 1, 1, 2]]


def test_scored_positions_may_differ_by_prompt():
    examples = task_of(test_prompts=2).examples("test", None, 0)
    scored = torch.zeros_like(examples.scored)
    scored[0, [0, 4]], scored[1, [2, 6]] = True, True
    found = pairs_of(replace(examples, scored=scored), None)
    assert found.targets.tolist() == [
        examples.targets[0, [0, 4]].tolist(), examples.targets[1, [2, 6]].tolist()
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": [8]}, r"at = \[8\]: give numbers of examples from 0 to 7, the context"),
        ({"at": [-1]}, r"at = \[-1\]: give numbers"),
        ({"at": []}, r"at = \[\]: give numbers"),
        ({"baselines": ["spline"]}, "baselines: no 'spline'; there are zero, .*bayes"),
        ({"baselines": ["zero:3"]}, "baselines: 'zero:3': zero takes no number"),
        ({"baselines": ["bayes:3"]}, "baselines: 'bayes:3': bayes takes no number"),
        ({"baselines": ["nearest:x"]}, "baselines: 'nearest:x': nearest takes a whole number"),
        ({"baselines": ["ridge:"]}, "baselines: 'ridge:': ridge takes a number"),
        ({"by": "depth"}, "labels has no 'depth'; this task provides: none"),
        ({"confidence": 1.0}, "confidence = 1.0"),
    ],
)
def test_options_that_are_wrong_are_refused(options, message):
    with pytest.raises(ValueError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        InContextCurve.measure(untrained(task_of(test_prompts=5)), **options)


@pytest.mark.parametrize("field", ["inputs", "targets"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(field, value):
    snapshot = untrained(task_of(test_prompts=5))
    spoiled = getattr(snapshot.examples, field).clone()
    spoiled[2, 0] = value
    examples = replace(snapshot.examples, **{field: spoiled})
    with pytest.raises(ValueError, match=f"{field} hold NaN or infinity"):
        InContextCurve.measure(snapshot.on(examples))


def test_prompts_of_different_lengths_are_refused():
    snapshot = untrained(task_of(test_prompts=5))
    scored = snapshot.examples.scored.clone()
    scored[0, 0] = False
    with pytest.raises(ValueError, match="all scored at the same number of positions"):
        InContextCurve.measure(snapshot.on(replace(snapshot.examples, scored=scored)))


def test_examples_that_are_no_prompts_are_refused(snapshot):
    with pytest.raises(ValueError, match="InContextCurve needs a task with the constants pairs"):
        InContextCurve.measure(snapshot)


@pytest.mark.parametrize(("name", "message"), [("spline", "no 'spline'"), ("model", "no 'x'")])
def test_an_unknown_curve_or_group_is_refused(name, message):
    result = InContextCurve.measure(untrained(task_of(test_prompts=5)), baselines=["zero"])
    with pytest.raises(ValueError, match=message):
        result.error(name, None if name == "spline" else "x")
