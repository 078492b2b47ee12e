"""How far apart would groups of runs be if the setting did not matter?

The range of a quantity over groups (largest less smallest mean or median) grows with the number of
groups even where all are alike. It is compared with the ranges that come about when runs change
places at random: a permutation test, which takes into account that the extremes were picked.

Source: Fisher 1935, The Design of Experiments, section 21; Good 2005, Permutation, Parametric and
Bootstrap Tests of Hypotheses, for permutations within strata.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

DRAWS = 999  # permutations: the least p is 1 / 1000
LEVEL = 0.05  # share of permutations that may lie as far apart where something is found


def group_range(
    values: Float[np.ndarray, "draw run"],
    group: Int[np.ndarray, " run"],
    middle: Callable[..., np.ndarray] = np.mean,
) -> Float[np.ndarray, " draw"]:
    """The largest less the smallest middle of the groups' values.

    Args:
        values: Of each run, all known.
        group: The number of each run's group.
        middle: The mean or the median.
    """
    middles = np.stack([middle(values[..., group == one], axis=-1) for one in np.unique(group)])
    return middles.max(axis=0) - middles.min(axis=0)


def permuted_ranges(
    values: Float[np.ndarray, "column run"],
    group: Int[np.ndarray, " run"],
    *,
    middle: Callable[..., np.ndarray] = np.mean,
    within: Int[np.ndarray, " run"] | None = None,
) -> Float[np.ndarray, " draw"]:
    """The largest range of any column, each time after runs changed places at random.

    Args:
        values: Of each run, all known; several columns where the widest of them was picked.
        group: The number of each run's group.
        middle: The mean or the median.
        within: Runs change places only with those of the same number here; all with all if None.
    """
    strata = np.zeros(len(group)) if within is None else within
    keys = strata + np.random.default_rng(0).random((DRAWS, len(group)))
    places, order = np.argsort(strata, kind="stable"), np.argsort(keys, axis=1)
    ranges = []
    for column in values:
        permuted = np.empty(order.shape)
        permuted[:, places] = column[order]
        ranges.append(group_range(permuted, group, middle))
    return np.max(ranges, axis=0)


def range_by_chance(ranges: Float[np.ndarray, " draw"], tries: int = 1) -> float:
    """The range that permutations exceed seldom: in a share LEVEL of them, over all tries."""
    return float(np.quantile(ranges, 1 - LEVEL / tries, method="higher"))


def share_as_far(ranges: Float[np.ndarray, " draw"], observed: float) -> float:
    """The p of a permutation test: how likely a range as large is, the observed one counted."""
    return float((1 + (ranges >= observed - 1e-12).sum()) / (1 + len(ranges)))


def p_in_words(likely: float) -> str:
    """A p as text; below 0.001 no more is claimed than that."""
    return "p < 0.001" if likely < 0.001 else f"p = {likely:.2g}"


def indicators(category: Int[np.ndarray, " run"], count: int) -> Float[np.ndarray, "category run"]:
    """1 where a run is in a category, else 0."""
    is_in: Bool[np.ndarray, "category run"] = np.arange(count)[:, None] == category
    return is_in.astype(np.float64)
