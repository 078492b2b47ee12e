"""Predictions of simple learners, and of learners fitted to each prompt."""

import math

import pytest
import torch
from sklearn.linear_model import Lasso, Ridge
from torch.testing import assert_close

from analyses.in_context.baselines import (
    BASELINES,
    averaging,
    joint_ridge,
    lasso,
    lasso_weights,
    least_squares,
    nearest,
    ridge,
    zero,
)
from analyses.in_context.fitted_baselines import FITTED, boosted_trees, greedy_tree, network
from tests.analyses.in_context.linear_prompts import errors, linear_prompts


def test_least_squares_of_smallest_norm_leaves_one_minus_k_over_d():
    d, count = 10, 4000
    x, y, _ = linear_prompts(count, 21, d)
    found = errors(least_squares(x, y), y)
    expected = torch.tensor([max(0.0, 1 - k / d) for k in range(21)]).double()
    assert_close(found, expected, atol=0.08, rtol=0)  # 3.3 deviations of |y|^2 over 4,000 prompts
    assert found[d:].max() < 1e-9


def test_least_squares_projects_the_coefficients_on_the_inputs_seen():
    x, y, w = linear_prompts(5, 4, 6)
    basis = torch.linalg.qr(x[:, :3].transpose(1, 2)).Q
    projected = torch.einsum("nde,nfe,nf->nd", basis, basis, w)
    assert_close(least_squares(x, y)[:, 3], (projected * x[:, 3]).sum(1))


def test_averaging_has_its_closed_form_error():
    d, count, k = 5, 60_000, 8
    x, y, _ = linear_prompts(count, k + 1, d)
    # E|mean(y x) - w|^2 for Gaussian inputs is (d + 1) |w|^2 / k, and E|w|^2 is 1.
    assert errors(averaging(x, y), y)[k] == pytest.approx((d + 1) / k, rel=0.04)


@pytest.mark.parametrize("penalty", [0.01, 3.0])
def test_ridge_is_scikit_learns(penalty):
    x, y, _ = linear_prompts(3, 9, 4, noise=0.3)
    found = ridge(x, y, penalty)
    for k in (1, 3, 8):
        for prompt in range(3):
            fitted = Ridge(alpha=penalty, fit_intercept=False).fit(x[prompt, :k], y[prompt, :k])
            assert found[prompt, k] == pytest.approx(float(fitted.predict(x[prompt, k : k + 1])[0]))


def test_ridge_without_a_penalty_to_speak_of_is_least_squares():
    x, y, _ = linear_prompts(20, 8, 4)
    assert_close(ridge(x, y, 1e-9)[:, :4], least_squares(x, y)[:, :4], atol=1e-3, rtol=0)


def test_joint_ridge_is_ridge_where_inputs_are_the_only_features():
    x, y, _ = linear_prompts(5, 8, 3, noise=0.1)
    assert torch.equal(joint_ridge(x, y, 0.2), ridge(x, y, 0.2))


@pytest.mark.parametrize("linear", [True, False])
def test_joint_ridge_is_scikit_learns_on_inputs_and_waves(linear):
    x, y, _ = linear_prompts(2, 9, 1, noise=0.3)
    found = joint_ridge(x, y, 0.3, linear=linear, frequencies=(3.0, 5.0))
    waves = [wave(f * x) for f in (3.0, 5.0) for wave in (torch.sin, torch.cos)]
    features = torch.cat([x, *waves] if linear else waves, dim=2)
    for prompt in range(2):
        fitted = Ridge(alpha=0.3, fit_intercept=False).fit(features[prompt, :8], y[prompt, :8])
        expected = float(fitted.predict(features[prompt, 8:])[0])
        assert found[prompt, 8] == pytest.approx(expected)


@pytest.mark.parametrize("penalty", [0.3, 0.03, 0.001])
@pytest.mark.parametrize("k", [3, 12])
def test_lasso_meets_its_optimality_conditions(penalty, k):
    x, y, _ = linear_prompts(40, k, 8, nnz=2, noise=0.1)
    gram, moment = x.transpose(1, 2) @ x / k, torch.einsum("nkd,nk->nd", x, y) / k
    w = lasso_weights(gram, moment, penalty)
    slope = moment - torch.einsum("nde,ne->nd", gram, w)  # minus the smooth part's gradient
    assert_close(slope[w != 0], penalty * w[w != 0].sign(), atol=1e-7, rtol=0)
    assert slope.abs().max() <= penalty + 1e-7


def test_lasso_is_scikit_learns():
    x, y, _ = linear_prompts(4, 13, 8, nnz=2, noise=0.1)
    found = lasso(x, y, 0.02)
    for prompt in range(4):
        fitted = Lasso(alpha=0.02, fit_intercept=False, tol=1e-10).fit(
            x[prompt, :12], y[prompt, :12]
        )
        expected = float(fitted.predict(x[prompt, 12:])[0])
        assert found[prompt, 12] == pytest.approx(expected, abs=1e-5)


