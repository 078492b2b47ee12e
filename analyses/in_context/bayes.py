"""The best that can be predicted from examples, for a mixture of function classes that is known.

Where a class is linear in known features with Gaussian coefficients, what the pairs seen so far say
of it is exact: the posterior of its coefficients, and the evidence, the density of the y given the
x. A sparse class is a mixture of its supports (and of signs, where coefficients are 1 and -1). The
Bayes predictor weighs every component's prediction by its prior times its evidence.

    S = f P f + noise^2    m <- m + P f (y - f m) / S    P <- P - P f f P / S

Source: Kalman's recursion for constant coefficients, which is exact Gaussian conditioning one pair
at a time; the mixture as a reference for Yadlowsky et al. 2023 (arXiv:2311.00871) is ours.
"""

import math
from collections.abc import Sequence
from itertools import combinations, product

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.facts import LinearPrior, Prior, WavePrior

JITTER = 1e-3  # least standard deviation of the noise: noiseless evidence is 0 or infinite
COMPONENTS = 2000  # of one class, at most
NUMBERS = 2**22  # held for a component's covariance at a time

X = Float[Tensor, "prompt pair d"]
Y = Float[Tensor, "prompt pair"]


def bayes_mixture(x: X, y: Y, prior: Sequence[Prior], noise: float) -> Y:
    """Posterior mean of every y_k, given x_k and the pairs before it.

    Args:
        x: Inputs.
        y: Values.
        prior: The classes and the laws of their coefficients, as `FunctionFacts.prior` has them.
        noise: Standard deviation of the noise in y; at least a jitter of 1e-3.

    Raises:
        ValueError: A class has more components than can be enumerated.
    """
    means, logs = [], []
    for each in (known for known in prior if known.weight > 0):
        mean, evidence = _class_predictions(x, y, each, max(noise, JITTER))
        means.append(mean)
        logs.append(evidence + math.log(each.weight))
    weights = torch.softmax(torch.stack(logs), dim=0)
    return (weights * torch.stack(means)).sum(0)


def components_of(each: Prior, d: int) -> int:
    """How many Gaussians a class of functions of d inputs is a mixture of."""
    if isinstance(each, WavePrior):
        return 1
    signs = 2**each.nnz if each.law == "sign" else 1
    return math.comb(_active(each, d), each.nnz) * signs


def is_enumerable(prior: Sequence[Prior], d: int) -> bool:
    """Whether every class of a prior has few enough components."""
    return all(components_of(each, d) <= COMPONENTS for each in prior)


def _class_predictions(x: X, y: Y, each: Prior, noise: float) -> tuple[Y, Y]:
    """A class' posterior means, and the log evidence of the pairs before each."""
    count = components_of(each, x.shape[2])
    if count > COMPONENTS:
        raise ValueError(
            f"bayes: a class has {count} components, more than {COMPONENTS}: leave bayes out"
        )
    features, coefficients = _features(x, each)
    size = max(1, NUMBERS // (count * coefficients.shape[-1] ** 2))
    parts = [
        _conditioned(rows, values, coefficients, _spread(each), noise)
        for rows, values in zip(features.split(size), y.split(size), strict=True)
    ]
    mean, evidence = (torch.cat(part) for part in zip(*parts, strict=True))
    weights = torch.softmax(evidence, dim=2)  # components are alike likely before
    return (weights * mean).sum(2), evidence.logsumexp(2) - math.log(count)


def _features(x: X, each: Prior) -> tuple[Tensor, Tensor]:
    """Features `[prompt, pair, component, feature]` and coefficients' means before any pair."""
    if isinstance(each, WavePrior):
        turned = each.frequency * x
        return torch.cat([turned.sin(), turned.cos()], dim=2)[:, :, None], x.new_zeros(1, 2)
    active = range(_active(each, x.shape[2]))
    places = torch.tensor(list(combinations(active, each.nnz)), device=x.device)
    if each.law == "normal":
        return x[:, :, places], x.new_zeros(places.shape)
    signs = each.scale * x.new_tensor(list(product((-1.0, 1.0), repeat=each.nnz)))
    means = signs.repeat(len(places), 1)
    return x[:, :, places.repeat_interleave(len(signs), dim=0)], means


def _active(each: LinearPrior, d: int) -> int:
    """How many of d inputs have coefficients."""
    return d if each.active is None else each.active


def _spread(each: Prior) -> float:
    """Variance of a coefficient once its component is known."""
    is_sign = isinstance(each, LinearPrior) and each.law == "sign"
    return 0.0 if is_sign else each.scale**2


def _conditioned(
    features: Float[Tensor, "prompt pair component feature"],
    y: Y,
    means: Float[Tensor, "component feature"],
    spread: float,
    noise: float,
) -> tuple[Tensor, Tensor]:
    """Each component's predictions, and the log evidence of the pairs before each."""
    n_prompts, n_pairs = y.shape
    m = means.expand(n_prompts, -1, -1)
    eye = torch.eye(means.shape[1], dtype=y.dtype, device=y.device)
    P = (spread * eye).expand(n_prompts, len(means), -1, -1)
    evidence, predicted, told = y.new_zeros(n_prompts, len(means)), [], []
    for k in range(n_pairs):
        f = features[:, k]
        Pf = (P @ f[..., None])[..., 0]
        mean, S = (f * m).sum(2), (f * Pf).sum(2) + noise**2
        predicted.append(mean)
        told.append(evidence)
        surprise = y[:, k, None] - mean
        evidence = evidence - (surprise**2 / S + (2 * math.pi * S).log()) / 2
        m = m + Pf * (surprise / S)[..., None]
        P = P - Pf[..., :, None] * Pf[..., None, :] / S[..., None, None]
    return torch.stack(predicted, dim=1), torch.stack(told, dim=1)
