"""Statistics that several analyses use: none knows of models or tasks.

In this order: what is rounding alone and what is undefined; how concentrated a vector is; intervals
of what few runs can tell; when a recorded curve reaches a level; rank correlation. What is
undefined is NaN, without a warning.

Source: Hurley and Rickard 2009 (arXiv:0811.4706), table I, for Gini and Hoyer. Wilson 1927 (J. Am.
Stat. Assoc. 22, 209-212) for shares; Thompson 1936 (Annals of Mathematical Statistics 7, 122-128)
and Conover, Practical Nonparametric Statistics, section 3.2, for medians; Student 1908 for means.
Pitman 1937 (Supplement to the J. R. Stat. Soc. 4, 225-232) for permutation tests of correlations;
Efron 1979 (Annals of Statistics 7, 1-26) for the bootstrap.
"""

import itertools
import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

Vectors = Float[Tensor, "*batch entry"]
Scalars = Float[Tensor, "*batch"]

# Share of the largest size below which a size is rounding: 32 units in the last place of float32,
# the coarsest dtype that models are trained in. Sums of float32 numbers are wrong by a few such
# units of their largest terms: what varies by no more than that, beside the largest of its kind,
# has no frequency, share or group. A power is a squared size, and so is its floor.
SIZE_FLOOR = 32 * torch.finfo(torch.float32).eps
POWER_FLOOR = SIZE_FLOOR**2
# Relative spread below which values are equal: a few units in the last place of float32, in which
# what they are computed from is held.
SPREAD_FLOOR = 4 * float(np.finfo(np.float32).eps)
CORRELATION_ROUNDING = 1e-12  # by which two correlations of the same ranks may differ
MIN_PAIRS = 3  # of values for a correlation
MIN_BOOTSTRAP_PAIRS = (
    10  # for an interval: samples of fewer pairs repeat them, and promise too much
)
BOOTSTRAP_SAMPLES = 2000  # for an interval


def is_rounding(
    varying: Float[Tensor, "*batch"], whole: Float[Tensor, "*batch"]
) -> Bool[Tensor, "*batch"]:
    """Which powers are 0, or rounding beside the largest of all; NaN is not.

    Args:
        varying: The powers in question, such as those of what varies over residues.
        whole: Powers with what they are a part of, such as the constant; the largest counts.
    """
    return varying <= POWER_FLOOR * whole.max()


def ratio(above: Any, below: Any) -> float:
    """One number divided by another; NaN if the other is 0."""
    return float(above) / float(below) if below else math.nan


def defined_mean(values: Shaped[np.ndarray, "..."]) -> float:
    """The mean of the values that are not NaN; NaN where there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


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
    """(sum x^2)^2 / sum x^4: how many equal entries would share the squared norm."""
    power = values.square()
    return power.sum(-1).square() / power.square().sum(-1)


def effective_count(values: Vectors) -> Scalars:
    """Exp of the entropy of shares of the sum of magnitudes: how many equal ones would share it."""
    shares = values.abs() / values.abs().sum(-1, keepdim=True)
    return (-shares.xlogy(shares).sum(-1)).exp()


MEASURES = {
    "l1_over_l2": l1_over_l2,
    "hoyer": hoyer,
    "gini": gini,
    "participation_ratio": participation_ratio,
    "effective_count": effective_count,
}


def check_confidence(confidence: float) -> None:
    """Refuses a level of confidence that is none.

    Raises:
        ValueError: It does not lie between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: it must lie between 0 and 1")


