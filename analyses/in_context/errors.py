"""Errors of a model and of baselines by number of examples, with their bands."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from analyses.in_context.prompts import Pairs

RESAMPLES = 1000

Curves = Float[np.ndarray, "group curve examples"]


def bootstrap(
    errors: Float[np.ndarray, "prompt examples"], confidence: float
) -> tuple[Float[np.ndarray, " examples"], Float[np.ndarray, " examples"]]:
    """Percentile interval of the mean over prompts, from 1,000 samples with a fixed seed.

    NaN for a single prompt, which says nothing of the others.
    """
    n_prompts = len(errors)
    if n_prompts < 2:
        unknown = np.full(errors.shape[1], np.nan)
        return unknown, unknown
    drawing = np.random.default_rng(0)
    weights = drawing.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), RESAMPLES)
    means = weights @ errors / n_prompts
    outside = (1 - confidence) / 2
    low, high = np.quantile(means, [outside, 1 - outside], axis=0)
    return low, high


def with_bands(
    pairs: Pairs, predicted: Mapping[str, Tensor], confidence: float
) -> tuple[Curves, Curves, Curves]:
    """Mean errors by group and curve, and the ends of their intervals."""
    found = []
    for index in range(len(pairs.groups)):
        errors = [pairs.errors(values, index, name).numpy() for name, values in predicted.items()]
        found.append([(each.mean(0), *bootstrap(each, confidence)) for each in errors])
    mean, low, high = np.moveaxis(np.array(found), 2, 0)
    return mean, low, high


def on_prompts_of(pairs: Pairs, predicted: Tensor, curves: Sequence[str]) -> Curves:
    """The error of one prediction, on the prompts that each of some curves was predicted for."""
    return np.array(
        [
            [pairs.errors(predicted, index, name).numpy().mean(0) for name in curves]
            for index in range(len(pairs.groups))
        ]
    )
