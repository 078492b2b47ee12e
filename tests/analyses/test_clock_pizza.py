import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch.nn.functional import one_hot
from torch.testing import assert_close

from analyses import ClockPizza
from analyses.clock_pizza import (
    by_sum_and_difference,
    component_shares,
    distance_irrelevance,
    gradient_cosines,
    random_triples,
)
from analyses.fourier import residue_order
from hooks import Snapshot
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.planted import circle_embedding, random_model, uniform_attention_model

ODD = st.integers(1, 8).map(lambda half: 2 * half + 1)
FIRST, SECOND = torch.meshgrid(torch.arange(13), torch.arange(13), indexing="ij")


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


def test_a_function_of_the_sum_is_irrelevant_to_distance():
    assert distance_irrelevance(noise(13)[(FIRST + SECOND) % 13]) == pytest.approx(1)


def test_a_function_of_the_difference_has_no_distance_irrelevance():
    assert distance_irrelevance(noise(13)[(FIRST - SECOND) % 13]) == pytest.approx(0, abs=1e-12)


def test_a_pizzas_right_logit_has_no_distance_irrelevance():
    angle = math.pi * 3 * (FIRST - SECOND).double() / 13
    assert distance_irrelevance(angle.cos().abs()) == pytest.approx(0, abs=1e-7)


@given(ODD, st.integers(0, 100))
def test_distance_irrelevance_is_that_of_a_loop_over_differences(n, seed):
    grid = noise(n, n, seed=seed)
    pairs = {d: [grid[a, b] for a in range(n) for b in range(n) if (a - b) % n == d]
             for d in range(n)}  # fmt: skip
    spread = [np.std(values) for values in pairs.values()]
    assert distance_irrelevance(grid) == pytest.approx(np.mean(spread) / np.std(grid.numpy()))


@given(st.integers(3, 12), st.integers(0, 100), st.floats(0.1, 10), st.floats(-10, 10))
def test_distance_irrelevance_lies_in_0_to_1_whatever_scale_and_offset(n, seed, scale, offset):
    grid = noise(n, n, seed=seed)
    value = distance_irrelevance(grid)
    assert 0 <= value <= 1
    assert distance_irrelevance(scale * grid + offset) == pytest.approx(value)


def test_a_constant_has_no_defined_distance_irrelevance():
    assert math.isnan(distance_irrelevance(torch.ones(5, 5).double()))


def test_every_pair_stands_at_its_sum_and_difference():
    grid = noise(13, 13)
    assert torch.equal(
        by_sum_and_difference(grid)[(FIRST + SECOND) % 13, (FIRST - SECOND) % 13], grid
    )


def test_for_even_n_a_cell_is_the_mean_of_two_pairs_or_empty():
    table = by_sum_and_difference(torch.arange(16).reshape(4, 4).double())
    # sum 3, difference 1: (2, 1) and (0, 3); sum 2, difference 2: (2, 0) and (0, 2)
    assert (table[3, 1], table[2, 2]) == ((9 + 3) / 2, (8 + 2) / 2)
    assert table.isnan().sum() == 8


def test_gradients_along_each_other_have_cosine_1_and_across_0():
    pairs = torch.tensor([[[1.0, 2], [2, 4]], [[1, 2], [-2, 1]], [[1, 2], [-1, -2]]]).double()
    assert_close(gradient_cosines(pairs), torch.tensor([1.0, 0, -1]).double())


def test_a_vanished_gradient_has_no_cosine():
    assert gradient_cosines(torch.tensor([[[1.0, 2], [0, 0]]]).double()).isnan().all()


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


def test_a_circle_a_component_pair_has_circularity_1():
    embedding = circle_embedding(53, [4, 9]) * torch.tensor([3.0, 1, 3, 1])
    assert_close(component_shares(embedding).amax(1), torch.ones(4).double())


def test_components_name_their_frequencies_strongest_first():
    embedding = circle_embedding(53, [4, 9]) * torch.tensor([1.0, 3, 1, 3])
    assert (component_shares(embedding).argmax(1) + 1).tolist() == [9, 9, 4, 4]


def test_shares_of_a_component_sum_to_1():
    assert_close(component_shares(noise(53, 20)).sum(1), torch.ones(4).double())


def test_components_are_those_of_scikit_learn():
    embedding = noise(53, 20)
    scores = PCA(4).fit_transform(embedding.numpy())
    scores = scores / np.linalg.norm(scores, axis=0)
    waves = np.exp(2j * np.pi * np.outer(np.arange(1, 27), np.arange(53)) / 53)
    expected = (2 * np.abs(waves @ scores) ** 2 / 53).max(0)
    np.testing.assert_allclose(component_shares(embedding).amax(1), expected)


def test_noise_has_little_circularity():
    assert component_shares(noise(53, 48)).amax(1).mean() < 0.3


def test_a_turned_embedding_has_the_same_components():
    turn = torch.linalg.qr(noise(20, 20, seed=1))[0]
    assert_close(component_shares(noise(53, 20) @ turn), component_shares(noise(53, 20)))


def test_a_single_circle_has_two_components():
    assert component_shares(circle_embedding(53, [4])).shape == (2, 26)


def test_a_constant_embedding_has_no_components():
    assert component_shares(torch.full((53, 8), 0.1).double()).shape == (0, 26)


def test_the_drawn_class_is_every_wrong_one_and_never_the_answer():
    answers = torch.arange(7)
    rows, classes = random_triples(answers, 7, 5000, 0)
    counts = torch.bincount((classes - answers[rows]) % 7, minlength=7)
    assert counts[0] == 0
    assert counts[1:].min() > 700  # 833 expected, with a standard deviation of 26


def test_a_seed_decides_the_triples():
    one, two = (random_triples(torch.arange(7), 7, 50, 3) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


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


@pytest.mark.parametrize(
    "options",
    [{"operation": "sum_of_squares"}, {"ordered": False}, {"operation": "multiply", "p": 9}],
)
def test_tasks_without_a_wave_are_refused(options):
    with pytest.raises(
        ValueError, match=r"does not apply: constants\.(wave|ordered_pairs) missing"
    ):
        ClockPizza.measure(task_snapshot(**options))


def test_part_of_the_pairs_is_refused(grokked):
    with pytest.raises(ValueError, match="needs all 2809 pairs, these examples have 100"):
        ClockPizza.measure(grokked.snapshot(count=100))


def test_operands_at_other_positions_are_refused():
    snapshot = task_snapshot()
    snapshot.examples.model_inputs[:, :2] = snapshot.examples.model_inputs[:, :2].flip(1)
    with pytest.raises(ValueError, match="a and b at the first two positions"):
        ClockPizza.measure(snapshot)
