import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import LearningPlateau
from analyses.dynamics.plateau import smoothed
from analyses.in_context.prompts import late_score
from hooks import Examples, Facts, Snapshot, build
from hooks.edit import Edit
from interp.tasks.functions.function_classes import FunctionClasses
from tests.planted import config_for
from tests.sweeps import drawn, series_of

CHANCE = 0.25
STEPS = np.arange(0, 2000, 100)


def planted(score, loss=None, chances=None, **columns):
    """A run that recorded these values; splits have a chance of 0.25 unless another is given."""
    table = {"step": STEPS[: len(score)], "test.late_accuracy": score}
    table |= {} if loss is None else {"test.loss": loss}
    frame = pd.DataFrame(table | columns)

    def examples(split, count, seed):
        shape = (1, 2)
        return Examples(
            torch.zeros(shape),
            torch.ones(shape, dtype=torch.bool),
            torch.zeros(shape, dtype=torch.long),
            facts=Facts(chance=(chances or {}).get(split, CHANCE)),
        )

    return replace(series_of([], []), recorded=frame, make_examples=examples)


# On the plateau up to step 900, and 1 from step 1000 on.
STEP = planted(np.where(STEPS < 1000, CHANCE, 1.0), np.where(STEPS < 1000, math.log(4), 0.0))
# On the plateau up to step 1000, then up in a straight line to 1 at step 1900.
RAMP = planted(np.interp(STEPS, [1000, 1900], [CHANCE, 1]))


def test_a_step_ends_the_plateau_where_it_is():
    found = LearningPlateau.measure(STEP, window=1)
    assert (found.length, found.length_by_loss, found.flat_loss) == (1000, 1000, math.log(4))
    assert found.transition == (1000, 1000)
    assert (found.told, found.is_censored) == ("1000", False)


def test_each_split_has_its_own_chance():
    score = np.where(STEPS < 500, 0.5, np.where(STEPS < 1000, 0.65, 1.0))
    run = planted(score, chances={"test": 0.625}, **{"fresh.late_accuracy": score})
    lengths = [
        LearningPlateau.measure(run, split=each, window=1).length for each in ("test", "fresh")
    ]
    assert lengths == [1000, 0]


def test_a_window_sees_a_step_half_a_window_ahead():
    assert LearningPlateau.measure(STEP, window=3).length == 900


def test_a_ramp_has_the_width_of_its_parts():
    found = LearningPlateau.measure(RAMP, window=1)
    # A tenth of the way is at step 1090, four fifths at 1720; evaluations are 100 apart.
    assert found.transition == (1100, 1800)
    assert found.length == 1100
    assert found.summary()["transition_width"] == 700


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7])
def test_the_plateau_ends_at_a_share_of_the_way_from_chance_to_1(share):
    found = LearningPlateau.measure(RAMP, share=share, window=1)
    level = CHANCE + share * (1 - CHANCE)
    assert found.length == STEPS[RAMP.metrics["test.late_accuracy"] >= level][0]


def test_a_run_that_never_escapes_is_censored():
    found = LearningPlateau.measure(planted(np.full(20, CHANCE), np.full(20, 1.4)))
    assert (found.told, found.is_censored) == ("> 1900", True)
    assert math.isnan(found.length)
    assert all(math.isnan(each) for each in found.transition)
    assert math.isnan(found.length_by_loss)
    assert found.summary()["is_censored"] == 1


def test_a_run_that_escapes_at_once_has_no_plateau():
    assert LearningPlateau.measure(planted(np.ones(20), np.zeros(20))).length == 0


def test_a_high_first_loss_is_not_the_flat_one():
    loss = np.where(STEPS < 1000, 1.4, 0.2)
    loss[0] = 9.0
    found = LearningPlateau.measure(planted(np.where(STEPS < 1000, CHANCE, 1), loss), window=1)
    assert (found.flat_loss, found.length_by_loss) == (1.4, 1000)


def test_a_loss_that_only_rises_never_ends_the_plateau():
    found = LearningPlateau.measure(planted(np.full(20, CHANCE), np.linspace(1.4, 4, 20)))
    assert math.isnan(found.length_by_loss)


def test_smoothing_is_a_mean_over_what_is_there():
    np.testing.assert_allclose(smoothed(np.array([1.0, 2, 6, 7]), 3), [1.5, 3, 5, 6.5])


def test_the_share_explained_starts_from_0():
    frame = pd.DataFrame({"step": STEPS, "test.explained": STEPS / 2000, "test.error": 1.0})
    found = LearningPlateau.measure(replace(STEP, recorded=frame), window=1)
    assert (found.metric, found.chance, found.length) == ("test.explained", 0, 200)


