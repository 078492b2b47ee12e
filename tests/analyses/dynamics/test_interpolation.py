import dataclasses

import numpy as np
import pytest

import interp
from analyses import LinearInterpolation
from analyses.dynamics.interpolation import COUNT


def score(grokked, step, train):
    """Loss of a kept step on the examples that interpolation takes."""
    from hooks.examples import token_losses

    snapshot = grokked.snapshot(step, count=COUNT)
    losses = token_losses(snapshot.logits()[:, -1].double(), snapshot.examples.targets[:, -1])
    return losses[snapshot.examples.labels["train"] == train].mean().item()


@pytest.fixture(scope="module")
def line(grokked):
    return LinearInterpolation.measure(grokked.series(), start=75, points=5)


def test_the_ends_are_the_checkpoints(grokked, line):
    assert line.loss[0, 0] == pytest.approx(score(grokked, 75, True))
    assert line.loss[1, -1] == pytest.approx(score(grokked, 975, False))


def test_points_are_evenly_spread(line):
    np.testing.assert_allclose(line.positions, [0, 0.25, 0.5, 0.75, 1])


def test_a_line_from_a_step_to_itself_is_flat(grokked):
    flat = LinearInterpolation.measure(grokked.series(), start=975, points=3)
    np.testing.assert_allclose(flat.loss, flat.loss[:, :1].repeat(3, 1))
    np.testing.assert_allclose(flat.barrier, 0, atol=1e-12)


def test_train_loss_has_a_barrier_between_memorising_and_generalising(line):
    barrier = dict(zip(line.parts, line.barrier, strict=True))
    assert barrier["train"] > 1
    assert line.summary()["only_falls_train"] == "no"


def test_a_line_has_at_least_two_points(grokked):
    with pytest.raises(ValueError, match="points = 1: a line has at least its two ends"):
        LinearInterpolation.measure(grokked.series(), points=1)


def test_a_step_that_was_not_kept_is_refused(grokked):
    with pytest.raises(ValueError, match="step 7 was not kept; there are 0, 25"):
        LinearInterpolation.measure(grokked.series(), start=7)


def test_a_part_without_examples_is_left_out(grokked):
    series = grokked.series()
    train = series.examples("train", 50)
    own = dataclasses.replace(series, make_examples=lambda split, count, seed: train)
    found = LinearInterpolation.measure(own, points=2)
    assert found.parts == ("train",)
    assert np.isfinite(found.loss).all()


def test_a_run_that_answers_real_numbers_is_refused_in_words():
    run = interp.load("fixtures/in-context-linear")
    with pytest.raises(ValueError, match=r"\ALinearInterpolation needs .*classes"):
        LinearInterpolation.measure(run)


def test_a_bump_is_found_and_a_line_without_one_is_not(line):
    bumpy = dataclasses.replace(
        line, loss=np.array([[4.0, 5, 4, 3, 2], [4, 4, 4, 4, 4]]), guess_loss=3.5
    )
    (finding,) = bumpy.findings()
    assert (finding.strength, finding.text) == (
        "found",
        "Loss has a bump between the weights of steps 75 and 975: it rises by 1.50 (train) and "
        "0.00 (test) nats above the line of its ends (guessing: 3.50)",
    )
    (finding,) = dataclasses.replace(line, loss=line.loss * 0 + [5, 4, 3.05, 2, 1]).findings()
    assert finding.strength == "not found"
    assert finding.text.startswith("Loss has no bump")


def test_nothing_is_said_of_a_line_to_itself_or_of_losses_that_are_not_finite(line):
    assert dataclasses.replace(line, start=975).findings() == ()
    assert dataclasses.replace(line, loss=line.loss * np.nan).findings() == ()
