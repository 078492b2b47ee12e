"""Fourier analysis over Z_n: basis, power by frequency, and which frequencies are key.

Functions on Z_n are expanded in the orthonormal real basis 1/sqrt(n), sqrt(2/n) cos(2 pi f x / n),
sqrt(2/n) sin(2 pi f x / n), f = 1..n/2; for even n the last sine vanishes and its cosine has norm
1/sqrt(n) (Nanda et al. 2023, arXiv:2301.05217, use the same). Everything is float64.

Modular multiplication is addition of discrete logarithms; `residue_order` puts residues into the
order in which the operation is addition, and everything else is about addition.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from analyses.statistics import POWER_FLOOR, is_rounding
from hooks import Facts, ModularFacts, Snapshot


def fourier_basis(n: int) -> Float[Tensor, "n n"]:
    """The orthonormal real Fourier basis of Z_n, one function a row.

    Rows are the constant, then cos and sin of frequency 1, 2, ...; for even n the last row is the
    cosine of frequency n/2.

    Raises:
        ValueError: n is below 2.
    """
    if n < 2:
        raise ValueError(f"n = {n}: a Fourier basis needs at least two residues")
    angles = 2 * math.pi * torch.arange(n).outer(torch.arange(n)).remainder(n).double() / n
    rows = torch.empty(n, n, dtype=torch.float64)
    rows[0] = 1 / math.sqrt(n)
    rows[1::2] = math.sqrt(2 / n) * angles.cos()[1 : n // 2 + 1]
    rows[2::2] = math.sqrt(2 / n) * angles.sin()[1 : (n - 1) // 2 + 1]
    if n % 2 == 0:
        rows[-1] /= math.sqrt(2)
    return rows


def frequencies_of_rows(n: int) -> Int[Tensor, " n"]:
    """The frequency of each row of `fourier_basis`: 0, 1, 1, 2, 2, ..."""
    return (torch.arange(n) + 1) // 2


def basis_names(n: int) -> list[str]:
    """Names of the rows of `fourier_basis`: 1, cos 1, sin 1, cos 2, ..."""
    return ["1", *(f"{wave} {f}" for f in range(1, n // 2 + 1) for wave in ("cos", "sin"))][:n]


def frequency_power(weights: Float[Tensor, "*series n d"]) -> Float[Tensor, "*series frequency"]:
    """Squared norm that each frequency carries, frequencies 0..n//2, in the weights' dtype.

    Args:
        weights: One row per residue, in the order in which the operation is addition; any leading
            axes.

    Returns:
        Powers; they sum to the squared norm of the weights. Entry 0 is the constant.
    Source:
        Nanda et al. 2023, section 4.1; they plot norms, these are squared norms.
    """
    n = weights.shape[-2]
    basis = fourier_basis(n).to(weights)
    stacked = weights.flatten(0, -3) if weights.ndim > 2 else weights[None]
    # One product a matrix stays in the processor's cache; a batched one is slower.
    components = torch.stack([(basis @ matrix).square().sum(-1) for matrix in stacked])
    power = components.new_zeros(len(stacked), n // 2 + 1).index_add(
        1, frequencies_of_rows(n).to(components.device), components
    )
    return power.reshape(*weights.shape[:-2], n // 2 + 1)


def without_rounding(
    power: Float[Tensor, "*series frequency"],
) -> Float[Tensor, "*series frequency"]:
    """Powers, with 0 at frequencies 1, 2, ... of weights that vary by rounding alone.

    What counts as rounding depends on the largest power of all weights, the constant's included:
    equal weights, and neurons that read nothing, have no frequency.

    Args:
        power: As `frequency_power` gives it.
    """
    is_flat = is_rounding(power[..., 1:].sum(-1), power.sum(-1))
    constant = torch.arange(power.shape[-1], device=power.device) == 0
    return power.where(~is_flat[..., None] | constant, 0.0)


def frequency_shares(power: Float[Tensor, "*series frequency"]) -> Float[Tensor, "*series rest"]:
    """Share of the power of frequencies 1, 2, ... (the constant excluded); NaN where all are 0."""
    return power[..., 1:] / power[..., 1:].sum(-1, keepdim=True)


def best_frequencies(
    powers: Float[Tensor, "frequency neuron"],
) -> tuple[Int[Tensor, " neuron"], Float[Tensor, " neuron"], Float[Tensor, " neuron"]]:
    """Each neuron's strongest frequency, that frequency's share, and the participation ratio.

    The inverse participation ratio of shares s_f is sum s_f^2: 1 for a single frequency, and
    2 / (n - 1) for power spread evenly over those of an odd n.

    Args:
        powers: Squared sizes at frequencies 1, 2, ...

    Returns:
        Frequency 0, and NaN shares and ratios, for a silent neuron, which has no power.
    Source:
        Gromov 2023 (arXiv:2301.02679) sums |c_k|^4 over single coefficients, where a wave has two;
        here cosine and sine are taken together, so that the phase does not matter.
    """
    shares = powers / powers.sum(0)
    share, best = shares.max(0)
    return torch.where(share.isnan(), -1, best) + 1, share, shares.square().sum(0)


def keys_by_share(shares: Float[Tensor, " rest"], share: float = 0.9) -> tuple[int, ...]:
    """The fewest frequencies whose shares reach `share` together, strongest first.

    Raises:
        ValueError: share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share = {share}: give a share above 0 and at most 1")
    order = shares.argsort(descending=True, stable=True)
    reached = shares[order].cumsum(0) >= share - 1e-12
    count = int(reached.int().argmax()) + 1 if bool(reached.any()) else 0
    return tuple((order[:count] + 1).tolist())


