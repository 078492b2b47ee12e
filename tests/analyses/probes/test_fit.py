import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.testing import assert_close

from analyses.probes.evaluate import ProbeTarget, check_method, readings, split_by_group
from analyses.probes.fit import _batches, adam_probes, logistic_probes, ridge_probes

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


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_logistic_fit_is_the_same_whichever_others_come_before_it(n_classes):
    features = draw(150, 6)
    classes = (features @ draw(6, n_classes, seed=2) + draw(150, n_classes, seed=3)).argmax(1)
    together = logistic_probes(features, classes, (1.0, 100.0, 10.0))
    alone = [logistic_probes(features, classes, (each,)).weights[0] for each in (1.0, 100.0, 10.0)]
    # scikit-learn stops where no derivative of the mean loss is over 1e-4
    assert_close(together.weights, torch.stack(alone), rtol=0.02, atol=0.005)


def test_logistic_probes_read_single_precision_as_they_read_double():
    features, new = draw(150, 6), draw(80, 6, seed=1)
    classes = (features @ draw(6, 3, seed=2)).argmax(1)
    single, double = (
        logistic_probes(each, classes, (1.0,)).outputs(new)[0]
        for each in (features.float(), features)
    )
    assert single.dtype == torch.float64
    assert_close(single, double, rtol=0, atol=0.02)


def adam_outputs(features, *classes):
    sizes = [int(each.max()) + 1 for each in classes]
    return adam_probes(features, torch.stack(classes, 1), sizes).outputs(features)[0]


def test_adams_first_update_is_its_rate_against_the_sign_of_the_gradient(monkeypatch):
    monkeypatch.setattr("analyses.probes.fit.ADAM_UPDATES", 0)
    features, classes = draw(30, 3).float(), torch.arange(30) % 2
    start = adam_outputs(features, classes)
    monkeypatch.setattr("analyses.probes.fit.ADAM_UPDATES", 1)
    error = start.softmax(1) - torch.nn.functional.one_hot(classes)
    x = features.double()
    moved = start - 1e-3 * (x @ (x.T @ error).sign() + error.sum(0).sign())
    assert_close(adam_outputs(features, classes), moved, rtol=0, atol=1e-5)


def test_adam_goes_over_few_rows_again_and_reads_them():
    features = draw(200, 4).float()
    classes = (features @ draw(4, 3, seed=1).float()).argmax(1)
    assert (adam_outputs(features, classes).argmax(1) == classes).double().mean() > 0.9


def test_adam_sees_every_row_once_a_pass(monkeypatch):
    monkeypatch.setattr("analyses.probes.fit.ADAM_UPDATES", 6)
    monkeypatch.setattr("analyses.probes.fit.ADAM_BATCH", 10)
    seen = torch.cat(list(_batches(30, torch.Generator().manual_seed(0)))).view(2, 30)
    assert_close(seen.sort(1).values, torch.arange(30).expand(2, -1))
    assert (seen[0] != seen[1]).any()


def test_targets_of_an_adam_fit_do_not_touch_each_other():
    features, classes = draw(40, 3).float(), torch.arange(40) % 4
    others = [(draw(40, seed=seed) > 0).long() for seed in (1, 2)]
    one, two = (adam_outputs(features, classes, each) for each in others)
    assert_close(one[:, :4], two[:, :4])
    assert (one[:, 4:] != two[:, 4:]).any()


@pytest.mark.parametrize("method", ["ridge", "logistic", "adam"])
def test_a_planted_linear_class_is_read_and_shuffled_it_is_not(method):
    features = draw(2000, 8)
    target = ProbeTarget.of(features[:, 2] > 0)
    split = split_by_group(own_groups(2000), seed=0)
    shuffled = target.shuffled(split, torch.Generator().manual_seed(0))
    true, chance = readings(features, [target, shuffled], split, method=method)
    assert true.score > 0.97
    low, high = binom.interval(0.999, 500, 0.5)
    assert low <= 500 * chance.score <= high


def test_a_planted_linear_value_is_read_exactly():
    features = draw(300, 8)
    split = split_by_group(own_groups(300), seed=0)
    target = ProbeTarget.of(features @ draw(8, seed=1) + 4)
    (read,) = readings(features, [target], split, penalties=(1e-9,))
    assert (read.score, read.low, read.high) == pytest.approx((1, 1, 1))


def test_the_penalty_does_not_depend_on_the_rows_tested_on():
    features, values = draw(100, 30), draw(100, seed=1)
    split = split_by_group(own_groups(100), seed=0)
    changed = values.where(~split.test, -5 * values)
    one, other = readings(features, [ProbeTarget.of(values), ProbeTarget.of(changed)], split)
    assert (one.penalty, one.validation) == (other.penalty, other.validation)
    assert one.score != other.score


def test_noise_takes_the_largest_penalty_and_signal_the_smallest():
    features = draw(120, 60)
    split = split_by_group(own_groups(120), seed=0)
    targets = [ProbeTarget.of(draw(120, seed=1)), ProbeTarget.of(features[:, 0] + features[:, 1])]
    noise, signal = readings(features, targets, split, penalties=(1e-3, 1e6))
    assert (noise.penalty, signal.penalty) == (1e6, 1e-3)


@pytest.mark.parametrize("penalties", [(), (1.0, 0.0), (float("nan"),), (float("inf"),)])
def test_penalties_that_are_not_positive_are_refused(penalties):
    with pytest.raises(ValueError, match="each above 0"):
        ridge_probes(draw(5, 2), draw(5, 1), penalties)


def test_an_unknown_method_is_refused():
    with pytest.raises(
        ValueError, match="method 'lasso' is unknown; there are ridge, logistic, adam"
    ):
        check_method("lasso", PENALTIES)
