"""Prompts as baselines see them: how they are grouped, which answers count, what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses import InContextCurve
from analyses.in_context.prompts import most_frequent, prompts_of
from hooks import Snapshot, build
from hooks.edit import with_weights
from tests.analyses.in_context.prompted import MIXED, task_of, untrained
from tests.planted import config_for


def test_classes_are_told_apart():
    result = InContextCurve.measure(untrained(task_of(**MIXED)))
    assert result.groups == ("dense", "sparse")
    assert result.prompts.sum() == 400
    assert result.error("lasso", "sparse")[2] < result.error("lasso", "dense")[2]


@pytest.mark.parametrize(
    ("split", "groups"),
    [
        ("scale", ("dense, scale 0.3", "dense, scale 3", "sparse, scale 0.3", "sparse, scale 3")),
        ("sparsity", ("nnz 1", "nnz 2", "nnz 3")),
        ("combination", ("alpha 0", "alpha 0.5", "alpha 1")),
    ],
)
def test_prompts_of_other_splits_are_grouped_by_what_tells_them_apart(split, groups):
    snapshot = untrained(task_of(**MIXED, alphas=[0, 0.5, 1], scales=[0.3, 3]), split)
    assert InContextCurve.measure(snapshot, baselines=["zero"]).groups == groups


def test_groups_of_two_labels_hold_the_prompts_of_both():
    examples = task_of(**MIXED).examples("scale", None, 0)
    rows = prompts_of(examples, "class, scale").groups["sparse, scale 3"]
    expected = (examples.label("class") == 1) & (examples.label("scale") == 3)
    assert rows.tolist() == expected.nonzero()[:, 0].tolist()


def test_one_class_alone_is_not_told_apart():
    result = InContextCurve.measure(untrained(task_of(), "scale"), baselines=[])
    assert result.groups == ("scale 0.3", "scale 1", "scale 3", "scale 10")


@pytest.mark.parametrize("rare", [0.01, 0.5])
def test_slow_baselines_are_given_as_many_prompts_of_each_class(rare):
    task = task_of(**MIXED, weights=[1 - rare, rare], test_prompts=1000)
    pairs = prompts_of(task.examples("test", None, 0), None)
    given = pairs.given("greedy_tree")
    rows = pairs.groups["sparse"]
    assert given[rows].nonzero()[:, 0].tolist() == list(range(min(25, len(rows))))
    assert given.sum() == 25 + min(25, len(rows))


def test_of_many_groups_a_slow_baseline_is_given_one_prompt_each():
    task = task_of(d=60, test_prompts=120)
    pairs = prompts_of(task.examples("sparsity", None, 0), None)
    given = pairs.given("network:3")
    assert [int(given[rows].sum()) for rows in pairs.groups.values()] == [1] * 60


def test_a_label_can_be_asked_for():
    result = InContextCurve.measure(untrained(task_of(**MIXED), "scale"), baselines=[], by="class")
    assert (result.by, result.groups) == ("class", ("dense", "sparse"))


def test_a_single_class_gives_its_name():
    of_two = untrained(task_of(**MIXED, weights=[0, 1]))
    for snapshot, name in ((untrained(task_of()), "dense"), (of_two, "sparse")):
        result = InContextCurve.measure(snapshot, baselines=[])
        assert (result.by, result.groups) == ("", (name,))


def test_where_answers_are_classes_errors_are_shares_of_wrong_ones():
    examples = task_of().examples("test", None, 0)
    sizes = task_of().sizes.model_copy(update={"d_vocab_out": 2})
    snapshot = Snapshot.of(build(config_for(sizes), sizes, seed=0), examples).edited(
        with_weights({"unembed.W_U": torch.zeros(8, 2), "unembed.b_U": torch.tensor([1.0, 0])})
    )
    classes = replace(examples, targets=(examples.targets > 0).long())
    result = InContextCurve.measure(snapshot.on(classes))
    expected = (classes.targets[:, ::2] != 0).double().mean(0)  # always class 0
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
    found = prompts_of(replace(examples, scored=scored), None)
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
        ({"baselines": ["ridge:inf"]}, "ridge:inf: the penalty must lie above 0 and be finite"),
        ({"by": "class, depth"}, "labels has no 'class'"),
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
    with pytest.raises(ValueError, match=f"{field} hold NaN or infinity"):
        InContextCurve.measure(snapshot.on(replace(snapshot.examples, **{field: spoiled})))


def test_prompts_of_different_lengths_are_refused():
    snapshot = untrained(task_of(test_prompts=5))
    scored = snapshot.examples.scored.clone()
    scored[0, 0] = False
    with pytest.raises(ValueError, match="all scored at the same number of positions"):
        InContextCurve.measure(snapshot.on(replace(snapshot.examples, scored=scored)))


def test_examples_that_are_no_prompts_are_refused(snapshot):
    with pytest.raises(ValueError, match="InContextCurve needs a task with the facts PromptFacts"):
        InContextCurve.measure(snapshot)


@pytest.mark.parametrize(("name", "message"), [("spline", "no 'spline'"), ("model", "no 'x'")])
def test_an_unknown_curve_or_group_is_refused(name, message):
    result = InContextCurve.measure(untrained(task_of(test_prompts=5)), baselines=["zero"])
    with pytest.raises(ValueError, match=message):
        result.error(name, None if name == "spline" else "x")