def keys_by_median(power: Float[Tensor, " frequency"], factor: float = 10) -> tuple[int, ...]:
    """Frequencies with more than `factor` times the median power, strongest first.

    A power that is rounding beside the largest is none of them, however small the median is.
    """
    rest = power[1:]
    least = torch.maximum(factor * rest.quantile(0.5), POWER_FLOOR * power.max())
    strong = (rest > least).nonzero()[:, 0]
    return tuple((strong[rest[strong].argsort(descending=True, stable=True)] + 1).tolist())


def keys_by_vote(best: Int[Tensor, " neuron"]) -> tuple[int, ...]:
    """Every frequency that is some neuron's best, the most often named first.

    A neuron with frequency 0 has none, and no vote. Nanda et al.'s released code; without a
    threshold it lists noise for untrained models. Their scan leaves out the last frequency; this
    one does not.
    """
    named, votes = best[best > 0].unique(return_counts=True)
    return tuple(named[votes.argsort(descending=True, stable=True)].tolist())


def residue_order(operation: str, p: int) -> tuple[Tensor, Tensor, Tensor]:
    """Orders of a, b and c in which an operation modulo p is addition modulo their length.

    Entry i of an order is the residue that stands for i: with x = a_i, y = b_j, the answer is c_k
    for k = i + j. Addition keeps the natural order, subtraction runs b backwards, multiplication
    lists powers of a primitive root and leaves out 0.

    Returns:
        Orders of a, b and c; p long, or p - 1 for multiplication.

    Raises:
        ValueError: The operation is no group: sums of squares, or products for composite p.
    """
    residues = torch.arange(p)
    if operation == "multiply":
        residues = torch.tensor(_powers_of_primitive_root(p))
    elif operation not in ("add", "subtract"):
        raise ValueError(
            f"no wave fits operation '{operation}': it is no group operation modulo {p}"
        )
    return residues, -residues % p if operation == "subtract" else residues, residues


def orders_of(facts: Facts) -> tuple[Tensor, Tensor, Tensor]:
    """Orders of a, b and c by `residue_order`, for the operation that a task's facts name.

    Raises:
        ValueError: No wave fits the operation, or the task is no modular arithmetic.
    """
    return residue_order(facts(ModularFacts).operation, facts(ModularFacts).p)


def residue_embedding(snapshot: Snapshot) -> Float[Tensor, "residue d_model"]:
    """Rows of W_E, one a residue, in the order in which the operation is addition, in float64."""
    return snapshot.weights("W_E").double().cpu()[orders_of(snapshot.examples.facts)[0]]


def class_writes(snapshot: Snapshot) -> Float[Tensor, "residue neuron"]:
    """What each neuron adds to each class' logit, classes in the order of answers, in float64."""
    return snapshot.weights("neuron_out").double().cpu()[:, orders_of(snapshot.examples.facts)[2]].T


@lru_cache
def _powers_of_primitive_root(p: int) -> tuple[int, ...]:
    """Powers 0, 1, ..., p - 2 of the least primitive root modulo p: every residue but 0."""
    for root in range(1, p):
        powers = [pow(root, exponent, p) for exponent in range(p - 1)]
        if sorted(powers) == list(range(1, p)):
            return tuple(powers)
    raise ValueError(f"no wave fits multiplication modulo {p}: products need a prime modulus")


def keep_frequencies(
    weights: Float[Tensor, "residue d"], frequencies: Sequence[int], *, order: Int[Tensor, " n"]
) -> Float[Tensor, "residue d"]:
    """Weights with every frequency removed but the given ones and the constant.

    Args:
        weights: One row per token; rows that `order` does not name stay as they are.
        frequencies: What to keep, each 1..n//2.
        order: Residues in the order in which the operation is addition.
    """
    n = len(order)
    is_kept = torch.isin(frequencies_of_rows(n), torch.tensor([0, *frequencies]))
    basis = fourier_basis(n)[is_kept]
    return weights.index_copy(0, order, (basis.T @ (basis @ weights[order].double())).to(weights))


def drop_frequencies(
    weights: Float[Tensor, "residue d"], frequencies: Sequence[int], *, order: Int[Tensor, " n"]
) -> Float[Tensor, "residue d"]:
    """Weights with the given frequencies removed and everything else kept."""
    others = set(range(1, len(order) // 2 + 1)) - set(frequencies)
    return keep_frequencies(weights, sorted(others), order=order)


def transform_2d(grid: Float[Tensor, "n n *rest"]) -> Float[Tensor, "n n *rest"]:
    """Coefficients of functions of two residues in products of basis functions.

    Cost is two products with an n x n matrix: 4 n^3 operations a function.
    """
    n = grid.shape[0]
    basis = fourier_basis(n).to(grid)
    half = rearrange(basis @ grid.reshape(n, -1), "i (b z) -> i b z", b=n)
    return (basis @ half).reshape(grid.shape)
