import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.testing import assert_close

from analyses.held_out import (
    Target,
    baseline_score,
    objection,
    r2_interval,
    split_by_group,
    wilson_interval,
)
from analyses.probes import check_method, logistic_probes, readings, ridge_probes

PENALTIES = (0.01, 1.0, 100.0)
EXACT = {"rtol": 0, "atol": 1e-8}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def own_groups(count):
    return torch.arange(count)


def scikit_ridge(features, columns, penalty):
    return make_pipeline(StandardScaler(), Ridge(alpha=penalty)).fit(features, columns)


@pytest.mark.parametrize(("rows", "size"), [(200, 12), (12, 30)])
@pytest.mark.parametrize("index", range(3))
def test_ridge_has_scikit_learns_coefficients(rows, size, index):
    features, columns = 3 * draw(rows, size) + 5, draw(rows, 4, seed=1)
    theirs = scikit_ridge(features.numpy(), columns.numpy(), PENALTIES[index]).named_steps["ridge"]
    ours = ridge_probes(features, columns, PENALTIES)
    np.testing.assert_allclose(ours.weights[index].T, theirs.coef_, **EXACT)
    np.testing.assert_allclose(ours.intercepts[index], theirs.intercept_, **EXACT)


@pytest.mark.parametrize("index", range(3))
def test_ridge_has_scikit_learns_predictions(index):
    features, columns, new = draw(200, 12) + 5, draw(200, 4, seed=1), draw(50, 12, seed=2)
    theirs = scikit_ridge(features.numpy(), columns.numpy(), PENALTIES[index]).predict(new.numpy())
    ours = ridge_probes(features, columns, PENALTIES).outputs(new)[index]
    np.testing.assert_allclose(ours, theirs, **EXACT)


def test_a_column_is_fitted_as_if_it_were_alone():
    features, columns = draw(60, 5), draw(60, 3, seed=1)
    together = ridge_probes(features, columns, PENALTIES)
    alone = ridge_probes(features, columns[:, 1:2], (1.0,))
    assert_close(together.weights[1, :, 1:2], alone.weights[0])


def test_a_feature_that_is_constant_up_to_rounding_is_not_read():
    features = draw(40, 3).float()
    features[:, 1] = 7 * (1 + 1e-7 * draw(40, seed=1).float())
    probes = ridge_probes(features, draw(40, 1, seed=2), PENALTIES)
    assert (probes.weights[:, 1] == 0).all()


def test_features_are_standardised_by_the_rows_fitted_on():
    features = draw(50, 4)
    probes = ridge_probes(features, draw(50, 1, seed=1), (1.0,))
    shifted = probes.standardised(features + 3 * features.std(0, correction=0))
    assert_close(shifted.mean(0), torch.full((4,), 3.0, dtype=torch.float64))


@pytest.mark.parametrize("n_classes", [2, 4])
def test_logistic_probes_answer_as_scikit_learn(n_classes):
    features, new = draw(150, 6), draw(80, 6, seed=1)
    classes = (features @ draw(6, n_classes, seed=2)).argmax(1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=2.0))
    theirs = model.fit(features.numpy(), classes.numpy()).predict(new.numpy())
    ours = logistic_probes(features, classes, (0.5,)).outputs(new)[0].argmax(1)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("method", ["ridge", "logistic"])
def test_a_planted_linear_class_is_read_and_shuffled_it_is_not(method):
    features = draw(2000, 8)
    target = Target.of(features[:, 2] > 0)
    split = split_by_group(own_groups(2000), seed=0)
    shuffled = target.shuffled(split, torch.Generator().manual_seed(0))
    true, chance = readings(features, [target, shuffled], split, method=method)
    assert true.score > 0.97
    low, high = binom.interval(0.999, 500, 0.5)
    assert low <= 500 * chance.score <= high


def test_a_planted_linear_value_is_read_exactly():
    features = draw(300, 8)
    split = split_by_group(own_groups(300), seed=0)
    target = Target.of(features @ draw(8, seed=1) + 4)
    (read,) = readings(features, [target], split, penalties=(1e-9,))
    assert (read.score, read.low, read.high) == pytest.approx((1, 1, 1))


def test_the_penalty_does_not_depend_on_the_rows_tested_on():
    features, values = draw(100, 30), draw(100, seed=1)
    split = split_by_group(own_groups(100), seed=0)
    changed = values.where(~split.test, -5 * values)
    one, other = readings(features, [Target.of(values), Target.of(changed)], split)
    assert (one.penalty, one.validation) == (other.penalty, other.validation)
    assert one.score != other.score


def test_noise_takes_the_largest_penalty_and_signal_the_smallest():
    features = draw(120, 60)
    split = split_by_group(own_groups(120), seed=0)
    targets = [Target.of(draw(120, seed=1)), Target.of(features[:, 0] + features[:, 1])]
    noise, signal = readings(features, targets, split, penalties=(1e-3, 1e6))
    assert (noise.penalty, signal.penalty) == (1e6, 1e-3)


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
    target = Target.of(torch.arange(40) % 7)
    split = split_by_group(own_groups(40), seed=0)
    shuffled = target.shuffled(split, torch.Generator().manual_seed(0))
    assert not torch.equal(shuffled.values, target.values)
    for part in (split.fit, split.validation, split.test):
        assert torch.equal(shuffled.values[part].sort()[0], target.values[part].sort()[0])


def test_accuracy_and_r2_are_scikit_learns():
    classes, outputs = torch.arange(30) % 3, draw(30, 3)
    values = draw(30, seed=1)
    assert Target.of(classes).score(outputs) == pytest.approx(
        accuracy_score(classes, outputs.argmax(1))
    )
    assert Target.of(values).score(outputs[:, :1]) == pytest.approx(r2_score(values, outputs[:, 0]))


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
    assert baseline_score(Target.of(values), split) == pytest.approx(expected)


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


def test_rows_of_a_group_count_once_in_the_interval_of_accuracy():
    target, outputs = Target.of(torch.arange(20) % 2), draw(20, 2)
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
    assert reason in objection(Target.of(values), split_by_group(own_groups(40), seed=0))


def test_a_target_that_can_be_probed_has_no_objection():
    split = split_by_group(own_groups(40), seed=0)
    assert objection(Target.of(torch.arange(40) % 2), split) == ""


@pytest.mark.parametrize("penalties", [(), (1.0, 0.0)])
def test_penalties_that_are_not_positive_are_refused(penalties):
    with pytest.raises(ValueError, match="each above 0"):
        ridge_probes(draw(5, 2), draw(5, 1), penalties)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method 'lasso' is unknown; there are ridge, logistic"):
        check_method("lasso", PENALTIES)
