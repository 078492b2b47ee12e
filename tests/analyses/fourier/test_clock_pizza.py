import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from analyses import ClockPizza
from analyses.fourier.basis import residue_order
from analyses.fourier.clock_pizza import SCORES
from analyses.plots.figures import Figure, as_data
from hooks import Snapshot
from hooks.edit import with_weights
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.planted import random_model, uniform_attention_model


@pytest.fixture(scope="module")
def untrained(grokked):
    return ClockPizza.measure(grokked.snapshot(0))


@pytest.fixture(scope="module")
def trained(grokked, untrained):
    return ClockPizza.measure(grokked.snapshot(), reference=untrained)


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def task_snapshot(model=random_model, **options):
    task = ModularArithmetic(**({"p": 7, "train_fraction": 0.5} | options))
    return Snapshot.of(model(task.sizes), task.examples("all", None, 0))


def with_right_logits(snapshot, values):
    """The snapshot, made to give each right answer the given logit and every other 0."""
    logits = one_hot(snapshot.examples.label("c"), 7) * values[:, None].double()
    snapshot._memory["logits"] = logits[:, None].expand(-1, 3, -1)
    return snapshot


def test_logits_of_a_sum_of_embeddings_have_symmetric_gradients():
    found = ClockPizza.measure(task_snapshot(uniform_attention_model))
    np.testing.assert_allclose(found.cosines, 1)
    assert found.scores["gradient_symmetricity"] == pytest.approx(1)


def test_a_model_that_attends_as_it_likes_has_gradients_that_differ():
    assert ClockPizza.measure(task_snapshot()).scores["gradient_symmetricity"] < 0.999


def test_more_triples_have_a_smaller_error(grokked, trained):
    few = ClockPizza.measure(grokked.snapshot(), triples=100)
    assert 2 * trained.symmetricity_error < few.symmetricity_error < 0.05


