"""What tells a clock from a pizza: three scores of tensors, whatever network they come from.

Gradients by two embeddings agree or differ; the right answer's logit depends on the operands'
difference or does not; principal components of the embedding are waves or are not.

Source: Zhong et al. 2023 (arXiv:2306.17844), and released code (circularity).
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.fourier.basis import frequency_power, frequency_shares
from analyses.rounding import SIZE_FLOOR


def gradient_cosines(
    gradients: Float[Tensor, "triple operand d_model"],
) -> Float[Tensor, " triple"]:
    """Cosine between the gradients by the first and second operand.

    NaN where one is 0, up to rounding beside the largest.

    Source:
        Zhong et al. 2023: gradient symmetricity is their mean over triples.
    """
    norms = gradients.norm(dim=2)
    norms = norms.masked_fill(norms <= SIZE_FLOOR * norms.max(), torch.nan)
    return gradients.prod(1).sum(1) / norms.prod(1)


def by_sum_and_difference(grid: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """A function of two residues by their sum (rows) and difference (columns) modulo n.

    For odd n every cell is one pair. For even n sum and difference have the same parity: a cell is
    the mean of two pairs, or NaN.
    """
    n = len(grid)
    i, j = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    place = ((i + j) % n, (i - j) % n)
    total, count = torch.zeros_like(grid), torch.zeros_like(grid)
    total.index_put_(place, grid.flatten(), accumulate=True)
    return total / count.index_put_(place, torch.ones_like(total[0, 0]), accumulate=True)


def distance_irrelevance(grid: Float[Tensor, "n n"]) -> float:
    """How much of a function's spread is left among pairs of the same difference, in [0, 1].

    The standard deviation over the n pairs of each difference, averaged over differences, over
    that of all pairs (both divide by the number of pairs): 0 for a function of the difference, 1
    for one of the sum if n is odd; NaN for a constant, up to rounding.

    Source:
        Zhong et al. 2023, of raw logits.
    """
    n = len(grid)
    j, d = torch.arange(n)[:, None], torch.arange(n)
    spread = grid.std(correction=0)
    if spread <= SIZE_FLOOR * grid.abs().max():
        return math.nan
    return float(grid[(j + d) % n, j].std(0, correction=0).mean() / spread)


def component_shares(
    embedding: Float[Tensor, "n d_model"], count: int = 4
) -> Float[Tensor, "component frequency"]:
    """Share of each frequency 1, 2, ... in the embedding's first principal components.

    A component is one number a residue. There are fewer than `count` where the embedding has less
    rank: a component below a millionth of its norm is rounding. Components of equal variance are
    mixed arbitrarily: within one frequency that changes nothing, across frequencies it lowers the
    largest share.

    Source:
        Zhong et al. 2023, released code: circularity is the mean of the components' largest shares.
    """
    U, S, _ = torch.linalg.svd(embedding - embedding.mean(0), full_matrices=False)
    rank = int((S / embedding.norm() > 1e-6).sum())
    if rank == 0:
        return embedding.new_zeros(0, len(embedding) // 2)
    components = U.T[: min(count, rank), :, None]
    return frequency_shares(frequency_power(components))


def random_triples(
    answers: Int[Tensor, " pair"], n_classes: int, count: int, seed: int
) -> tuple[Int[Tensor, " triple"], Int[Tensor, " triple"]]:
    """Random pairs, and for each a class drawn from all but its answer, all alike likely."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(answers), (count,), generator=generator)
    steps = torch.randint(1, n_classes, (count,), generator=generator)
    return rows, (answers[rows] + steps) % n_classes
