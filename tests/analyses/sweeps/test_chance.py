"""How far apart groups lie by chance: against all orders of a few runs."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses.sweeps.chance import (
    DRAWS,
    group_range,
    indicators,
    permuted_ranges,
    range_by_chance,
    share_as_far,
)

GROUP = np.array([0, 0, 0, 1, 1, 1])
VALUES = np.array([[1.0, 2, 3, 4, 5, 6]])


def test_the_range_is_that_of_the_groups_means_or_medians():
    values, group = np.array([[0.0, 0, 9, 4, 4]]), np.array([0, 0, 0, 1, 1])
    assert group_range(values, group)[0] == pytest.approx(1)
    assert group_range(values, group, np.median)[0] == 4


def test_p_is_about_the_share_of_all_orders_as_far_apart():
    orders = np.array(list(itertools.permutations(VALUES[0])))
    exact = (group_range(orders, GROUP) >= 3).mean()
    assert exact == pytest.approx(0.1)
    assert share_as_far(permuted_ranges(VALUES, GROUP), 3.0) == pytest.approx(exact, abs=0.03)


def test_the_least_p_counts_the_observed_range_itself():
    assert share_as_far(np.zeros(DRAWS), 1.0) == pytest.approx(1 / (DRAWS + 1))


def test_chance_is_what_one_in_twenty_permutations_reach_over_all_tries():
    ranges = np.arange(1.0, 101)
    assert (range_by_chance(ranges), range_by_chance(ranges, tries=5)) == (96, 100)


def test_runs_stay_within_their_stratum():
    within = np.array([0, 1, 2, 0, 1, 2])
    values = np.array([[0.0, 10, 20, 0, 10, 20]])  # the strata differ, not the groups
    assert permuted_ranges(values, GROUP, within=within).max() == 0
    assert permuted_ranges(values, GROUP).max() > 0


def test_of_several_columns_the_widest_counts():
    both = np.concatenate([np.zeros_like(VALUES), VALUES])
    np.testing.assert_array_equal(permuted_ranges(both, GROUP), permuted_ranges(VALUES, GROUP))


@given(st.lists(st.integers(0, 2), min_size=1))
def test_indicators_are_1_in_one_category_alone(categories):
    values = indicators(np.array(categories), 3)
    np.testing.assert_array_equal(values.argmax(0), categories)
    assert (values.sum(0) == 1).all()