def test_triples_of_another_seed_agree_within_their_errors(grokked, trained):
    other = ClockPizza.measure(grokked.snapshot(), seed=1)
    distance = other.scores["gradient_symmetricity"] - trained.scores["gradient_symmetricity"]
    assert 0 < abs(distance) < 4 * math.hypot(other.symmetricity_error, trained.symmetricity_error)


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply"])
def test_a_logit_of_the_distance_alone_is_found_for_every_group(operation):
    snapshot = task_snapshot(operation=operation)
    orders = residue_order(operation, 7)
    n = len(orders[0])
    values = torch.zeros(7, 7, dtype=torch.float64)
    i, j = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    values[orders[0][i], orders[1][j]] = noise(n)[(i - j) % n]
    found = ClockPizza.measure(with_right_logits(snapshot, values.flatten()))
    assert found.scores["distance_irrelevance"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("operation", ["add", "subtract"])
def test_a_logit_of_the_answer_alone_is_irrelevant_to_distance(operation):
    snapshot = task_snapshot(operation=operation)
    values = noise(7)[snapshot.examples.label("c")]
    found = ClockPizza.measure(with_right_logits(snapshot, values))
    assert found.scores["distance_irrelevance"] == pytest.approx(1)


def test_multiplication_leaves_out_0():
    found = ClockPizza.measure(task_snapshot(operation="multiply"))
    assert found.correct_logits.shape == (6, 6)


def test_the_untrained_model_looks_symmetric_and_distance_irrelevant(untrained):
    assert untrained.scores["gradient_symmetricity"] > 0.99
    assert untrained.scores["distance_irrelevance"] > 0.99
    assert untrained.scores["circularity"] < 0.3


def test_the_fixture_lies_in_the_papers_band_of_clocks(trained):
    assert trained.scores["gradient_symmetricity"] < 0.334
    assert 0.4 < trained.scores["distance_irrelevance"] < 1


def test_the_fixtures_embedding_is_rounder_than_the_untrained_one(trained):
    assert trained.scores["circularity"] > 3 * trained.first_scores["circularity"]


def test_scores_of_the_reference_stand_beside(trained, untrained):
    assert trained.first_scores == untrained.scores
    assert untrained.first_scores == untrained.scores


def traces_of(found, name):
    """What a figure draws."""
    figure = found.figures()[name]
    assert isinstance(figure, Figure)
    return as_data(figure)["data"]


def bars_of(found):
    """Names of the bars beside each score."""
    return [trace["name"] for trace in traces_of(found, "scores")]


def test_a_bare_model_is_no_control_of_itself():
    found = ClockPizza.measure(task_snapshot())
    assert all(map(math.isnan, found.first_scores.values()))
    assert bars_of(found) == ["this step"]


def test_a_model_of_a_later_step_is_no_control_of_itself(grokked):
    found = ClockPizza.measure(grokked.snapshot())
    assert np.isnan([found.summary()[f"first_{name}"] for name in found.scores]).all()


def test_with_a_reference_the_first_step_has_its_bar(trained):
    assert bars_of(trained) == ["first step", "this step"]


@pytest.mark.parametrize("operation", ["add", "multiply"])  # all pairs, and half of the cells
def test_colours_span_what_this_step_has(operation):
    found = ClockPizza.measure(task_snapshot(operation=operation))
    (trace,) = traces_of(found, "correct_logits")
    limits = np.nanmin(found.correct_logits), np.nanmax(found.correct_logits)
    assert (trace["zmin"], trace["zmax"]) == limits


@pytest.mark.parametrize("triples", [0, -5])
def test_fewer_than_one_triple_is_refused(triples):
    with pytest.raises(ValueError, match=f"triples = {triples}: take one at least"):
        ClockPizza.measure(task_snapshot(), triples=triples)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_embedding_that_is_not_finite_is_refused_with_its_step(value):
    snapshot = task_snapshot()
    later = Snapshot.of(snapshot.live.model, snapshot.examples, step=300)
    W_E = later.weights("W_E")
    W_E[2, 3] = value
    with pytest.raises(ValueError, match="W_E holds NaN or infinity at step 300: the model has"):
        ClockPizza.measure(later.edited(with_weights({"embed.W_E": W_E})))


@pytest.mark.parametrize(
    "options",
    [{"operation": "sum_of_squares"}, {"ordered": False}, {"operation": "multiply", "p": 9}],
)
def test_tasks_without_a_wave_are_refused(options):
    with pytest.raises(ValueError, match=r"needs (an operation that waves|all ordered pairs: set)"):
        ClockPizza.measure(task_snapshot(**options))


def test_part_of_the_pairs_is_refused(grokked):
    with pytest.raises(ValueError, match="needs all 2809 pairs, these examples have 100"):
        ClockPizza.measure(grokked.snapshot(count=100))


def test_operands_at_other_positions_are_refused():
    snapshot = task_snapshot()
    snapshot.examples.model_inputs[:, :2] = snapshot.examples.model_inputs[:, :2].flip(1)
    with pytest.raises(ValueError, match="a and b at the first two positions"):
        ClockPizza.measure(snapshot)


def test_a_shift_of_all_logits_moves_the_published_score_and_not_the_centred_one(grokked):
    snapshot = grokked.snapshot()
    W_U = snapshot.weights("W_U")
    direction = torch.randn(len(W_U), 1, generator=torch.Generator().manual_seed(0))
    shifted = snapshot.edited(with_weights({"unembed.W_U": W_U + direction}))
    before, after = (ClockPizza.measure(each) for each in (snapshot, shifted))
    published, centred = "distance_irrelevance", "distance_irrelevance_centred"
    assert after.scores[centred] == pytest.approx(before.scores[centred], rel=1e-4)
    assert abs(after.scores[published] - before.scores[published]) > 0.01
    assert after.mean_logit_spread > 2 * before.mean_logit_spread


def test_logits_of_the_answer_alone_are_irrelevant_to_distance_whatever_is_added():
    snapshot = task_snapshot()
    answers = noise(7)[snapshot.examples.label("c")]
    found = ClockPizza.measure(with_right_logits(snapshot, answers))
    assert found.scores["distance_irrelevance_centred"] == pytest.approx(1)
    assert found.mean_logit_spread == pytest.approx(float((answers / 7).std(correction=0)))


def test_scores_below_the_untrained_ones_are_found_beside_the_published_ones(trained):
    planted = replace(
        trained,
        scores=dict(zip(SCORES, (0.5, 0.9, 0.9, 0.75), strict=True)),
        first_scores=dict(zip(SCORES, (0.99, 0.95, 0.95, 0.25), strict=True)),
    )
    scores, circles = planted.findings()
    assert (scores.strength, scores.text) == (
        "found",
        "Gradient symmetricity is 0.50 and distance irrelevance 0.90 (untrained: 0.99, 0.95; "
        "published clock: 0.33, 0.85; pizza: 0.99, 0.17)",
    )
    assert (circles.strength, circles.text) == (
        "found",
        "Principal components of the embedding have 75 % of their power at a single frequency on "
        "average (untrained: 25 %)",
    )


def test_scores_of_the_untrained_model_are_null(trained, untrained):
    assert [finding.strength for finding in untrained.findings()] == ["null", "null"]
    assert [finding.strength for finding in trained.findings(trained)] == ["null", "null"]


def test_without_a_first_snapshot_nothing_is_said(trained):
    unknown = replace(trained, first_scores=dict.fromkeys(SCORES, math.nan))
    assert unknown.findings() == ()