def test_lasso_beats_least_squares_on_sparse_functions():
    x, y, _ = linear_prompts(300, 11, 20, nnz=2)
    found, plain = (errors(each(x, y), y)[10] for each in (lasso, least_squares))
    assert found < 0.5 * plain


def test_an_input_that_is_always_zero_gets_no_coefficient():
    x, y, _ = linear_prompts(5, 6, 3)
    x = torch.cat([x, torch.zeros_like(x[..., :1])], dim=2)
    assert lasso(x, y).isfinite().all()


def test_nearest_neighbours_are_averaged():
    x = torch.tensor([[[0.0], [1.0], [2.0], [10.0], [1.4]]]).double()
    y = torch.tensor([[1.0, 2.0, 6.0, 100.0, 0.0]]).double()
    assert nearest(x, y, 2)[0].tolist() == [0, 1, 1.5, 4, 4]
    assert nearest(x, y, 1)[0, -1] == 2


def test_one_neighbour_repeats_an_input_that_came_before():
    x, y, _ = linear_prompts(5, 6, 3)
    x[:, 5], y[:, 5] = x[:, 2], y[:, 2]
    assert_close(nearest(x, y, 1)[:, 5], y[:, 5])


@pytest.mark.parametrize("name", [*BASELINES, *FITTED])
def test_later_pairs_and_the_answer_itself_are_not_seen(name):
    predict = (BASELINES | FITTED)[name]
    x, y, _ = linear_prompts(3, 6, 2)
    changed_x, changed_y = x.clone(), y.clone()
    changed_x[:, 4:] += 1
    changed_y[:, 3:] -= 1
    assert_close(predict(changed_x, changed_y)[:, :4], predict(x, y)[:, :4])


@pytest.mark.parametrize("name", [*BASELINES, *FITTED])
def test_without_examples_all_answer_zero(name):
    x, y, _ = linear_prompts(3, 4, 2)
    assert not (BASELINES | FITTED)[name](x, y)[:, 0].any()


def test_zero_is_zero():
    x, y, _ = linear_prompts(3, 4, 2)
    assert not zero(x, y).any()


def test_a_greedy_tree_repeats_what_it_was_fitted_to():
    x, y, _ = linear_prompts(4, 6, 3)
    x[:, 5], y[:, 5] = x[:, 2], y[:, 2]
    assert_close(greedy_tree(x, y)[:, 5], y[:, 5])


def test_more_trees_fit_better():
    x, y, _ = linear_prompts(4, 6, 3)
    x[:, 5], y[:, 5] = x[:, 2], y[:, 2]
    few, many = (errors(boosted_trees(x, y, trees), y)[5] for trees in (2, 100))
    assert many < 0.01 * few


def test_a_network_learns_a_linear_function_of_many_examples():
    x, y, _ = linear_prompts(20, 31, 2)
    found = errors(network(x, y), y)
    assert found[30] < 0.05 * float(y.square().mean())


def test_networks_train_as_if_alone():
    x, y, _ = linear_prompts(3, 5, 2)
    assert_close(network(x, y, 20)[:1], network(x[:1], y[:1], 20))


@pytest.mark.parametrize(
    ("predict", "number", "message"),
    [
        (ridge, 0.0, "ridge:0.0: the penalty must lie above 0"),
        (lasso, -1.0, "lasso:-1.0: the penalty must lie above 0"),
        (lasso, math.nan, "lasso:nan: the penalty must lie above 0"),
        (nearest, 0, "nearest:0: at least 1 neighbour"),
        (ridge, math.inf, "ridge:inf: the penalty must lie above 0 and be finite"),
        (lasso, math.inf, "lasso:inf: the penalty must lie above 0 and be finite"),
        (joint_ridge, -1.0, "joint_ridge:-1.0: the penalty must lie above 0"),
        (network, -1, "network:-1: at least 1 step is needed"),
        (boosted_trees, 0, "boosted_trees:0: at least 1 tree is needed"),
    ],
)
def test_numbers_out_of_range_are_refused(predict, number, message):
    with pytest.raises(ValueError, match=message):
        predict(*linear_prompts(2, 3, 2)[:2], number)


@pytest.mark.parametrize("nnz", [1, 2, 4])
def test_lasso_on_fewer_pairs_than_inputs_never_costs_more_than_zero(nnz):
    """At the minimum penalty |w|_1 is at most the cost of w = 0, |y|^2 / 2k."""
    drawing = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 2, 4, generator=drawing, dtype=torch.float64)
    w = torch.randn(20_000, 4, 1, generator=drawing, dtype=torch.float64)
    w[:, nnz:] = 0
    y = (x @ w)[..., 0]
    gram, moment = x.mT @ x / 2, (x.mT @ y[..., None])[..., 0] / 2
    found = lasso_weights(gram, moment, 0.01)
    assert (0.01 * found.abs().sum(1) <= y.square().sum(1) / 4 + 1e-9).all()
