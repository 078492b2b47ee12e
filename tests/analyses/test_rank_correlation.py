import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test, rankdata, spearmanr, ttest_1samp

from analyses.statistics import mean_interval, spearman, spearman_interval, spearman_p

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
    x = np.arange(10.0)
    assert spearman_interval(x, x, 0.95, 0) == pytest.approx((1, 1))


def test_the_interval_narrows_with_runs():
    one = RNG.normal(size=400)
    other = one + RNG.normal(size=400)
    (low, high), (lower, higher) = (
        spearman_interval(one[:count], other[:count], 0.9, 0) for count in (400, 20)
    )
    assert lower < low < spearman(one, other) < high < higher


@pytest.mark.parametrize("values", [[], [1.0, 2, 3, 4], [*range(9), math.nan]])
def test_fewer_than_ten_runs_have_no_bootstrap_interval(values):
    known = np.array(values, dtype=np.float64)
    assert np.isnan(spearman_interval(known, known, 0.9, 0)).all()


def test_the_seed_decides_an_interval():
    one, other = RNG.normal(size=(2, 12))
    first, again, second = (spearman_interval(one, other, 0.9, seed) for seed in (0, 0, 1))
    assert first == again != second


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=6))
def test_p_of_few_pairs_is_the_share_of_all_orders_as_scipy_counts_it(pairs):
    one, other = np.array(pairs, dtype=np.float64).T
    if not (np.ptp(one) and np.ptp(other)):
        assert math.isnan(spearman_p(one, other))
        return
    exact = permutation_test(
        (one,), lambda x: np.abs(np.corrcoef(rankdata(x), rankdata(other))[0, 1]).round(9),
        permutation_type="pairings", n_resamples=10**6, alternative="greater", vectorized=False,
    )  # fmt: skip
    assert spearman_p(one, other) == pytest.approx(exact.pvalue)


@pytest.mark.parametrize("count", [3, 5, 7, 9])
def test_the_least_p_is_that_of_two_orders_among_all(count):
    x = np.arange(float(count))
    assert spearman_p(x, x**2) == pytest.approx(2 / math.factorial(count))


def test_p_of_ten_pairs_or_more_is_scipys():
    one, other = RNG.normal(size=(2, 12))
    assert spearman_p(one, other) == pytest.approx(spearmanr(one, other)[1])
    assert spearman_p(one, 3 * one) == pytest.approx(0)


def test_values_that_differ_by_rounding_alone_correlate_with_nothing():
    x = np.arange(9.0)
    flat = 0.3 * (1 + 1e-9 * RNG.normal(size=9))
    assert math.isnan(spearman(x, flat))
    assert math.isnan(spearman_p(flat, x))


def test_the_interval_of_a_mean_is_students():
    values = np.array([0.2, 0.5, 0.9, math.nan])
    low, high = ttest_1samp([0.2, 0.5, 0.9], 0).confidence_interval(0.95)
    assert mean_interval(values, 0.95) == pytest.approx((low, high))


@pytest.mark.parametrize("values", [[], [1.0], [0.4, 0.4, 0.4], [math.nan, 2.0]])
def test_one_run_or_runs_that_are_alike_have_no_interval_of_their_mean(values):
    assert np.isnan(mean_interval(np.array(values), 0.9)).all()
