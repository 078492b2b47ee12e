import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from analyses import GrokkingPhases
from analyses.statistics import crossing
from hooks import Facts

STEPS = 10 * np.arange(20)


def curve(start: float, crossed: int, end: float) -> np.ndarray:
    """One value, and from an index on another."""
    return np.where(np.arange(20) < crossed, start, end)


def phases_of(grokked, train, test, *, loss=None, **options):
    """Phases of a run with given accuracies, and losses that follow them."""
    loss = (1.01 - train, 1.01 - test) if loss is None else loss
    frame = pd.DataFrame(
        {
            "step": STEPS,
            "train.accuracy": train,
            "test.accuracy": test,
            "train.loss": loss[0],
            "test.loss": loss[1],
        }
    )
    series = dataclasses.replace(grokked.series(), recorded=frame, facts=Facts(chance=0.02))
    return GrokkingPhases.measure(series, **options)


def test_a_crossing_is_the_first_of_several_that_hold():
    values = np.array([0, 1, 0, 1, 1, 1, 0])
    assert crossing(STEPS[:7], values, 1, 3) == 30


def test_a_spike_is_no_crossing():
    assert math.isnan(crossing(STEPS, curve(0, 18, 1), 1, 3))


def test_fewer_evaluations_than_asked_for_are_no_crossing():
    assert math.isnan(crossing(STEPS[:2], np.ones(2), 1, 3))


@pytest.mark.parametrize(
    ("train", "test", "category"),
    [
        (curve(0.1, 20, 1), curve(0.02, 20, 1), "fails"),
        (curve(0.1, 2, 1), curve(0.02, 20, 1), "memorises"),
        (curve(0.1, 2, 1), curve(0.02, 5, 0.8), "partial"),
        (curve(0.1, 4, 1), curve(0.1, 5, 1), "generalises"),
        (curve(0.1, 4, 1), curve(0.02, 8, 1), "groks"),
    ],
)
def test_accuracies_name_the_outcome(grokked, train, test, category):
    assert phases_of(grokked, train, test).category == category


@pytest.mark.parametrize(
    ("train", "test", "category"),
    [
        (curve(1, 5, 1e-3), curve(1, 20, 0), "high train loss"),
        (curve(1, 5, 1e-6), curve(1, 20, 0), "high test loss"),
        (curve(1, 5, 1e-6), curve(1, 5, 1e-6), "drop together"),
        (curve(1, 5, 1e-6), curve(1, 9, 1e-6), "grokking"),
    ],
)
def test_losses_name_the_outcome(grokked, train, test, category):
    accuracy = curve(0, 5, 1)
    assert phases_of(grokked, accuracy, accuracy, loss=(train, test)).loss_category == category


def test_the_scale_of_losses_can_turn_the_rule_on_losses(grokked):
    accuracy, loss = curve(0, 5, 1), curve(1, 5, 5e-5)
    low = phases_of(grokked, accuracy, accuracy, loss=(loss, loss), loss_scale=1 / 67)
    high = phases_of(grokked, accuracy, accuracy, loss=(loss, loss))
    assert (low.loss_category, high.loss_category) == ("drop together", "high train loss")


def test_delay_and_ratio_come_from_the_crossings(grokked):
    summary = phases_of(grokked, curve(0.1, 4, 1), curve(0.02, 10, 1)).summary()
    assert (summary["t_train"], summary["t_test"]) == (40, 100)
    assert (summary["delay"], summary["delay_ratio"]) == (60, 2.5)
    assert summary["test_accuracy_at_t_train"] == 0.02


def test_a_sustained_fall_after_generalising_is_forgetting(grokked):
    test = np.where(np.arange(20) < 15, curve(0.02, 8, 1), 0.5)
    assert phases_of(grokked, curve(0.1, 2, 1), test).forgets == 150


def test_a_single_dip_is_not_forgetting(grokked):
    test = np.where(np.arange(20) == 15, 0.5, curve(0.02, 8, 1))
    assert math.isnan(phases_of(grokked, curve(0.1, 2, 1), test).forgets)


def test_cleanup_starts_where_test_loss_begins_to_fall_and_ends_where_it_settles(grokked):
    falling = np.interp(np.arange(20), [0, 10, 14, 19], [0.0, 0, -8, -8])
    loss = (curve(1, 2, 1e-3), np.exp(falling))
    phases = phases_of(grokked, curve(0.1, 2, 1), curve(0.02, 13, 1), loss=loss).phases
    assert phases == (20, 100, 140)


def test_a_run_that_never_generalises_has_no_cleanup(grokked):
    phases = phases_of(grokked, curve(0.1, 2, 1), curve(0.02, 20, 1)).phases
    assert np.isnan(phases[1:]).all()


def test_only_what_happened_is_marked(grokked):
    assert phases_of(grokked, curve(0.1, 2, 1), curve(0.02, 20, 1)).marks() == {"train ≥ 99%": 20}


