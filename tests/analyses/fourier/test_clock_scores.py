import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch.testing import assert_close

from analyses.fourier.clock_pizza import (
    by_sum_and_difference,
    component_shares,
    distance_irrelevance,
    gradient_cosines,
    random_triples,
)
from tests.planted import circle_embedding

ODD = st.integers(1, 8).map(lambda half: 2 * half + 1)
FIRST, SECOND = torch.meshgrid(torch.arange(13), torch.arange(13), indexing="ij")


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


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


def test_a_constant_up_to_rounding_has_no_distance_irrelevance():
    assert math.isnan(distance_irrelevance(3 + 1e-7 * noise(13, 13)))


def test_gradients_that_are_rounding_beside_the_largest_have_no_cosine():
    gradients = noise(3, 2, 5)
    gradients[1] *= 1e-9
    assert gradient_cosines(gradients).isnan().tolist() == [False, True, False]
