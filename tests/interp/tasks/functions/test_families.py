"""What each family of functions draws: values of variance one, coefficients, leaves and waves."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from interp.randomness import generator
from interp.tasks.functions.families import InputLaw, Sinusoid, supports
from interp.tasks.functions.function_classes import FunctionClasses
from tests.interp.tasks.prompts import pairs_of, solved, task_of

FAMILIES = {
    "dense": ({"family": "dense"}, {"d": 5}),
    "sparse": ({"family": "sparse", "nnz": 2}, {"d": 5}),
    "signs": ({"family": "sparse", "nnz": 2, "coefficients": "sign"}, {"d": 5}),
    "network": ({"family": "relu_network", "hidden": 30}, {"d": 5}),
    "tree": ({"family": "decision_tree", "depth": 3}, {"d": 5}),
    "wave": ({"family": "sinusoid"}, {"d": 1}),
    "slow wave": (
        {"family": "sinusoid", "frequency": [0.3, 2], "phase": [0, 0.5], "amplitude": "normal"},
        {"d": 1},
    ),
    "sine of size 1": (
        {"family": "sinusoid", "frequency": [1, 1], "phase": [0, 0], "amplitude": "one"},
        {"d": 1, "inputs": {"law": "uniform", "scale": 2}},
    ),
    "uniform inputs": ({"family": "dense"}, {"d": 5, "inputs": {"law": "uniform", "scale": 3}}),
}


@pytest.mark.parametrize(("family", "options"), FAMILIES.values(), ids=FAMILIES)
def test_values_have_variance_one(family, options):
    _, y = pairs_of(task_of(classes=[family], **options), 40_000)
    means = y.square().mean(1)
    assert means.mean() == pytest.approx(1, abs=4 * float(means.std()) / 200)  # 4 deviations
    assert y.mean() == pytest.approx(0, abs=0.03)


def test_raw_values_have_the_variance_of_their_law():
    _, y = pairs_of(task_of(d=5, unit_variance=False), 40_000)
    assert y.square().mean() == pytest.approx(5, abs=0.15)


def test_a_dense_function_is_one_vector_of_coefficients():
    x, y = pairs_of(task_of(d=5))
    found = solved(x[:, :6], y[:, :6])
    assert_close(torch.einsum("nkd,nd->nk", x, found), y, atol=1e-3, rtol=0)  # drawn in float32


def test_coefficients_of_a_dense_function_are_normal():
    found = solved(*pairs_of(task_of(d=5), 4000)).flatten() * math.sqrt(5)
    kurtosis = (found**4).mean() / found.square().mean() ** 2
    assert found.var() == pytest.approx(1, abs=0.05)
    assert kurtosis == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("nnz", [1, 3, 5])
def test_a_sparse_function_has_so_many_coefficients(nnz):
    found = solved(*pairs_of(task_of(d=5, classes=[{"family": "sparse", "nnz": nnz}])))
    assert ((found.abs() > 1e-4).sum(1) == nnz).float().mean() > 0.99  # one may be that small


def test_signs_are_coefficients_of_one_size():
    task = task_of(d=5, classes=[{"family": "sparse", "nnz": 2, "coefficients": "sign"}])
    found = solved(*pairs_of(task)).abs().sort(dim=1).values
    expected = torch.tensor([0, 0, 0, 0.5**0.5, 0.5**0.5]).double()
    assert_close(found, expected.expand(400, 5), atol=1e-3, rtol=0)


def test_every_place_is_alike_likely_in_a_support():
    drawn = supports(torch.full((6000,), 2), 6, generator(0)).double().mean(0)
    assert_close(drawn, torch.full((6,), 2 / 6).double(), atol=0.03, rtol=0)


def test_a_tree_answers_by_signs_alone():
    family = FunctionClasses.model_validate(
        {"d": 2, "classes": [{"family": "decision_tree", "depth": 4}]}
    ).classes[0]
    x = torch.randn(300, 30, 2, generator=generator(0))
    first, second = (family.draw(each, generator(1)) for each in (x, 7 * x))
    assert torch.equal(first, second)
    assert max(len(set(row)) for row in first.tolist()) == 4  # two inputs have four signs


def test_a_tree_of_depth_one_has_two_leaves():
    _, y = pairs_of(task_of(d=5, classes=[{"family": "decision_tree", "depth": 1}]))
    assert {len(set(row)) for row in y.tolist()} <= {1, 2}


def test_a_network_grows_with_its_input():
    family = task_of(d=3, classes=[{"family": "relu_network", "hidden": 7}]).classes[0]
    x = torch.randn(20, 6, 3, generator=generator(0))
    one, two = (family.draw(each, generator(1)) for each in (x, 2 * x))
    assert_close(two, 2 * one)


def test_a_wave_is_a_sine_and_a_cosine_of_its_frequency():
    x, y = pairs_of(task_of(d=1, classes=[{"family": "sinusoid", "frequency": [2.5, 2.5]}]))
    features = torch.cat([(2.5 * x).sin(), (2.5 * x).cos()], dim=2)
    found = solved(features[:, :6], y[:, :6])
    assert_close(torch.einsum("nkd,nd->nk", features, found), y, atol=1e-3, rtol=0)


@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_the_mean_cosine_is_that_of_drawn_inputs(law):
    inputs = InputLaw(law=law, scale=1.7)
    drawn = inputs.draw((400_000,), generator(0)).double()
    frequency = torch.tensor([0.5, 1.3]).double()
    expected = (frequency[:, None] * drawn).cos().mean(1)
    assert_close(inputs.mean_cosine(frequency), expected, atol=5e-3, rtol=0)
    assert drawn.square().mean() == pytest.approx(inputs.second_moment, rel=0.01)


@pytest.mark.parametrize(
    "option", [{"frequency": (2, 1)}, {"phase": (1, 0)}, {"frequency": (0, 1)}]
)
def test_ranges_of_a_wave_ascend_from_above_zero(option):
    with pytest.raises(ValidationError, match=next(iter(option))):
        Sinusoid.model_validate(option)
