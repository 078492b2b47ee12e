import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from analyses.rank_correlation import mean_interval, spearman, spearman_interval

RNG = np.random.default_rng(0)


def test_a_rising_curve_correlates_fully_whatever_its_shape():
    x = np.array([1.0, 2, 3, 10])
    assert spearman(x, x**3) == pytest.approx(1)
    assert spearman(x, -np.exp(x)) == pytest.approx(-1)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12))
def test_correlations_with_ties_are_scipys(pairs):
    one, other = np.array(pairs, dtype=np.float64).T
    if np.ptp(one) and np.ptp(other):
        assert spearman(one, other) == pytest.approx(spearmanr(one, other)[0])
    else:
        assert math.isnan(spearman(one, other))


def test_pairs_that_are_not_known_are_left_out():
    one, other = np.array([1.0, 2, math.nan, 3, 4]), np.array([1.0, 2, -9, 3, math.nan])
    assert spearman(one, other) == pytest.approx(1)


def test_two_pairs_have_no_correlation():
    assert math.isnan(spearman(np.array([1.0, 2]), np.array([1.0, 2])))


def test_the_interval_of_runs_in_full_order_is_a_point():
    x = np.arange(6.0)
    assert spearman_interval(x, x, 0.95, 0) == pytest.approx((1, 1))


def test_the_interval_narrows_with_runs():
    one = RNG.normal(size=400)
    other = one + RNG.normal(size=400)
    (low, high), (lower, higher) = (
        spearman_interval(one[:count], other[:count], 0.9, 0) for count in (400, 20)
    )
    assert lower < low < spearman(one, other) < high < higher


def test_the_interval_of_a_mean_is_about_the_normal_one():
    values = RNG.normal(size=200)
    low, high = mean_interval(values, 0.95, 0)
    error = 1.96 * values.std() / math.sqrt(200)
    # 2,000 samples place a quantile within a tenth of the standard error.
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.02)


@pytest.mark.parametrize("values", [[], [1.0, 2, 3, 4], [1.0, 2, 3, 4, math.nan]])
def test_fewer_than_five_runs_have_no_interval(values):
    known = np.array(values)
    assert np.isnan(spearman_interval(known, known, 0.9, 0)).all()
    assert np.isnan(mean_interval(known, 0.9, 0)).all()


def test_the_seed_decides_an_interval():
    one, other = RNG.normal(size=(2, 8))
    first, again, second = (spearman_interval(one, other, 0.9, seed) for seed in (0, 0, 1))
    assert first == again != second