def wilson_interval(count: int, runs: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a share, `count` of `runs`, of which there is at least one."""
    from scipy.stats import binomtest  # heavy, and only needed to measure

    interval = binomtest(count, runs).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def median_interval(
    values: Float[np.ndarray, "run place"], confidence: float
) -> Float[np.ndarray, "2 place"]:
    """A distribution-free interval of the median over runs, the undefined left out.

    From the l-th smallest to the l-th largest of n values, where l is the largest with
    1 - 2 P(Bin(n, 1/2) < l) at or above the level. It holds the median with that probability at
    least, whatever the distribution.

    Args:
        values: NaN where undefined.
        confidence: Least level of the interval.

    Returns:
        Lower and upper ends; NaN where the runs are too few for the level.
    """
    from scipy.stats import binom  # heavy, and only needed to measure

    ordered = np.sort(values, axis=0)  # NaN last
    counts = np.isfinite(values).sum(axis=0)
    ends = np.full((2, values.shape[1]), np.nan)
    for place, count in enumerate(counts.tolist()):
        below = binom.cdf(np.arange(count), count, 0.5)
        rank = int((below <= (1 - confidence) / 2).sum())
        if rank:
            ends[:, place] = ordered[[rank - 1, count - rank], place]
    return ends


def mean_interval(values: Float[np.ndarray, " run"], confidence: float) -> tuple[float, float]:
    """Student's interval of a mean over runs: mean plus and minus t s / sqrt n.

    It holds its level for few runs where their values are about normal. NaN where fewer than two
    are known, or all are equal, which says nothing of how they spread.
    """
    from scipy.stats import t  # heavy, and only needed to measure

    known = values[np.isfinite(values)]
    if len(known) < 2 or _is_flat(known):
        return math.nan, math.nan
    error = float(known.std(ddof=1)) / math.sqrt(len(known))
    half = float(t.ppf((1 + confidence) / 2, len(known) - 1)) * error
    return float(known.mean()) - half, float(known.mean()) + half


def crossing(steps: np.ndarray, values: np.ndarray, level: float, evaluations: int) -> float:
    """The first of `evaluations` successive steps whose values reach a level; NaN if none.

    A crossing must be sustained, because accuracy spikes and dips at the learning rates that grok
    fast.
    """
    return first_sustained(steps, values >= level, evaluations)


def first_sustained(steps: np.ndarray, holds: np.ndarray, evaluations: int) -> float:
    """The first of `evaluations` successive steps at which something holds; NaN if none."""
    if len(holds) < evaluations:
        return math.nan
    is_sustained = np.convolve(holds, np.ones(evaluations), mode="valid") == evaluations
    return float(steps[is_sustained.argmax()]) if is_sustained.any() else math.nan


def first_after(steps: np.ndarray, holds: np.ndarray, start: float) -> float:
    """The first step after `start` at which something holds; NaN if there is none."""
    later = np.flatnonzero(holds & (steps > start))
    return float(steps[later[0]]) if len(later) else math.nan


def rise_on_the_way(steps: np.ndarray, losses: np.ndarray, crossed: float, settled: float) -> float:
    """The largest loss between its least before `crossed` and `settled`, over that least one.

    Above 1, the loss got worse on the way.

    Args:
        steps: Steps of the losses.
        losses: Their values.
        crossed: Step up to which the least is looked for; NaN if it never came.
        settled: Step up to which the largest is looked for; NaN for the last.

    Returns:
        NaN where there is no step up to `crossed`, or the least is 0.
    """
    before = steps <= crossed
    if not before.any():
        return math.nan
    least = losses[before].argmin()
    if losses[least] == 0:
        return math.nan
    until = steps <= (steps[-1] if math.isnan(settled) else max(settled, steps[least]))
    return float(losses[least:][until[least:]].max() / losses[least])


def spearman(one: Float[np.ndarray, " pair"], other: Float[np.ndarray, " pair"]) -> float:
    """Spearman's correlation over the pairs that are known.

    NaN where these are fewer than three, or one of the two is constant up to rounding.
    """
    one, other = _known(one, other)
    return float(_correlations(one[None], other[None])[0]) if len(one) else math.nan


def spearman_p(one: Float[np.ndarray, " run"], other: Float[np.ndarray, " run"]) -> float:
    """How likely so strong a correlation is, of either sign, if the two had nothing in common.

    For fewer than ten pairs it is exact: the share of all orders of the one's values whose
    correlation with the other's is at least as far from 0. The least that n pairs can give is
    2 / n!, so that with three of them it is 1 / 3 at best. For more pairs it is that of Student's
    distribution, as in `scipy.stats.spearmanr`. NaN where there is no correlation.
    """
    one, other = _known(one, other)
    if not len(one):
        return math.nan
    if len(one) >= MIN_BOOTSTRAP_PAIRS:
        return _student_p(float(_correlations(one[None], other[None])[0]), len(one))
    orders = _orders(len(one))
    correlations = np.abs(_correlations(one[orders], np.broadcast_to(other, orders.shape)))
    return float((correlations >= correlations[0] - CORRELATION_ROUNDING).mean())


def spearman_interval(
    one: Float[np.ndarray, " run"], other: Float[np.ndarray, " run"], confidence: float, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap interval of Spearman's correlation, runs drawn again with both values.

    Samples in which one of the two is constant have no correlation and are left out. NaN where
    fewer than ten runs are known: `spearman_p` is exact for these.
    """
    one, other = _known(one, other)
    if len(one) < MIN_BOOTSTRAP_PAIRS:
        return math.nan, math.nan
    drawn = np.random.default_rng(seed).integers(len(one), size=(BOOTSTRAP_SAMPLES, len(one)))
    correlations = _correlations(one[drawn], other[drawn])
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(correlations[np.isfinite(correlations)], ends).tolist()
    return low, high


def _student_p(correlation: float, count: int) -> float:
    """Both tails of Student's distribution beyond r sqrt((n - 2) / (1 - r^2))."""
    from scipy.stats import t  # heavy, and only needed to measure

    if abs(correlation) >= 1 - CORRELATION_ROUNDING:
        return 0.0
    size = abs(correlation) * math.sqrt((count - 2) / (1 - correlation**2))
    return float(2 * t.sf(size, count - 2))


def _known(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of which both are finite; none if they are too few, or if one side is constant."""
    is_known = np.isfinite(one) & np.isfinite(other)
    one, other = one[is_known], other[is_known]
    can_correlate = len(one) >= MIN_PAIRS and not (_is_flat(one) or _is_flat(other))
    return (one, other) if can_correlate else (one[:0], other[:0])


def _is_flat(values: np.ndarray) -> bool:
    """Whether all are equal up to rounding."""
    return bool(np.ptp(values) <= SPREAD_FLOOR * np.abs(values).max())


@lru_cache(maxsize=1)
def _orders(count: int) -> Int[np.ndarray, "order run"]:
    """All orders of `count` runs, the present one first."""
    return np.array(list(itertools.permutations(range(count))))


def _correlations(
    one: Float[np.ndarray, "sample pair"], other: Float[np.ndarray, "sample pair"]
) -> Float[np.ndarray, " sample"]:
    """Pearson's correlation of ranks, ties sharing theirs; NaN where one side is constant."""
    from scipy.stats import rankdata  # heavy, and only needed to measure

    ranks = [rankdata(side, axis=1) for side in (one, other)]
    a, b = (side - side.mean(axis=1, keepdims=True) for side in ranks)
    norms = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), norms, out=np.full(len(a), math.nan), where=norms > 0)
