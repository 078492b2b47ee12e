"""Waves of single neurons: what each reads from residues and writes to classes, as complex numbers.

A neuron that reads A cos(w_f x - u) from residue x has the coefficient A sqrt(n/2) exp(iu) at
frequency f, so that a coefficient's size is the wave's and its angle the neuron's phase. Residues
and classes stand in an order in which the operation is addition (`residue_order`). In a
network that adds on circles, phases add too: a neuron that reads a at phase u and b at phase v
writes c at phase u + v, which is 2u where both operands are read in the same way.

Source: phase doubling: "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023); phases
that add, and the inverse participation ratio: Gromov 2023 (arXiv:2301.02679).
"""

import torch
from einops import einsum
from jaxtyping import Complex128, Float, Int
from torch import Tensor

from analyses.fourier import fourier_basis, orders_of
from analyses.requirements import QUERIES
from analyses.statistics import is_rounding, ratio
from hooks import Snapshot


def operand_reads(snapshot: Snapshot) -> Float[Tensor, "operand residue neuron"]:
    """What each neuron reads from each residue of each operand, in float64.

    Operands that are read through the same weights are one. So are the heads of a transformer, as
    if they attended to both operands evenly.
    """
    orders = orders_of(snapshot.examples.facts)
    reads = snapshot.weights("neuron_in").double().cpu()
    if snapshot.has_weights(QUERIES):
        reads = reads.sum(0, keepdim=True)
    return torch.stack([read[order] for read, order in zip(reads, orders, strict=False)])


def coefficients(
    waves: Float[Tensor, "*series residue neuron"],
) -> Complex128[Tensor, "*series frequency neuron"]:
    """Each neuron's coefficient at frequencies 1..n//2: cosine plus i times sine.

    Their squared sizes are the powers of `frequency_power`. A neuron whose wave varies by
    rounding alone, beside the largest wave, has coefficients of 0: it is silent.
    """
    n = waves.shape[-2]
    cosines, sines = fourier_basis(n)[1::2], fourier_basis(n)[2::2]
    even = einsum(cosines, waves.double(), "f x, ... x neuron -> ... f neuron")
    odd = torch.zeros_like(even)
    odd[..., : len(sines), :] = einsum(sines, waves.double(), "f x, ... x neuron -> ... f neuron")
    is_flat = is_rounding((even.square() + odd.square()).sum(-2), waves.double().square().sum(-2))
    return torch.complex(even, odd).masked_fill(is_flat[..., None, :], 0)


def coefficients_at(
    all_coefficients: Complex128[Tensor, "*series frequency neuron"],
    frequency: Int[Tensor, " neuron"],
) -> Complex128[Tensor, "*series neuron"]:
    """Each neuron's coefficient at the frequency given for it; 0 at frequency 0, which is none."""
    row, neuron = (frequency - 1).clamp(min=0), torch.arange(len(frequency))
    return all_coefficients[..., row, neuron].masked_fill(frequency == 0, 0)


def phase_sums(reads: Complex128[Tensor, "operand neuron"]) -> Float[Tensor, " neuron"]:
    """The phase at which each neuron should write: that of a plus that of b."""
    return (reads if len(reads) == 2 else reads[[0, 0]]).angle().sum(0)


def order_parameter(
    reads: Complex128[Tensor, "operand neuron"], writes: Complex128[Tensor, " neuron"]
) -> float:
    """|mean exp i(written phase - sum of read phases)| over neurons: 1 where phases add exactly.

    Of k neurons with random phases it is about 1 / sqrt(k); of a single one always 1.
    """
    apart = writes.angle() - phase_sums(reads)
    return float(torch.polar(torch.ones_like(apart), apart).mean().abs())


def variation(values: Float[Tensor, " n"]) -> float:
    """Standard deviation over mean; NaN where the mean is 0."""
    return ratio(values.std(correction=0), values.mean())


def gap_variation(angles: Float[Tensor, " n"]) -> float:
    """Variation of the gaps between successive angles round the circle: 0 where they are even.

    Of n random angles it is about 1; of a single one 0.
    """
    turned = angles.remainder(2 * torch.pi).sort().values
    return variation(turned.diff(append=turned[:1] + 2 * torch.pi))
