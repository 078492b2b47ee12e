"""Rank correlations and means of few runs, and how far they can be trusted.

Of fewer than ten pairs a correlation has an exact p and no interval: a bootstrap draws the same few
runs again and promises more than it holds. From ten on it has both. A mean has Student's interval.

Source: Pitman 1937 (Supplement to the J. R. Stat. Soc. 4, 225-232) for permutation tests of
correlations; Efron 1979 (Annals of Statistics 7, 1-26) for the bootstrap; Student 1908.
"""

import itertools
import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

LEAST_PAIRS = 3  # fewer have no correlation
FEW = 10  # pairs from which a bootstrap has an interval to give
SAMPLES = 2000
# Relative spread below which values are alike: a few units in the last place of float32, in which
# what they are computed from is held.
ALIKE = 4 * float(np.finfo(np.float32).eps)
TIE = 1e-12  # by which two correlations of the same ranks may differ through rounding


def spearman(one: Float[np.ndarray, " pair"], other: Float[np.ndarray, " pair"]) -> float:
    """Spearman's correlation over the pairs that are known.

    NaN where these are fewer than three, or one of the two is constant up to rounding.
    """
    one, other = _known(one, other)
    if not _can_correlate(one, other):
        return math.nan
    return float(_correlations(one[None], other[None])[0])


def spearman_p(one: Float[np.ndarray, " run"], other: Float[np.ndarray, " run"]) -> float:
    """How likely so strong a correlation is, of either sign, if the two had nothing in common.

    Of fewer than ten pairs exact: the share of all orders of the one's values whose correlation
    with the other's is at least as far from 0. The least that n pairs can give is 2 / n!, so that
    with three of them it is 1 / 3 at best. Of more pairs it is that of Student's distribution, as
    in `scipy.stats.spearmanr`. NaN where there is no correlation.
    """
    one, other = _known(one, other)
    if not _can_correlate(one, other):
        return math.nan
    if len(one) >= FEW:
        return _student_p(float(_correlations(one[None], other[None])[0]), len(one))
    orders = _orders(len(one))
    drawn = _correlations(one[orders], np.broadcast_to(other, orders.shape))
    return float((np.abs(drawn) >= abs(drawn[0]) - TIE).mean())


def spearman_interval(
    one: Float[np.ndarray, " run"], other: Float[np.ndarray, " run"], confidence: float, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap interval of Spearman's correlation, runs drawn again with both values.

    Samples in which one of the two is constant have no correlation and are left out. NaN where
    fewer than ten runs are known: `spearman_p` tells what these can.
    """
    one, other = _known(one, other)
    if len(one) < FEW or not _can_correlate(one, other):
        return math.nan, math.nan
    drawn = np.random.default_rng(seed).integers(len(one), size=(SAMPLES, len(one)))
    found = _correlations(one[drawn], other[drawn])
    found = found[np.isfinite(found)]
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def mean_interval(values: Float[np.ndarray, " run"], confidence: float) -> tuple[float, float]:
    """Student's interval of a mean over runs: mean plus and minus t s / sqrt n.

    It holds its level for few runs where their values are about normal. NaN where fewer than two
    are known, or all are alike, which says nothing of how they spread.
    """
    from scipy.stats import t  # heavy, and only needed to measure

    known = values[np.isfinite(values)]
    if len(known) < 2 or _is_flat(known):
        return math.nan, math.nan
    error = float(known.std(ddof=1)) / math.sqrt(len(known))
    half = float(t.ppf((1 + confidence) / 2, len(known) - 1)) * error
    return float(known.mean()) - half, float(known.mean()) + half


def _student_p(correlation: float, count: int) -> float:
    """Both tails of Student's distribution beyond r sqrt((n - 2) / (1 - r^2))."""
    from scipy.stats import t  # heavy, and only needed to measure

    if abs(correlation) >= 1 - TIE:
        return 0.0
    freedom = count - 2
    size = abs(correlation) * math.sqrt(freedom / (1 - correlation**2))
    return float(2 * t.sf(size, freedom))


def _known(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of which both are finite."""
    known = np.isfinite(one) & np.isfinite(other)
    return one[known], other[known]


def _can_correlate(one: np.ndarray, other: np.ndarray) -> bool:
    return len(one) >= LEAST_PAIRS and not (_is_flat(one) or _is_flat(other))


def _is_flat(values: np.ndarray) -> bool:
    """Whether all are alike up to rounding."""
    return bool(np.ptp(values) <= ALIKE * np.abs(values).max())


@lru_cache(maxsize=1)
def _orders(count: int) -> Int[np.ndarray, "order run"]:
    """All orders of so many runs, the present one first."""
    return np.array(list(itertools.permutations(range(count))))


def _correlations(
    one: Float[np.ndarray, "sample pair"], other: Float[np.ndarray, "sample pair"]
) -> Float[np.ndarray, " sample"]:
    """Pearson's correlation of ranks, ties sharing theirs; NaN where one side is constant."""
    from scipy.stats import rankdata  # heavy, and only needed to measure

    ranks = [rankdata(each, axis=1) for each in (one, other)]
    a, b = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    norms = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), norms, out=np.full(len(a), math.nan), where=norms > 0)
