import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, r2_score

from analyses.probes.evaluate import (
    ProbeTarget,
    baseline_score,
    objection,
    r2_interval,
    split_by_group,
    wilson_interval,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def own_groups(count):
    return torch.arange(count)


@given(st.lists(st.integers(0, 9), min_size=12, max_size=60), st.integers(0, 5))
def test_each_group_lies_in_one_part_and_each_row_in_one(groups, seed):
    groups = torch.tensor([0, 1, 2, *groups])
    split = split_by_group(groups, seed=seed)
    parts = torch.stack([split.fit, split.validation, split.test])
    assert (parts.sum(0) == 1).all()
    places = [set(groups[part].tolist()) for part in parts]
    assert all(places)
    assert sum(map(len, places)) == len(set(groups.tolist()))


def test_shuffling_keeps_the_values_of_each_part():
    target = ProbeTarget.of(torch.arange(40) % 7)
    split = split_by_group(own_groups(40), seed=0)
    shuffled = target.shuffled(split, torch.Generator().manual_seed(0))
    assert not torch.equal(shuffled.values, target.values)
    for part in (split.fit, split.validation, split.test):
        assert torch.equal(shuffled.values[part].sort()[0], target.values[part].sort()[0])


def test_accuracy_and_r2_are_scikit_learns():
    classes, outputs = torch.arange(30) % 3, draw(30, 3)
    values = draw(30, seed=1)
    assert ProbeTarget.of(classes).score(outputs) == pytest.approx(
        accuracy_score(classes, outputs.argmax(1))
    )
    assert ProbeTarget.of(values).score(outputs[:, :1]) == pytest.approx(
        r2_score(values, outputs[:, 0])
    )


@pytest.mark.parametrize(
    ("values", "dummy"),
    [
        ((torch.arange(80) % 7) ** 2 % 5, DummyClassifier(strategy="most_frequent")),
        (draw(80), DummyRegressor()),
    ],
)
def test_the_baseline_is_scikit_learns_dummy(values, dummy):
    split = split_by_group(own_groups(80), seed=0)
    dummy.fit(np.zeros((int(split.train.sum()), 1)), values[split.train].numpy())
    expected = dummy.score(np.zeros((int(split.test.sum()), 1)), values[split.test].numpy())
    assert baseline_score(ProbeTarget.of(values), split) == pytest.approx(expected)


@given(st.integers(1, 200), st.data())
def test_the_interval_of_a_share_is_scipys(count, data):
    right = data.draw(st.integers(0, count))
    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson_interval(right / count, count) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_r2_is_that_of_the_bootstrap_by_hand():
    values, noise = draw(40), draw(40, seed=1)
    groups = torch.arange(40) // 4
    generator = np.random.default_rng(0)
    drawn = [generator.integers(10, size=10) for _ in range(4000)]
    rows = [np.concatenate([4 * each + shift for shift in range(4)]) for each in drawn]
    scores = [r2_score(values[row], (values + noise / 2)[row]) for row in rows]
    expected = np.quantile(scores, [0.025, 0.975])
    np.testing.assert_allclose(r2_interval(values, values + noise / 2, groups), expected, atol=0.08)


def test_the_interval_of_r2_is_unknown_with_one_group():
    low, high = r2_interval(draw(9), draw(9, seed=1), torch.zeros(9, dtype=torch.long))
    assert math.isnan(low)
    assert math.isnan(high)


def test_the_interval_of_r2_is_unknown_where_values_do_not_vary():
    groups = torch.arange(9) // 3
    low, high = r2_interval(torch.ones(9).double(), draw(9), groups)
    assert math.isnan(low)
    assert math.isnan(high)


def test_rows_of_a_group_count_once_in_the_interval_of_accuracy():
    target, outputs = ProbeTarget.of(torch.arange(20) % 2), draw(20, 2)
    one_each = target.interval(outputs, own_groups(20))
    tied = target.interval(outputs, own_groups(20) // 5)
    assert tied[0] < one_each[0] < one_each[1] < tied[1]


def test_two_groups_are_refused():
    with pytest.raises(ValueError, match="2 groups cannot be split"):
        split_by_group(torch.arange(10) % 2, seed=0)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (torch.zeros(40, dtype=torch.long), "it is constant"),
        (torch.arange(40), "40 classes have no example among the 22"),
        (draw(40).fill_(2.0), "its values do not vary"),
        (draw(40).fill_(math.nan), "NaN"),
    ],
)
def test_targets_that_cannot_be_probed_say_why(values, reason):
    assert reason in objection(ProbeTarget.of(values), split_by_group(own_groups(40), seed=0))


def test_a_target_that_can_be_probed_has_no_objection():
    split = split_by_group(own_groups(40), seed=0)
    assert objection(ProbeTarget.of(torch.arange(40) % 2), split) == ""


@pytest.mark.parametrize("groups", [torch.arange(40), torch.arange(40) // 4])
def test_the_interval_of_r2_does_not_move_with_a_constant_added(groups):
    # Steps of 1/8 near 1e8 are exact in float64.
    values = (draw(40) * 8).round() / 8
    outputs = values + (draw(40, seed=1) * 4).round() / 8
    near_zero, far_off = (r2_interval(values + add, outputs + add, groups) for add in (0, 1e8))
    np.testing.assert_allclose(far_off, near_zero, rtol=1e-6)


def test_the_spread_of_a_draw_is_that_of_its_rows():
    # Of both groups R^2 is that of all rows, of one drawn twice that of its own.
    values = torch.tensor([1.0, 3.0, 2.0, 8.0]).double()
    outputs = torch.tensor([2.0, 3.0, 3.0, 6.0]).double()
    drawn = ([0, 1], [2, 3], [0, 1, 2, 3])
    scores = [r2_score(values[rows], outputs[rows]) for rows in drawn]
    low, high = r2_interval(values, outputs, torch.tensor([0, 0, 1, 1]))
    assert (low, high) == pytest.approx((min(scores), max(scores)))
