import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test, rankdata, spearmanr, ttest_1samp
from torch.testing import assert_close

from analyses.statistics import (
    MEASURES,
    SIZE_FLOOR,
    check_confidence,
    effective_count,
    gini,
    hoyer,
    is_rounding,
    l1_over_l2,
    mean_interval,
    median_interval,
    participation_ratio,
    spearman,
    spearman_interval,
    spearman_p,
    wilson_interval,
)

EPS = torch.finfo(torch.float32).eps
VECTORS = st.lists(st.floats(0.1, 10), min_size=2, max_size=20)
NORMAL = 1.959963984540054  # of two sides of 5 %
RNG = np.random.default_rng(0)


def test_rounding_is_told_by_the_largest_power():
    largest = torch.tensor([9.0, 1.0, 1.0, 1.0])
    varying = torch.tensor([0.0, 9 * EPS**2, 9 * (100 * EPS) ** 2, math.nan])
    assert is_rounding(varying, largest).tolist() == [True, True, False, False]


def test_where_all_is_0_all_is_rounding():
    assert is_rounding(torch.zeros(2), torch.zeros(2)).tolist() == [True, True]


def test_the_floor_is_some_units_in_the_last_place():
    assert EPS < SIZE_FLOOR < 1e-5


@pytest.mark.parametrize(
    ("measure", "equal", "single"),
    [(gini, 0, 0.75), (hoyer, 0, 1), (l1_over_l2, 2, 1), (participation_ratio, 4, 1),
     (effective_count, 4, 1)],
)  # fmt: skip
def test_the_ends_are_known(measure, equal, single):
    assert measure(torch.ones(4).double()).item() == pytest.approx(equal, abs=1e-12)
    assert measure(torch.tensor([0.0, 0, 5, 0])).item() == pytest.approx(single)


@pytest.mark.parametrize("measure", MEASURES.values())
@given(values=VECTORS, scale=st.floats(0.1, 10))
def test_scale_and_sign_change_nothing(measure, values, scale):
    values = torch.tensor(values, dtype=torch.float64)
    assert_close(measure(-scale * values), measure(values))


@pytest.mark.parametrize("measure", MEASURES.values())
@given(values=VECTORS)
def test_order_changes_nothing(measure, values):
    values = torch.tensor(values, dtype=torch.float64)
    assert_close(measure(values.flip(0)), measure(values))


def test_gini_is_the_mean_difference_over_twice_the_mean():
    values = torch.rand(9, generator=torch.Generator().manual_seed(0)).double()
    differences = (values[:, None] - values).abs().mean()
    assert_close(gini(values), differences / (2 * values.mean()))


@pytest.mark.parametrize("measure", MEASURES.values())
def test_zeros_have_no_sparsity(measure):
    assert math.isnan(measure(torch.zeros(3)).item())


@pytest.mark.parametrize("measure", MEASURES.values())
def test_a_series_is_measured_step_by_step(measure):
    series = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0))
    each = torch.stack([measure(values) for values in series.flatten(0, 1)])
    assert_close(measure(series), each.reshape(2, 3))


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
