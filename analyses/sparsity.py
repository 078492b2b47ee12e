"""How concentrated is a vector? Measures that agree on the ends and differ in between.

All are of magnitudes, over the last axis, and do not change when the vector is scaled.

Source: Hurley and Rickard 2009 (arXiv:0811.4706), table I, for Gini and Hoyer.
"""

import math

from jaxtyping import Float
from torch import Tensor

Vectors = Float[Tensor, "*series entry"]
Scalars = Float[Tensor, "*series"]


def gini(values: Vectors) -> Scalars:
    """Gini coefficient: 0 where all are equal, 1 - 1/n for a single one; NaN for zeros."""
    n = values.shape[-1]
    ranks = 2 * values.new_ones(n).cumsum(0) - n - 1
    magnitudes = values.abs().sort(-1).values
    return (magnitudes * ranks).sum(-1) / (n * magnitudes.sum(-1))


def hoyer(values: Vectors) -> Scalars:
    """(sqrt n - L1/L2) / (sqrt n - 1): 0 where all are equal, 1 for a single one; NaN for zeros.

    NaN also for vectors of one entry.
    """
    root = math.sqrt(values.shape[-1])
    return (root - l1_over_l2(values)) / (values.new_tensor(root) - 1)


def l1_over_l2(values: Vectors) -> Scalars:
    """Sum of magnitudes over Euclidean norm: 1 for a single one, sqrt n where all are equal."""
    return values.abs().sum(-1) / values.norm(dim=-1)


def participation_ratio(values: Vectors) -> Scalars:
    """(sum x^2)^2 / sum x^4: how many entries would share the squared norm alike."""
    power = values.square()
    return power.sum(-1).square() / power.square().sum(-1)


def effective_count(values: Vectors) -> Scalars:
    """Exp of the entropy of shares of the sum of magnitudes: how many would share it alike."""
    shares = values.abs() / values.abs().sum(-1, keepdim=True)
    return (-shares.xlogy(shares).sum(-1)).exp()


MEASURES = {
    "l1_over_l2": l1_over_l2,
    "hoyer": hoyer,
    "gini": gini,
    "participation_ratio": participation_ratio,
    "effective_count": effective_count,
}
