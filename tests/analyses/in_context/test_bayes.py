"""The exact posterior mean under a mixture of classes."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch.testing import assert_close

from analyses.in_context.baselines import least_squares, ridge
from analyses.in_context.bayes import JITTER, bayes_mixture, components_of, is_enumerable
from hooks import LinearPrior, WavePrior
from tests.analyses.in_context.linear_prompts import errors, linear_prompts

DENSE = LinearPrior(nnz=4, scale=0.5, weight=0.7)
SPARSE = LinearPrior(nnz=2, scale=0.7, weight=0.3)
SIGNS = LinearPrior(nnz=2, law="sign", scale=0.7, weight=0.4)
LINE = LinearPrior(nnz=1, weight=0.25)
WAVE = WavePrior(frequency=2.5, scale=1.5, weight=0.75)
DENSE_ALONE = replace(DENSE, weight=1.0)
MIXTURES = {
    "dense alone": (4, [DENSE_ALONE]),
    "dense and sparse": (4, [DENSE, SPARSE]),
    "three": (4, [DENSE, SPARSE, SIGNS]),
    "line and wave": (1, [LINE, WAVE]),
}


def components(prior, x):
    """Each component's prior share, design matrix, coefficient mean and variance, one by one."""
    for each in prior:
        if isinstance(each, WavePrior):
            turned = each.frequency * x
            yield each.weight, np.hstack([np.sin(turned), np.cos(turned)]), [0, 0], each.scale
            continue
        places = list(combinations(range(x.shape[1]), each.nnz))
        signs = [[0] * each.nnz]
        if each.law == "sign":
            signs = [[each.scale * s for s in row] for row in ([1, 1], [1, -1], [-1, 1], [-1, -1])]
        share = each.weight / (len(places) * len(signs))
        for place in places:
            for mean in signs:
                yield share, x[:, place], mean, 0.0 if each.law == "sign" else each.scale


def exact_prediction(prior, x, y, k, noise):
    """The posterior mean of y_k by joint densities of all values, Gaussians by SciPy."""
    weights, means = [], []
    for share, design, mean, scale in components(prior, x):
        centre = design @ np.array(mean, dtype=float)
        covariance = scale**2 * design @ design.T + noise**2 * np.eye(len(design))
        seen = covariance[:k, :k]
        density = multivariate_normal(centre[:k], seen).pdf(y[:k]) if k else 1.0
        shift = covariance[k, :k] @ np.linalg.solve(seen, y[:k] - centre[:k]) if k else 0.0
        weights.append(share * density)
        means.append(centre[k] + shift)
    return np.dot(weights, means) / np.sum(weights)


@pytest.mark.parametrize(("d", "prior"), MIXTURES.values(), ids=MIXTURES)
def test_the_bayes_mixture_is_that_of_joint_gaussian_densities(d, prior):
    x, y, _ = linear_prompts(3, 6, d, noise=0.5)
    found = bayes_mixture(x, y, prior, noise=0.4)
    for prompt in range(3):
        own = x[prompt].numpy(), y[prompt].numpy()
        expected = [exact_prediction(prior, *own, k, 0.4) for k in range(6)]
        assert found[prompt].tolist() == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_for_one_dense_class_bayes_is_ridge():
    x, y, _ = linear_prompts(10, 9, 4, noise=0.3)
    found = bayes_mixture(x, y, [DENSE_ALONE], noise=0.3)
    assert_close(found, ridge(x, y, 0.3**2 / 0.5**2))


@pytest.mark.parametrize("nnz", [1, 2])
def test_supports_lie_among_the_active_inputs(nnz):
    """As if the inactive inputs, which are 0 in all prompts, were not there."""
    x, y, _ = linear_prompts(20, 6, 2, nnz=nnz, noise=0.1)
    padded = torch.nn.functional.pad(x, (0, 2))
    prior = [replace(SPARSE, nnz=nnz, active=2), replace(DENSE, nnz=2, active=2)]
    among_two = [replace(each, active=None) for each in prior]
    assert_close(bayes_mixture(padded, y, prior, 0.1), bayes_mixture(x, y, among_two, 0.1))


def test_without_noise_bayes_is_close_to_least_squares():
    x, y, _ = linear_prompts(200, 9, 4)
    found = bayes_mixture(x, y, [DENSE_ALONE], noise=0.0)
    assert_close(errors(found, y), errors(least_squares(x, y), y), atol=1e-2, rtol=0)


def test_bayes_finds_the_sparse_class_at_no_cost():
    x, y, _ = linear_prompts(300, 8, 6, nnz=1)
    sparse = LinearPrior(nnz=1, weight=0.5)
    dense = LinearPrior(nnz=6, scale=6**-0.5, weight=0.5)
    mixed, pure = (
        errors(bayes_mixture(x, y, each, 0.0), y)
        for each in ([sparse, dense], [replace(sparse, weight=1.0)])
    )
    assert mixed[3:].max() < 0.02
    assert pure[2:].max() < 0.02


def test_known_signs_need_no_more_than_one_pair():
    drawing = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, 4, generator=drawing, dtype=torch.double)
    y = 0.7 * (x[..., 1] - x[..., 3])
    found = bayes_mixture(x, y, [replace(SIGNS, weight=1.0)], noise=0.0)
    assert errors(found, y)[1:].max() < 1e-2


def test_prompts_do_not_meet():
    x, y, _ = linear_prompts(7, 5, 4, noise=0.1)
    whole = bayes_mixture(x, y, [DENSE, SPARSE], 0.1)
    assert_close(bayes_mixture(x[2:3], y[2:3], [DENSE, SPARSE], 0.1), whole[2:3])


def test_components_are_supports_and_signs():
    counts = [components_of(each, 4) for each in (DENSE, SPARSE, SIGNS, WAVE)]
    assert counts == [1, 6, 24, 1]
    assert components_of(replace(SPARSE, active=3), 4) == 3


def test_too_many_components_are_refused():
    prior = [replace(SPARSE, nnz=5)]
    assert not is_enumerable(prior, 20)
    with pytest.raises(ValueError, match="15504 components, more than 2000: leave bayes out"):
        bayes_mixture(torch.zeros(1, 2, 20).double(), torch.zeros(1, 2).double(), prior, 0.0)


def test_the_least_noise_is_the_jitter():
    x, y, _ = linear_prompts(4, 6, 4)
    assert_close(
        bayes_mixture(x, y, [DENSE], 0.0), bayes_mixture(x, y, [DENSE], JITTER), atol=0, rtol=0
    )


def test_a_class_of_weight_0_changes_nothing():
    x, y = linear_prompts(5, 6, 4)[:2]
    alone = [DENSE_ALONE]
    both = [*alone, replace(SPARSE, weight=0.0)]
    assert_close(bayes_mixture(x, y, both, 0.1), bayes_mixture(x, y, alone, 0.1))