def test_the_fixture_groks(grokked):
    found = GrokkingPhases.measure(grokked.series())
    assert found.category == "groks"
    assert found.test_at_train < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evaluations": 0}, "evaluations = 0: a crossing takes at least one"),
        ({"level": 99.0}, "level = 99.0: an accuracy lies above 0 and is at most 1"),
        ({"level": 0.0}, "level = 0.0: an accuracy"),
        ({"loss_scale": 0.0}, "loss_scale = 0.0: losses are multiplied by more than 0"),
    ],
)
def test_options_out_of_range_are_refused(grokked, options, message):
    with pytest.raises(ValueError, match=message):
        GrokkingPhases.measure(grokked.series(), **options)


def test_metrics_without_test_loss_are_refused_by_name(grokked):
    frame = pd.DataFrame({"step": [0], "train.loss": [1.0]})
    series = dataclasses.replace(grokked.series(), recorded=frame)
    with pytest.raises(ValueError, match=r"needs test\.loss; metrics has"):
        GrokkingPhases.measure(series)


def by_losses(grokked, train, test, *, chance=0.02, others=(), **options):
    """Phases of a run that recorded losses alone, of 50 classes."""
    frame = pd.DataFrame({"step": STEPS, "train.loss": train, "test.loss": test})
    frame[[*others]] = 1.0
    series = dataclasses.replace(grokked.series(), recorded=frame, facts=Facts(chance=chance))
    return GrokkingPhases.measure(series, **options)


@pytest.mark.parametrize(
    ("train", "test", "category"),
    [
        (curve(3.9, 20, 1), curve(3.9, 20, 1), "fails"),
        (curve(3.9, 2, 0.008), curve(3.9, 5, 0.001), "fails"),  # 1 % of log 2 is .00693
        (curve(3.9, 2, 0.006), curve(3.9, 5, 20.0), "memorises"),
        (curve(3.9, 2, 0.006), curve(3.9, 5, 1.97), "memorises"),  # half of log 50 is 1.956
        (curve(3.9, 2, 0.006), curve(3.9, 5, 1.95), "partial"),
        (curve(3.9, 4, 0.006), curve(3.9, 5, 0.006), "generalises"),
        (curve(3.9, 4, 0.006), curve(3.9, 8, 0.006), "groks"),
        (curve(3.9, 4, 0.006), curve(3.9, 18, 0.006), "partial"),  # not for three evaluations
        (curve(math.nan, 20, 0), curve(3.9, 8, 0.006), "fails"),
    ],
)
def test_losses_alone_name_the_outcome(grokked, train, test, category):
    assert by_losses(grokked, train, test).category == category


def test_what_is_by_losses_says_so(grokked):
    found = by_losses(grokked, curve(3.9, 4, 0.006), curve(3.9, 8, 0.006))
    summary = found.summary()
    assert (summary["rule"], summary["t_train"], summary["t_test"]) == ("loss", 40, 80)
    assert math.isnan(float(summary["test_accuracy_at_t_train"]))
    figures = found.figures()
    assert [*figures] == ["loss", "loss_ratio"]
    title = figures["loss"].layout.title.text  # pyright: ignore[reportAttributeAccessIssue]
    assert "The run groks by losses, without accuracies" in title
    assert "train loss ≤ 0.0069" in found.marks()
    assert phases_of(grokked, curve(0, 4, 1), curve(0, 8, 1)).summary()["rule"] == "accuracy"


def test_a_mean_loss_that_crosses_proves_the_accuracy(grokked):
    rng = np.random.default_rng(0)
    for scale in (0.01, 0.1, 1.0):
        logits = rng.normal(size=(4000, 7)) + np.eye(7)[0] / scale
        losses = np.log(np.exp(logits).sum(1)) - logits[:, 0]
        accuracy = (logits.argmax(1) == 0).mean()
        level = 1 - losses.mean() / math.log(2)
        assert accuracy >= level
        if 0 < level < 1:
            found = by_losses(grokked, curve(3.9, 4, 1), curve(3.9, 8, 1), level=level)
            assert found.crossed_loss == pytest.approx(losses.mean())


def test_scaled_losses_cross_at_the_same_step(grokked):
    train, test = curve(3.9, 4, 0.006), curve(3.9, 8, 0.006)
    found = by_losses(grokked, train, test, loss_scale=1 / 67)
    assert (found.t_train, found.t_test) == (40, 80)


def test_one_accuracy_is_as_none(grokked):
    train, test = curve(3.9, 4, 0.006), curve(3.9, 8, 0.006)
    assert by_losses(grokked, train, test, others=("train.accuracy",)).rule == "loss"


@pytest.mark.parametrize("chance", [math.nan, 0.0, 1.0])
def test_losses_without_a_known_chance_are_refused(grokked, chance):
    with pytest.raises(
        ValueError, match=r"needs train\.accuracy and test.accuracy, or a task that te"
    ):
        by_losses(grokked, STEPS * 0.0, STEPS * 0.0, chance=chance)


