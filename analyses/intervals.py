"""Intervals of what few runs can tell: of a share, and of a median.

Source: Wilson 1927 (J. Am. Stat. Assoc. 22, 209-212) for shares; Thompson 1936 (Annals of
Mathematical Statistics 7, 122-128) and Conover, Practical Nonparametric Statistics, section 3.2,
for medians.
"""

import numpy as np
from jaxtyping import Float


def check_confidence(confidence: float) -> None:
    """Refuses what is no level.

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
