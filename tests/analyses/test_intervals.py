import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses.statistics import check_confidence, median_interval, wilson_interval

NORMAL = 1.959963984540054  # of two sides of 5 %


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


@pytest.mark.parametrize(("count", "runs"), [(0, 5), (3, 8), (9, 9), (450, 1125)])
def test_a_share_has_the_interval_of_wilsons_formula(count, runs):
    share, z = count / runs, NORMAL
    middle = (share + z**2 / (2 * runs)) / (1 + z**2 / runs)
    half = z / (1 + z**2 / runs) * math.sqrt(share * (1 - share) / runs + z**2 / (4 * runs**2))
    assert wilson_interval(count, runs, 0.95) == pytest.approx((middle - half, middle + half))


def test_wilsons_interval_of_no_success_in_ten_ends_at_28_percent():
    # Brown, Cai and DasGupta 2001: z^2 / (n + z^2)
    assert wilson_interval(0, 10, 0.95)[1] == pytest.approx(NORMAL**2 / (10 + NORMAL**2))


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_the_share_within_0_and_1(drawn):
    count, runs = drawn
    low, high = wilson_interval(count, runs, 0.95)
    assert 0 <= low <= count / runs + 1e-12
    assert count / runs - 1e-12 <= high <= 1


@pytest.mark.parametrize(
    ("runs", "confidence", "rank"),
    [(4, 0.9, None), (5, 0.9, 1), (5, 0.95, None), (6, 0.95, 1), (8, 0.95, 1), (9, 0.95, 2),
     (10, 0.95, 2), (20, 0.95, 6)],
)  # fmt: skip
def test_the_median_lies_between_order_statistics(runs, confidence, rank):
    # Ranks as in tables of the sign test, such as Conover's
    values = np.arange(1.0, runs + 1)[::-1, None]
    ends = [math.nan, math.nan] if rank is None else [rank, runs + 1 - rank]
    np.testing.assert_equal(median_interval(values, confidence)[:, 0], ends)


@pytest.mark.parametrize("runs", [5, 8, 11])
def test_the_interval_holds_the_median_as_often_as_it_says(runs):
    # A value is above the median or below: all cases are alike.
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=runs))).T
    low, high = median_interval(signs * np.arange(1, runs + 1)[:, None], 0.9)
    held = np.mean((low < 0) & (high > 0))
    assert held >= 0.9


def test_one_more_rank_would_hold_it_less_often_than_the_level():
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=8))).T
    ordered = np.sort(signs, axis=0)
    rank = int(median_interval(np.arange(1.0, 9)[:, None], 0.9)[0, 0])
    assert np.mean((ordered[rank] < 0) & (ordered[-rank - 1] > 0)) < 0.9


def test_the_undefined_is_left_out():
    values = column(1, 2, math.nan, 3, 4, math.nan, 5)
    assert median_interval(values, 0.9)[:, 0].tolist() == [1, 5]


@pytest.mark.parametrize("confidence", [0, 1, 95.0])
def test_what_is_no_level_is_refused(confidence):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        check_confidence(confidence)
