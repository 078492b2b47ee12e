"""Waves in a network that adds modulo n: of logits, of neurons, of what logits read from neurons.

Grids hold one function of (a, b) for each class or neuron, a and b in an order in which the
operation is addition (`residue_order`), in float64. w_f = 2 pi f / n.

Source: Nanda et al. 2023 (arXiv:2301.05217) and released code.
"""

import math
from collections.abc import Sequence

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.fourier.basis import fourier_basis, frequencies_of_rows, orders_of, transform_2d
from analyses.statistics import is_rounding
from hooks import Examples, ModularFacts, Snapshot
from hooks.examples import token_losses

Grid = Float[Tensor, "n n z"]


def pair_rows(examples: Examples, analysis: str) -> Int[Tensor, "n n"]:
    """The row of each pair among the examples, a and b in an order in which they add.

    Args:
        examples: All p x p pairs, with labels a and b.
        analysis: Who needs them, for the message.

    Raises:
        ValueError: Pairs are missing.
    """
    p, orders = examples.facts(ModularFacts).p, orders_of(examples.facts)
    rows = torch.full((p, p), -1)
    rows[examples.label("a").cpu(), examples.label("b").cpu()] = torch.arange(len(examples))
    if bool((rows < 0).any()):
        raise ValueError(
            f"{analysis} needs all {p * p} pairs, these examples have {len(examples)}: "
            "use split 'all' and no count"
        )
    return rows[orders[0]][:, orders[1]]


def answering_neurons(snapshot: Snapshot) -> Float[Tensor, "batch neuron"]:
    """Activations of the last block's neurons at the last position, in float64."""
    name = f"blocks.{snapshot.config.n_layers - 1}.mlp.hook_post"
    return snapshot.cache([name])[name][:, -1].double().cpu()


def logit_waves(
    logits: Float[Tensor, "n n n"],
) -> tuple[Float[Tensor, " frequency"], Float[Tensor, " frequency"]]:
    """How much of the logits cos w_f(a + b - c) explains, f = 1..n//2, and with what factor.

    Logits are centred over classes; the waves are orthogonal, so that shares add up.

    Args:
        logits: By a, b and class, in an order in which the operation is addition.

    Returns:
        Shares of the centred logits' squared norm (0 where logits are the same for all classes, up
        to rounding), and the factor of each wave.
    Source:
        Nanda et al. 2023, section 4.2, who fit five factors by least squares: the same where the
        waves are orthogonal.
    """
    n = len(logits)
    centred = logits - logits.mean(-1, keepdim=True)
    rows = torch.arange(1, n // 2 + 1)
    # The real part of the 3-D transform at (f, f, -f) is the sum of logits times the wave.
    inner = torch.fft.fftn(centred)[rows, rows, -rows].real
    squared_norm = torch.where(2 * rows == n, 1.0, 0.5) * n**3
    power = centred.square().sum()
    shares = inner.square() / squared_norm / power
    return shares.masked_fill(is_rounding(power, logits.square().sum()), 0), inner / squared_norm


def neuron_waves(neurons: Grid) -> tuple[Int[Tensor, " z"], Float[Tensor, " z"]]:
    """The frequency that explains most of each neuron, and its share of the neuron's variance.

    Frequency f explains what the constant, cos and sin of f in a, times the same in b, span: nine
    products less the constant one. A silent neuron, which never changes but by rounding beside the
    largest, has share NaN and frequency 0.

    Source:
        Nanda et al. 2023, released code; the paper calls a neuron explained above 0.85.
    """
    power = transform_2d(neurons - neurons.mean((0, 1))).square()
    rows = frequencies_of_rows(len(neurons))
    belongs = torch.stack([(rows == f) | (rows == 0) for f in rows[1::2]]).double()
    explained = einsum(belongs, power, belongs, "f i, i j z, f j -> f z")
    total = power.sum((0, 1))
    is_silent = is_rounding(total, neurons.square().sum((0, 1)))
    fve, best = (explained / total.masked_fill(is_silent, torch.nan)).max(0)
    return torch.where(fve.isnan(), -1, best) + 1, fve


def sum_waves(n: int, frequencies: Sequence[int]) -> Float[Tensor, "wave n n"]:
    """Cos w(a + b) and sin w(a + b) of each frequency over all pairs, unit norm, cosines first.

    At frequency n/2 the sine vanishes and is left out.
    """
    waves = fourier_basis(n)[:, _sums(n)] / math.sqrt(n)
    return waves[torch.isin(frequencies_of_rows(n), torch.tensor(list(frequencies)))]


def restricted(logits: Grid, frequencies: Sequence[int]) -> Grid:
    """Logits with only the waves of a + b of some frequencies kept, and each class' mean.

    Source:
        Nanda et al. 2023, section 5.1 and released code, which keep the mean likewise.
    """
    return wave_part(logits, frequencies) + logits.mean((0, 1))


def excluded(logits: Grid, frequencies: Sequence[int]) -> Grid:
    """Logits with the waves of a + b of some frequencies removed."""
    return logits - wave_part(logits, frequencies)


def wave_part(logits: Grid, frequencies: Sequence[int]) -> Grid:
    """The projection of each class' logits on the waves of a + b of some frequencies."""
    waves = sum_waves(len(logits), frequencies)
    factors = einsum(waves, logits, "wave a b, a b c -> wave c")
    return einsum(waves, factors, "wave a b, wave c -> a b c")


def readout_waves(
    neurons: Grid, W_L: Float[Tensor, "z n"], frequency: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Whether the directions that logits read carry cos w(a + b) and sin w(a + b).

    Projects neurons on u = (2/n) sum_c cos(w c) W_L[:, c] and v, the same with sines, and regresses
    u on cos w(a + b), v on sin w(a + b).

    Returns:
        Shares of the two projections' variance explained (NaN where one never changes), and the
        two slopes.
    Source:
        Nanda et al. 2023, section 4.3.
    """
    n = len(neurons)
    rows = fourier_basis(n)[frequencies_of_rows(n) == frequency]
    shares, slopes = [], []
    for row, wave in zip(rows, sum_waves(n, [frequency]), strict=True):
        projected = neurons @ (W_L @ row) * math.sqrt(2 / n)
        centred = projected - projected.mean()
        inner, power = (centred * wave).sum(), centred.square().sum()
        is_flat = is_rounding(power, projected.square().sum())
        shares.append(math.nan if is_flat else float(inner**2 / power))
        slopes.append(float(inner * math.sqrt(2) / n))
    # At frequency n/2 there is no sine: the cosine stands for both.
    return (shares[0], shares[-1]), (slopes[0], slopes[-1])


def _sums(n: int) -> Int[Tensor, "n n"]:
    """The answer to each pair: a + b modulo n."""
    return (torch.arange(n)[:, None] + torch.arange(n)) % n


def pair_losses(logits: Grid, train: Bool[Tensor, "n n"]) -> tuple[float, float, float]:
    """Mean cross-entropy over all, train and test pairs, in nats; the answer is a + b mod n."""
    losses = token_losses(logits, _sums(len(logits)))
    return float(losses.mean()), float(losses[train].mean()), float(losses[~train].mean())


def pair_accuracy(logits: Grid) -> float:
    """Share of all pairs whose answer has the largest logit."""
    return float((logits.argmax(-1) == _sums(len(logits))).double().mean())