def test_a_split_and_a_metric_can_be_asked_for():
    other = {"fresh.late_accuracy": np.full(20, CHANCE), "fresh.accuracy": np.ones(20)}
    series = planted(np.ones(20), **other)
    assert LearningPlateau.measure(series).metric == "test.late_accuracy"
    assert LearningPlateau.measure(series, split="fresh").is_censored
    assert LearningPlateau.measure(series, metric="accuracy").metric == "fresh.accuracy"


def test_a_series_without_metrics_is_measured(prompts_run):
    series = replace(prompts_run.series(), recorded=None)
    found = LearningPlateau.measure(series)
    expected = [late_score(prompts_run.snapshot(step)) for step in prompts_run.steps]
    assert found.steps.tolist() == list(prompts_run.steps)
    np.testing.assert_allclose(found.score, expected)
    assert set(found.figures()) == {"score"}


def test_always_answering_zero_explains_nothing_and_the_truth_all():
    task = FunctionClasses(d=3, pairs=8, test_prompts=50)
    snapshot = Snapshot.of(
        build(config_for(task.sizes), task.sizes, seed=0), task.examples("test", None, 0)
    )
    silent = {name: torch.zeros_like for name in ("unembed.W_U", "unembed.b_U")}
    zero = snapshot.edited(Edit(parameters=silent))
    assert late_score(zero) == pytest.approx(0)
    nothing = replace(snapshot.examples, targets=torch.full_like(snapshot.examples.targets, 2))
    half = {"unembed.W_U": torch.zeros_like, "unembed.b_U": torch.ones_like}
    # Answering 1 where 2 is right leaves a quarter of the squares.
    assert late_score(snapshot.edited(Edit(parameters=half)).on(nothing)) == pytest.approx(3 / 4)


def test_marks_are_the_ends_that_came():
    assert LearningPlateau.measure(RAMP, window=1).marks() == {
        "plateau ends": 1100, "transition ends": 1800,
    }  # fmt: skip


def test_figures_hold_what_was_recorded():
    figures = LearningPlateau.measure(STEP).figures()
    assert list(figures) == ["score", "loss"]
    assert drawn(figures["score"])["layout"]["title"]["text"].startswith("The plateau lasts 900")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 2}, "window = 2: take an odd number"),
        ({"window": -1}, "window = -1"),
        ({"share": 1.0}, "share = 1.0"),
        ({"drop": 0.0}, "drop = 0.0"),
        ({"metric": "loss"}, "reads late_accuracy, .*; this run recorded test.late_accuracy"),
        ({"split": "fresh"}, "this run recorded test.late_accuracy"),
    ],
)
def test_options_that_are_wrong_are_refused(options, message):
    with pytest.raises(ValueError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        LearningPlateau.measure(STEP, **options)


def test_a_run_that_diverged_is_refused():
    with pytest.raises(ValueError, match=r"test\.late_accuracy is not finite"):
        LearningPlateau.measure(planted(np.array([0.25, math.nan])))


def test_a_task_that_is_right_without_context_has_no_plateau():
    with pytest.raises(ValueError, match=r"chance = 1\.0: all is right without context"):
        LearningPlateau.measure(planted(np.ones(20), chances={"test": 1.0}))


def test_a_run_that_loses_what_it_gained_has_no_transition():
    score = np.where(STEPS < 500, CHANCE, np.where(STEPS < 1000, 0.9, 0.1))
    found = LearningPlateau.measure(planted(score), window=1)
    assert found.length == 500
    assert np.isnan(found.transition).all()


@pytest.mark.parametrize(
    ("score", "strength", "text"),
    [
        (STEP, "found", "leaves its plateau at step 1,000 and ends at 100 %"),
        (
            planted(np.full(20, CHANCE)),
            "not found",
            "stays on its plateau to the last step, 1,900, and ends at 25 %",
        ),
        (
            planted(np.where(STEPS == 1000, 1.0, CHANCE)),
            "not found",
            "leaves its plateau at step 1,000, falls back and ends at 25 %",
        ),
        (
            planted(np.full(20, 0.9)),
            "not found",
            "is above a plateau at the first evaluation already, and ends at 90 %",
        ),
    ],
)
def test_a_plateau_is_found_where_the_score_leaves_it_for_good(score, strength, text):
    (finding,) = LearningPlateau.measure(score, window=1).findings()
    expected = f"Accuracy of the last answers {text} (without context: 25 %)"
    assert (finding.strength, finding.text) == (strength, expected)
