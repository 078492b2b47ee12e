"""What is the best prediction from examples, for a mixture of function classes that is known?

Where a class is linear in known features with Gaussian coefficients, two things are known exactly
from the pairs seen so far: the posterior of its coefficients, and the evidence, the density of the
y given the x. A sparse class is a mixture of its supports (and of signs, where coefficients are 1
and -1). The Bayes predictor weighs every component's prediction by its prior times its evidence.

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

from analyses.in_context.baselines import X, Y
from hooks.facts import LinearPrior, Prior, WavePrior

JITTER = 1e-3  # least standard deviation of the noise: noiseless evidence is 0 or infinite
MAX_COMPONENTS = 2000  # components of one class
MAX_NUMBERS = 2**22  # numbers in the covariances that are held at a time


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
    classes = [of_class for of_class in prior if of_class.weight > 0]
    parts = [_class_predictions(x, y, of_class, max(noise, JITTER)) for of_class in classes]
    means, evidences = (torch.stack(part) for part in zip(*parts, strict=True))
    priors = means.new_tensor([math.log(of_class.weight) for of_class in classes])
    return (torch.softmax(evidences + priors[:, None, None], dim=0) * means).sum(0)


def components_of(prior: Prior, d: int) -> int:
    """How many Gaussians a class of functions of d inputs is a mixture of."""
    if isinstance(prior, WavePrior):
        return 1
    signs = 2**prior.nnz if prior.law == "sign" else 1
    return math.comb(_active(prior, d), prior.nnz) * signs


def is_enumerable(prior: Sequence[Prior], d: int) -> bool:
    """Whether every class of a prior has few enough components."""
    return all(components_of(of_class, d) <= MAX_COMPONENTS for of_class in prior)


def _class_predictions(x: X, y: Y, prior: Prior, noise: float) -> tuple[Y, Y]:
    """A class' posterior means, and for each the log evidence of the pairs before it."""
    count = components_of(prior, x.shape[2])
    if count > MAX_COMPONENTS:
        raise ValueError(
            f"bayes: a class has {count} components, more than {MAX_COMPONENTS}: leave bayes out"
        )
    features, coefficients = _features(x, prior)
    size = max(1, MAX_NUMBERS // (count * coefficients.shape[-1] ** 2))
    has_signs = getattr(prior, "law", "normal") == "sign"
    variance = 0.0 if has_signs else prior.scale**2  # of a coefficient once its component is known
    parts = [
        _conditioned(rows, values, coefficients, variance, noise)
        for rows, values in zip(features.split(size), y.split(size), strict=True)
    ]
    mean, evidence = (torch.cat(part) for part in zip(*parts, strict=True))
    weights = torch.softmax(evidence, dim=2)  # before any pair all components are equally likely
    return (weights * mean).sum(2), evidence.logsumexp(2) - math.log(count)


def _features(x: X, prior: Prior) -> tuple[Tensor, Tensor]:
    """Features `[prompt, pair, component, feature]` and coefficients' means before any pair."""
    if isinstance(prior, WavePrior):
        turned = prior.frequency * x
        return torch.cat([turned.sin(), turned.cos()], dim=2)[:, :, None], x.new_zeros(1, 2)
    places = torch.tensor(
        list(combinations(range(_active(prior, x.shape[2])), prior.nnz)), device=x.device
    )
    if prior.law == "normal":
        return x[:, :, places], x.new_zeros(places.shape)
    signs = prior.scale * x.new_tensor(list(product((-1.0, 1.0), repeat=prior.nnz)))
    return x[:, :, places.repeat_interleave(len(signs), dim=0)], signs.repeat(len(places), 1)


def _active(prior: LinearPrior, d: int) -> int:
    """How many of d inputs have coefficients."""
    return d if prior.active is None else prior.active


def _conditioned(
    features: Float[Tensor, "prompt pair component feature"],
    y: Y,
    means: Float[Tensor, "component feature"],
    variance: float,
    noise: float,
) -> tuple[Tensor, Tensor]:
    """Each component's predictions, and for each the log evidence of the pairs before it."""
    n_prompts, n_pairs = y.shape
    m = means.expand(n_prompts, -1, -1)
    P = (variance * torch.eye(means.shape[1]).to(y)).expand(n_prompts, len(means), -1, -1)
    evidence, predicted, evidences = y.new_zeros(n_prompts, len(means)), [], []
    for k in range(n_pairs):
        f = features[:, k]
        Pf = (P @ f[..., None])[..., 0]
        mean, S = (f * m).sum(2), (f * Pf).sum(2) + noise**2
        predicted.append(mean)
        evidences.append(evidence)
        surprise = y[:, k, None] - mean
        evidence = evidence - (surprise**2 / S + (2 * math.pi * S).log()) / 2
        m = m + Pf * (surprise / S)[..., None]
        P = P - Pf[..., :, None] * Pf[..., None, :] / S[..., None, None]
    return torch.stack(predicted, dim=1), torch.stack(evidences, dim=1)