def test_a_level_that_no_mean_loss_proves_is_refused(grokked):
    with pytest.raises(ValueError, match=r"level = 1: train\.accuracy and test.accuracy were not"):
        by_losses(grokked, STEPS * 0.0, STEPS * 0.0, level=1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("place", [3, -1])
def test_a_run_with_a_loss_that_is_no_number_has_diverged_by_the_rule_on_losses(
    grokked, value, place
):
    train, test = curve(0.1, 4, 1), curve(0.02, 8, 1)
    losses = [1.01 - train, 1.01 - test]
    losses[1][place] = value
    found = phases_of(grokked, train, test, loss=losses)
    assert found.loss_category == "diverged"
    assert found.category == "groks"
    assert np.isnan(found.phases[1:]).all()


def test_a_test_loss_that_never_falls_has_no_cleanup(grokked):
    accuracy, flat = curve(0.1, 4, 1), np.ones(20)
    found = phases_of(grokked, accuracy, accuracy, loss=(flat, flat))
    assert found.phases[0] == 40
    assert np.isnan(found.phases[1:]).all()


def test_an_unknown_accuracy_now_and_then_hides_no_partial_run(grokked):
    test = curve(0.02, 5, 0.8)
    test[2] = math.nan
    assert phases_of(grokked, curve(0.1, 2, 1), test).category == "partial"


def said(result):
    """Its findings: strength, text."""
    return [(finding.strength, finding.text) for finding in result.findings()]


def test_a_run_that_groks_is_said_to_beside_its_test_accuracy_then(grokked):
    found = phases_of(grokked, curve(0.1, 4, 1), curve(0.02, 10, 1), tau=0.02)
    assert said(found)[0] == (
        "found",
        "Train accuracy reaches 99 % at step 40 (test then 2 %, chance 2 %), test accuracy at "
        "step 100, 2.5 times as late: the run groks",
    )


def test_a_run_that_memorises_or_fails_is_not_found_beside_chance(grokked):
    flat = curve(0.02, 20, 1)
    memorises = phases_of(grokked, curve(0.1, 4, 1), flat)
    assert said(memorises) == [
        (
            "not found",
            "Train accuracy reaches 99 % at step 40, test accuracy at none (it ends at 2 %, chance "
            "2 %): the run memorises",
        ),
        (
            "not found",
            "The rule on losses calls the run 'high train loss': its lowest train loss is 0.01 "
            "nats, low is at most 1e-05",
        ),
    ]
    assert said(phases_of(grokked, flat, flat))[0] == (
        "not found",
        "Train accuracy reaches 99 % at no step (it ends at 2 %, chance 2 %): the run fails",
    )


def test_a_run_that_forgets_says_so(grokked):
    test = np.where(np.arange(20) < 15, curve(0.02, 8, 1), 0.5)
    told = "Test accuracy falls to 90 % or less again at step 150 (it ends at 50 %, chance 2 %)"
    forgets = phases_of(grokked, curve(0.1, 2, 1), test)
    assert ("found", f"{told}: the run forgets") in said(forgets)
    kept = phases_of(grokked, curve(0.1, 2, 1), curve(0.02, 8, 1))
    assert not any("forgets" in text for _, text in said(kept))


def test_rules_that_disagree_are_both_named_with_the_number_that_decides(grokked):
    accuracy = (curve(0.1, 4, 1), curve(0.02, 10, 1))
    losses = (curve(1, 5, 1e-6), curve(1, 9, 2e-5))
    found = phases_of(grokked, *accuracy, loss=losses)
    why = "its lowest test loss is 2e-05 nats, low is at most 1e-05"
    assert said(found)[1] == (
        "not found",
        f"The rule on losses calls the run 'high test loss': {why}",
    )
    titles = [figure.layout.title.text for figure in found.figures().values()]  # pyright: ignore[reportAttributeAccessIssue]
    assert titles[0].startswith("By accuracy the run groks: train 99%")
    assert titles[1] == f"Rule on losses: high test loss, since {why}"
    summary = found.summary()
    lowest = summary["lowest_train_loss"], summary["lowest_test_loss"], summary["low_loss"]
    assert lowest == (1e-6, 2e-5, 1e-5)


def test_rules_that_agree_are_one_sentence(grokked):
    accuracy = (curve(0.1, 5, 1), curve(0.02, 10, 1))
    losses = (curve(1, 5, 1e-6), curve(1, 9, 1e-6))
    assert len(said(phases_of(grokked, *accuracy, loss=losses))) == 1


def test_a_loss_that_is_not_finite_and_unknown_accuracies_are_no_numbers_in_sentences(grokked):
    train, test = curve(0.1, 4, 1), curve(0.02, 20, 1)
    losses = [1.01 - train, 1.01 - test]
    losses[1][3], test[-1] = math.inf, math.nan
    found = phases_of(grokked, train, test, loss=losses)
    assert said(found)[0][1].endswith("test accuracy at none: the run memorises")
    assert said(found)[1][1].endswith("'diverged': a loss is not finite")
    assert math.isnan(float(found.summary()["lowest_test_loss"]))


def test_crossings_of_losses_name_the_accuracy_that_they_prove(grokked):
    found = by_losses(grokked, curve(3.9, 4, 0.006), curve(3.9, 8, 0.006))
    assert said(found)[0] == (
        "found",
        "Train loss reaches 0.0069 nats (which proves an accuracy of 99%) at step 40, test loss at "
        "step 80, 2.0 times as late: the run groks",
    )
