"""The learning coefficient on the fixture, by hand, and what is refused."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import interp
from analyses import LocalLearningCoefficient
from hooks import Checkpoints, Examples
from hooks.models import parameters_of
from interp.measure.analyze import _not_by_default
from tests.planted import random_model, tokens_as_examples

FIXTURE = interp.load("fixtures/modular-addition")
QUICK: dict[str, Any] = {"burn_in": 10, "draws": 20}
# llc and gauss by step, measured by other code: gamma 1e4 and 1e3 in 140 steps, gamma 100 in 400.
TABLE = {
    1e4: {50: (8.68, 10.51), 75: (5.59, 6.01), 100: (5.13, 5.19), 200: (1.81, 1.82),
          300: (0.66, 0.64), 500: (0.04, 0.04)},
    1e3: {50: (73.51, 111.89), 75: (70.94, 132.02), 100: (64.82, 108.92), 200: (40.35, 73.81),
          300: (24.95, 45.86), 500: (4.08, 6.63), 600: (1.28, 1.77), 800: (0.25, 0.26)},
    100: {75: (414.14, 1945.82), 100: (399.11, 1712.35), 200: (331.39, 1709.44),
          300: (259.39, 1595.25), 500: (100.04, 1034.33), 600: (57.70, 750.73),
          800: (36.58, 581.48), 975: (31.79, 558.86)},
}  # fmt: skip


def as_in_table(gamma, steps, tolerance, **options):
    """Measures some steps at a gamma, and compares them; a rare draw may decide the control."""
    result = LocalLearningCoefficient.measure(FIXTURE, gammas=(gamma,), steps=steps, **options)
    known = np.array([TABLE[gamma][step] for step in steps])
    assert_allclose(result.estimate[0], known[:, 0], rtol=tolerance, atol=0.05)
    assert_allclose(result.gauss[0], known[:, 1], rtol=0.5, atol=0.05)
    return result


def test_a_minimum_of_the_fixture_has_the_known_coefficient_and_control():
    result = as_in_table(1e3, (100, 300), 0.08, burn_in=60, draws=60)
    assert result.reasons.tolist() == [["", ""]]
    assert_allclose(result.llc, result.estimate)
    assert_allclose(result.gauss[0], [108.92, 45.86], rtol=0.15)
    assert_allclose(result.distance, 5.79, rtol=0.01)
    assert_allclose(result.train_loss, [0.05912, 0.00434], rtol=1e-3)
    assert (result.n, result.d, result.nbeta) == (1123, 32928, pytest.approx(159.9, abs=0.02))
    assert result.frozen[-1] == "unembed.b_U"
    assert {name.split(".")[-1][:2] for name in result.frozen} == {"b_"}


def test_an_untrained_model_says_that_it_is_at_no_minimum():
    result = LocalLearningCoefficient.measure(FIXTURE, steps=(0,), burn_in=30, draws=30)
    assert result.reasons.tolist() == [["loss falls: not at a minimum"]]
    assert result.summary()["reason"] == "loss falls: not at a minimum"
    assert math.isnan(float(result.summary()["llc"]))
    assert result.estimate[0, 0] > 0  # which is refused all the same


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [1e4, 1e3])
def test_all_steps_of_the_fixture_are_as_known(gamma):
    # Two chains of 80 draws err by 5 % here and in the table.
    as_in_table(gamma, tuple(TABLE[gamma]), 0.15, burn_in=60, draws=80)


@pytest.mark.slow
def test_the_default_setting_is_as_known_and_counts_the_untrained_model_out():
    as_in_table(100, tuple(TABLE[100]), 0.1)
    untrained = LocalLearningCoefficient.measure(FIXTURE, steps=(0,))
    assert untrained.reasons.tolist() == [["loss falls: not at a minimum"]]


def given(states, examples, **options):
    return Checkpoints.of(random_model(), states, examples, **options)


def pairs():
    tokens = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))
    return tokens_as_examples(tokens)


def state(seed=0):
    return {name: value.detach() for name, value in parameters_of(random_model(seed=seed)).items()}


def biased(counts):
    """A model whose answer is its bias alone, at the minimum of its loss on such counts."""
    parameters = {name: torch.zeros_like(value) for name, value in state().items()}
    shares = torch.tensor(counts, dtype=torch.float64)
    return parameters | {"unembed.b_U": (shares / shares.sum()).log()}


def test_biases_of_a_softmax_have_the_exact_coefficient_of_their_hessian():
    counts = [4, 2, 8, 1, 1, 2, 2]
    tokens = torch.zeros(20, 3, dtype=torch.long)
    targets = torch.zeros(20, 3, dtype=torch.long)
    targets[:, 2] = torch.arange(7).repeat_interleave(torch.tensor(counts))
    scored = torch.zeros(20, 3, dtype=torch.bool)
    scored[:, 2] = True
    seen = Examples(targets=targets, scored=scored, tokens=tokens)
    series = given({3: biased(counts)}, seen)
    frozen = tuple(name for name in state() if name != "unembed.b_U")
    nbeta, gamma, eps = 1e5, 1000.0, 1e-5  # so large that the loss is a parabola
    result = LocalLearningCoefficient.measure(
        series, frozen=frozen, gammas=(gamma,), eps=(eps,), nbeta=nbeta, chains=32, burn_in=100,
        draws=300,
    )  # fmt: skip
    shares = np.array(counts) / 20
    curvatures = np.linalg.eigvalsh(np.diag(shares) - np.outer(shares, shares))
    h = nbeta * curvatures + gamma
    exact = (nbeta * curvatures / 2 / (h * (1 - eps * h / 4))).sum()
    assert (result.d, result.n) == (7, 20)
    assert result.estimate[0, 0] == pytest.approx(exact, rel=0.1)
    assert result.step_index[0, 0] == pytest.approx(eps * h.max(), rel=1e-3)
    assert result.downhill[0, 0] == pytest.approx(0, abs=1e-9)


def test_what_no_kept_step_changes_stays_fixed():
    first, second = state(), state(1)
    kept = {"embed.W_E": first["embed.W_E"]}
    result = LocalLearningCoefficient.measure(given({0: first, 5: second | kept}, pairs()), **QUICK)
    assert result.frozen == ("embed.W_E",)
    every = LocalLearningCoefficient.measure(given({5: first}, pairs()), **QUICK)
    assert every.frozen == ()
    assert every.d - result.d == first["embed.W_E"].numel()


def test_frozen_parameters_may_be_named_by_patterns():
    series = given({0: state(), 5: state(1)}, pairs())
    result = LocalLearningCoefficient.measure(series, frozen=("*.W_E", "*.b_*"), **QUICK)
    assert "embed.W_E" in result.frozen
    assert "blocks.0.attn.b_Q" in result.frozen
    assert "unembed.W_U" not in result.frozen


def test_training_examples_are_those_labelled_so():
    seen = pairs()
    train = torch.arange(49) < 30
    series = given({0: state(), 5: state(1)}, replace(seen, labels={"train": train}))
    labelled = LocalLearningCoefficient.measure(series, **QUICK)
    assert (labelled.n, labelled.evaluated) == (30, 30)
    given_alone = given({0: state(), 5: state(1)}, seen.at(torch.arange(30)))
    alone = LocalLearningCoefficient.measure(given_alone, **QUICK)
    assert_allclose(labelled.estimates, alone.estimates)


def test_a_step_does_not_depend_on_which_others_are_measured(run):
    whole = LocalLearningCoefficient.measure(run, **QUICK)
    some = LocalLearningCoefficient.measure(run, steps=(40, 10), **QUICK)
    assert some.steps.tolist() == [10, 40]
    assert_allclose(some.estimates[0], whole.estimates[0][[1, 4]], rtol=1e-4)


def test_steps_that_run_one_by_one_give_what_a_stack_gives(run, monkeypatch):
    options = {"steps": (10, 40), "burn_in": 1, "draws": 4}
    together = LocalLearningCoefficient.measure(run, **options)
    monkeypatch.setattr("analyses.circuits.local_learning.TOKENS_AT_ONCE", 1)
    monkeypatch.setattr("hooks.fast.loss.TOKENS_AT_ONCE", 60)  # and few examples at once
    alone = LocalLearningCoefficient.measure(run, **options)
    for name in ("estimates", "halves", "gauss", "step_index", "downhill", "train_loss"):
        assert_allclose(getattr(alone, name), getattr(together, name), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("count", "steps"), [(1, [40]), (2, [0, 40]), (3, [0, 20, 40]), (9, None)])
def test_a_count_takes_steps_evenly_and_the_last(count, steps, run):
    result = LocalLearningCoefficient.measure(run, count=count, burn_in=0, draws=2)
    assert result.steps.tolist() == (steps or [0, 10, 20, 30, 40])


def test_each_gamma_has_its_step_size(run):
    result = LocalLearningCoefficient.measure(run, gammas=(100.0, 1e3, 1e4), count=1, **QUICK)
    assert result.eps.tolist() == pytest.approx([1e-4, 1e-4, 1e-5])
    assert result.estimates.shape == (3, 1, 2)
    assert (np.diff(result.distance[:, 0]) < 0).all()
    assert {"llc_gamma_1000", "llc_gamma_10000"} <= result.summary().keys()
    assert result.to_frame()["gamma"].tolist() == [100, 1e3, 1e4]
    assert list(result.figures()) == ["llc", "gammas"]


def test_held_out_accuracy_and_train_loss_are_those_recorded(run):
    result = LocalLearningCoefficient.measure(run, **QUICK)
    recorded = run.metrics.set_index("step").loc[result.steps]
    assert result.held_out_name == "test.accuracy"
    assert_allclose(result.held_out, recorded["test.accuracy"])
    assert_allclose(result.train_loss, recorded["train.loss"], rtol=1e-5)


def test_without_metrics_there_is_no_held_out_accuracy():
    result = LocalLearningCoefficient.measure(given({0: state(), 5: state(1)}, pairs()), **QUICK)
    assert result.held_out_name == ""
    assert np.isnan(result.held_out).all()


def test_minibatches_are_taken_when_asked_for_or_where_examples_are_many(run, monkeypatch):
    asked = LocalLearningCoefficient.measure(run, batch_size=4, count=1, **QUICK)
    assert (asked.minibatch, asked.evaluated) == (4, 24)
    assert "minibatches of 4, whose noise adds to it" in asked.setting
    whole = LocalLearningCoefficient.measure(run, count=1, **QUICK)
    assert (whole.minibatch, "minibatch" in whole.setting) == (0, False)
    monkeypatch.setattr("analyses.circuits.local_learning.FULL_BATCH", 24)
    monkeypatch.setattr("analyses.circuits.local_learning.EVALUATED", 10)
    many = LocalLearningCoefficient.measure(run, count=1, **QUICK)
    assert (many.minibatch, many.evaluated, many.n) == (256, 10, 24)


def result_with(**fields):
    """A result by hand: two steps at one gamma, of which the first has a coefficient."""
    same = np.full((1, 2), 10.0)
    made = LocalLearningCoefficient(
        steps=np.array([5, 10]), gammas=np.array([100.0]), eps=np.array([1e-4]),
        estimates=np.array([[[9.0, 11.0], [9.0, 11.0]]]),
        halves=np.array([[[10.0, 10.0], [10.0, 10.0]]]), below=0 * same, downhill=0 * same,
        step_index=0 * same, lowest=same, distance=same, gauss=same,
        train_loss=np.array([0.1, 0.2]), held_out=np.array([0.5, 0.6]),
        held_out_name="test.accuracy", frozen=(), d=3, n=7, nbeta=3.6, burn_in=1, draws=2,
        minibatch=0, evaluated=7,
    )  # fmt: skip
    changes = {}
    for name, value in fields.items():
        changes[name] = getattr(made, name).copy()
        changes[name][0, 1] = value
    return replace(made, **changes)


REASONS = {
    "": {"below": 0.05, "downhill": 0.5, "step_index": 1.0, "halves": [9.5, 10.5]},
    "chains diverged": {"estimates": [math.nan, 11.0], "step_index": 5.0},
    "step size too large": {"step_index": 1.01, "below": 0.5},
    "loss falls: not at a minimum": {"below": 0.06, "halves": [5.0, 15.0]},
    "not settled": {"halves": [9.4, 10.6]},
}


@pytest.mark.parametrize(("reason", "fields"), REASONS.items())
def test_a_step_without_a_coefficient_says_why(reason, fields):
    result = result_with(**fields)
    assert result.reasons.tolist() == [["", reason]]
    assert np.isnan(result.llc[0]).tolist() == [False, reason != ""]
    assert np.isnan(result.error[0]).tolist() == [False, reason != ""]


@pytest.mark.parametrize("downhill", [0.51, math.inf, math.nan])
def test_a_loss_that_falls_along_its_gradient_is_at_no_minimum(downhill):
    assert result_with(downhill=downhill).reasons[0, 1] == "loss falls: not at a minimum"


def test_diverged_chains_are_counted():
    assert result_with(estimates=[math.nan, 11.0]).diverged.tolist() == [[0, 1]]


def test_chains_of_a_real_model_diverge_with_too_large_a_step():
    series = given({0: state(), 5: state(1)}, pairs())
    result = LocalLearningCoefficient.measure(
        series, gammas=(1e4,), eps=(0.1,), count=1, burn_in=0, draws=100
    )
    assert result.diverged.tolist() == [[2]]
    assert result.reasons.tolist() == [["chains diverged"]]
    assert result.to_frame()["reason"].tolist() == ["chains diverged"]
    assert "No coefficient: chains diverged" in result.plot()["layout"]["title"]["text"]  # pyright: ignore[reportIndexIssue]


def test_the_error_is_over_chains():
    assert result_with().error.tolist() == [[1.0, 1.0]]
    one = replace(result_with(), estimates=np.full((1, 2, 1), 10.0))
    assert np.isnan(one.error).all()


def test_the_figure_says_the_setting_and_marks_steps_without_a_coefficient():
    figure = result_with(below=1.0).plot()
    title = figure["layout"]["title"]["text"]  # pyright: ignore[reportIndexIssue]
    assert "n = 7 scored predictions, nbeta = 3.6, gamma = 100, eps = 0.0001" in title
    found = "Learning coefficient 10 at step 5, 10 at step 5 (noise alone: 10, 10)"
    assert f"{found}; 1 of 2 steps give none<br>" in title
    names = [trace.name for trace in figure.data]  # pyright: ignore
    assert names[2] == "none: loss falls: not at a minimum"
    assert {"LLC", "Gaussian noise alone", "train loss", "test.accuracy"} < {*names}


def test_it_is_measured_by_name_only(run):
    name = "LocalLearningCoefficient"
    assert not _not_by_default(run, name, (name,), run.snapshot)
    assert _not_by_default(run, name, (), run.snapshot) == (
        "unasked, needs minutes of one core; --only LocalLearningCoefficient asks for it"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gammas": (100.0, 1e3), "eps": (1e-4,)}, "eps has 1 and gammas 2: give one for each"),
        ({"gammas": ()}, "eps has 0 and gammas 0: give one for each"),
        ({"gammas": (-1.0,)}, r"gamma = -1.0: give 0 or more"),
        ({"steps": (7,)}, "steps: 7 was not kept; there are 0, 10, 20, 30, 40"),
        ({"steps": ()}, "steps: none are given; there are 0, 10"),
        ({"count": 0}, "count = 0: give 1 or more"),
        ({"batch_size": 0}, "batch_size = 0: give 1 or more"),
        (
            {"frozen": ("*.none",)},
            r"frozen: '\*.none' matches no parameter; there are blocks.0.attn.W_K,",
        ),
        ({"frozen": ("*",)}, "frozen: nothing is left that is trained; take a pattern out"),
        ({"split": "nonsense"}, "needs training examples: split 'nonsense' is none of all, train"),
        ({"chains": 0}, "chains = 0: give 1 or more"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, message, run):
    with pytest.raises(ValueError, match=message):
        LocalLearningCoefficient.measure(run, **QUICK | options)


def test_a_task_without_end_needs_a_split_to_stand_for_its_examples(factors_run):
    with pytest.raises(ValueError, match="drawn without end, name the split that is to stand for"):
        LocalLearningCoefficient.measure(factors_run, **QUICK)
    result = LocalLearningCoefficient.measure(factors_run, split="test", count=1, **QUICK)
    assert result.n == 64 * 4  # prompts times answers


def test_answers_that_are_numbers_are_refused(prompts_run):
    with pytest.raises(ValueError, match="needs classes as targets"):
        LocalLearningCoefficient.measure(prompts_run, **QUICK)


def test_networks_and_sentences_are_measured_too(parity_run, sentences_run):
    parity = LocalLearningCoefficient.measure(parity_run, count=2, **QUICK)
    recorded = parity_run.metrics.set_index("step").loc[parity.steps]
    assert_allclose(parity.train_loss, recorded["train.loss"], rtol=1e-5)
    sentences = LocalLearningCoefficient.measure(sentences_run, count=1, burn_in=0, draws=2)
    assert sentences.n > sentences.evaluated == 64  # predictions, and lines


def test_nothing_that_changes_is_refused():
    series = given({0: state(), 5: state()}, pairs())
    with pytest.raises(ValueError, match="no parameter changes between the kept steps: give"):
        LocalLearningCoefficient.measure(series, **QUICK)


def test_a_single_scored_answer_is_too_few():
    series = given({0: state(), 5: state(1)}, pairs().at(torch.tensor([3])))
    with pytest.raises(ValueError, match="has 1 scored answers: two are needed for n / ln n"):
        LocalLearningCoefficient.measure(series, **QUICK)


def test_no_example_labelled_train_is_refused():
    nothing = replace(pairs(), labels={"train": torch.zeros(49, dtype=torch.bool)})
    with pytest.raises(ValueError, match="none is labelled train"):
        LocalLearningCoefficient.measure(given({0: state(), 5: state(1)}, nothing), **QUICK)
