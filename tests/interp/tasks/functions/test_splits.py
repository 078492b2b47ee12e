"""What lies outside of a mixture, and that its ends are the classes themselves."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from analyses.in_context.bayes import bayes_mixture
from hooks import FunctionFacts, MixtureFacts
from interp.tasks.functions.families import Dense, Sparse
from interp.tasks.functions.function_classes import FunctionClasses, by_nnz, cycle, joint_features
from tests.interp.tasks.prompts import solved, task_of

SIGNS = {"family": "sparse", "nnz": 1, "coefficients": "sign"}
DENSE, WAVE = {"family": "dense"}, {"family": "sinusoid"}


def prompts_at(task, split, label, value):
    """x and y of a split's prompts with one value of a label."""
    examples = task.examples(split, None, 0)
    rows = examples.label(label) == value
    return examples.model_inputs[rows, ::2].double(), examples.targets[rows, ::2].double()


def bayes_errors(task, split, label, value, *, alone):
    """By number of examples, of the exact predictor of one class on some of a split's prompts."""
    x, y = prompts_at(task, split, label, value)
    prior = [replace(task.facts(FunctionFacts).prior[alone], weight=1.0)]
    return (bayes_mixture(x, y, prior, 0.0) - y).square().mean(0)


@pytest.mark.parametrize("coefficients", ["sign", "normal"])
@pytest.mark.parametrize(("place", "nnz"), [(0, 4), (1, 1)])
def test_at_both_ends_of_sparsity_bayes_errs_as_it_does_in_class(coefficients, place, nnz):
    classes = [DENSE, SIGNS | {"coefficients": coefficients}]
    task = task_of(d=4, pairs=6, classes=classes, test_prompts=16_000)
    found = bayes_errors(task, "sparsity", "nnz", nnz, alone=place)
    expected = bayes_errors(task, "test", "class", place, alone=place)
    assert_close(found, expected, atol=0.05, rtol=0.05)
    assert expected[0] == pytest.approx(1, abs=0.05)


def test_between_the_ends_coefficients_follow_the_sparse_class():
    task = task_of(d=5, classes=[DENSE, SIGNS], test_prompts=1000)
    for nnz in (1, 2, 3, 4):
        found = solved(*prompts_at(task, "sparsity", "nnz", nnz)).abs()
        assert ((found > 1e-3).sum(1) == nnz).all()
        assert_close(found[found > 1e-3], torch.full_like(found[found > 1e-3], nnz**-0.5))
    dense = solved(*prompts_at(task, "sparsity", "nnz", 5)).abs()
    assert dense.std() > 0.2


def test_each_number_of_coefficients_has_the_first_class_that_has_so_many():
    signs, three = Sparse(nnz=1, coefficients="sign"), Sparse(nnz=3)
    found = by_nnz((signs, three, Sparse(nnz=3, coefficients="sign"), Dense()), 4)
    assert found == (signs, Sparse(nnz=2, coefficients="sign"), three, Dense())
    assert by_nnz((signs,), 2) == (signs, Sparse(nnz=2, coefficients="sign"))
    assert by_nnz((Dense(),), 2) == (Sparse(nnz=1), Dense())


def test_sparsity_stays_within_the_active_inputs():
    task = task_of(d=6, active_inputs=3, test_prompts=90)
    nnz = task.examples("sparsity", None, 0).label("nnz")
    assert nnz.unique().tolist() == [1, 2, 3]
    assert task.facts(MixtureFacts).inside["sparsity"] == (3.0,)


def test_of_few_active_inputs_the_prior_is_the_law_of_the_prompts():
    """In two of four numbers dense least squares is exact after two examples, and so is Bayes."""
    task = task_of(d=4, active_inputs=2, pairs=5, test_prompts=2000)
    examples = task.examples("test", None, 0)
    x, y = examples.model_inputs[:, ::2].double(), examples.targets[:, ::2].double()
    errors = (bayes_mixture(x, y, task.facts(FunctionFacts).prior, 0.0) - y).square().mean(0)
    # y has variance 2 / 4, of which the first of two examples leaves half.
    assert errors.tolist() == pytest.approx([0.5, 0.25, 0, 0, 0], abs=0.03)


def test_values_lead_back_into_the_classes_that_are_trained_on():
    task = {"d": 4, "pairs": 6, "classes": [DENSE, SIGNS]}
    inside = [
        FunctionClasses.model_validate(task | {"weights": weights}).facts(MixtureFacts).inside
        for weights in ([1, 1], [1, 0], [0, 1])
    ]
    assert [each["sparsity"] for each in inside] == [(1.0, 4.0), (4.0,), (1.0,)]
    assert [each["combination"] for each in inside] == [(1.0, 0.0), (1.0,), (0.0,)]
    waves = task_of(d=1, classes=[DENSE, WAVE], weights=[1, 0]).facts(MixtureFacts).inside
    assert (waves["frequency"], waves["scale"]) == ((), (1.0,))


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ([DENSE, SIGNS], (True, ())),
        ([DENSE, WAVE], (True, (3.0,))),
        (
            [WAVE | {"frequency": [5, 5], "amplitude": "one"}, WAVE],
            (False, (3.0, 5.0)),
        ),
        ([DENSE, WAVE | {"frequency": [1, 2]}], (False, ())),
        ([DENSE, {"family": "relu_network"}], (False, ())),
        ([{"family": "decision_tree"}], (False, ())),
    ],
)
def test_joint_features_are_those_in_which_every_class_is_linear(classes, expected):
    task = task_of(d=1, classes=classes)
    assert joint_features(task.classes) == expected
    functions = task.facts(FunctionFacts)
    assert (functions.has_linear_features, functions.wave_features) == expected


def test_prompts_go_through_values_by_turns():
    assert cycle((0.5, 2.0, 3.0), 5).tolist() == [0.5, 2.0, 3.0, 0.5, 2.0]
