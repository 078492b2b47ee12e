"""Rank correlations of few pairs, and how far they can be trusted.

Source: Efron 1979 (Annals of Statistics 7, 1-26) for the bootstrap.
"""

import math

import numpy as np
from jaxtyping import Float

LEAST_PAIRS, LEAST_RUNS = 3, 5  # fewer pairs have no correlation, fewer runs no interval
SAMPLES = 2000


def spearman(one: Float[np.ndarray, " pair"], other: Float[np.ndarray, " pair"]) -> float:
    """Spearman's correlation over the pairs that are known.

    NaN where these are fewer than three, or one of the two is constant.
    """
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < LEAST_PAIRS:
        return math.nan
    return float(_correlations(one[None, known], other[None, known])[0])


def spearman_interval(
    one: Float[np.ndarray, " run"], other: Float[np.ndarray, " run"], confidence: float, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap interval of Spearman's correlation, runs drawn again with both values.

    Samples in which one of the two is constant have no correlation and are left out. NaN where
    fewer than five runs are known.
    """
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < LEAST_RUNS:
        return math.nan, math.nan
    drawn = _drawn(int(known.sum()), seed)
    return _ends(_correlations(one[known][drawn], other[known][drawn]), confidence)


def mean_interval(
    values: Float[np.ndarray, " run"], confidence: float, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over runs; NaN where fewer than five are known."""
    known = values[np.isfinite(values)]
    if len(known) < LEAST_RUNS:
        return math.nan, math.nan
    return _ends(known[_drawn(len(known), seed)].mean(axis=1), confidence)


def _drawn(count: int, seed: int) -> np.ndarray:
    """Numbers of runs, a sample a row."""
    return np.random.default_rng(seed).integers(count, size=(SAMPLES, count))


def _correlations(
    one: Float[np.ndarray, "sample pair"], other: Float[np.ndarray, "sample pair"]
) -> Float[np.ndarray, " sample"]:
    """Pearson's correlation of ranks, ties sharing theirs; NaN where one side is constant."""
    from scipy.stats import rankdata  # heavy, and only needed to measure

    ranks = [rankdata(each, axis=1) for each in (one, other)]
    a, b = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    norms = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), norms, out=np.full(len(a), math.nan), where=norms > 0)


def _ends(found: Float[np.ndarray, " sample"], confidence: float) -> tuple[float, float]:
    known = found[np.isfinite(found)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
