import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from analyses.attention.composition import (
    HeadPath,
    compact,
    composition,
    composition_scores,
    head_weights,
    random_scores,
    strongest_paths,
)
from hooks import Snapshot
from tests.planted import random_model, tokens_as_examples

LENGTHS = st.integers(1, 6)


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def random_heads(heads=3, d_model=9, d_head=3):
    Q, K, V, O = (noise(heads, d_model, d_head, seed=seed) for seed in range(4))  # noqa: E741
    return Q, K, V, O.mT


def dense(kind, heads):
    """Scores of all pairs of heads by d_model x d_model matrices."""
    Q, K, V, O = heads  # noqa: E741
    OV, QK = V @ O, Q @ K.mT
    reads = {"Q": QK, "K": QK.mT, "V": OV}[kind]
    norm = np.linalg.norm
    return np.array([[norm(a @ b) / norm(a) / norm(b) for b in reads] for a in OV])


@given(LENGTHS, LENGTHS, LENGTHS, st.integers(0, 100))
def test_a_compact_product_has_the_norm_of_the_whole_one(d, h, k, seed):
    A, B, right = noise(d, h, seed=seed), noise(h, d, seed=1), noise(d, k, seed=2)
    assert compact(A, B).shape[0] <= h
    assert_close(torch.linalg.norm(compact(A, B) @ right), torch.linalg.norm(A @ B @ right))


@pytest.mark.parametrize("kind", ["Q", "K", "V"])
def test_scores_equal_the_dense_formula(kind):
    heads = random_heads()
    found = composition_scores(*heads, n_layers=3)["QKV".index(kind)]
    later = np.triu_indices(3, 1)
    np.testing.assert_allclose(found[later], dense(kind, heads)[later])


def test_only_heads_of_later_layers_have_scores():
    found = composition_scores(*random_heads(heads=4), n_layers=2)
    assert found.isnan().all(0).tolist() == [
        [True, True, False, False],
        [True, True, False, False],
        [True, True, True, True],
        [True, True, True, True],
    ]


@given(LENGTHS, LENGTHS, LENGTHS, st.integers(0, 100))
def test_scores_lie_between_0_and_1(d, h, k, seed):
    assert 0 <= composition(noise(h, d, seed=seed), noise(d, k)).item() <= 1 + 1e-12


@given(st.floats(0.01, 100), st.floats(-100, -0.01))
def test_scores_do_not_change_with_scale(one, other):
    Q, K, V, O = random_heads()  # noqa: E741
    scaled = composition_scores(one * Q, other * K, other * V, one * O, n_layers=3)
    assert_close(scaled, composition_scores(Q, K, V, O, n_layers=3), equal_nan=True)


def test_scores_do_not_change_with_a_basis_of_queries_and_keys_or_of_the_stream():
    Q, K, V, O = random_heads()  # noqa: E741
    inner, turn = noise(3, 3, seed=5), torch.linalg.qr(noise(9, 9, seed=6))[0]
    other = (turn @ Q @ inner, turn @ K @ torch.linalg.inv(inner).T, turn @ V, O @ turn.T)
    turned = composition_scores(*other, n_layers=3)
    assert_close(turned, composition_scores(Q, K, V, O, n_layers=3), equal_nan=True)


def test_reading_the_one_direction_written_scores_1():
    direction = noise(1, 9)
    writes, reads = noise(3, 1, seed=1) @ direction, direction.T @ noise(1, 3, seed=2)
    assert composition(writes, reads).item() == pytest.approx(1)


def test_reading_all_of_r_equal_directions_scores_1_over_root_r():
    axes = torch.linalg.qr(noise(9, 9))[0][:, :4]
    assert composition(axes.T, axes).item() == pytest.approx(0.5)


def test_reading_what_is_not_written_scores_0():
    axes = torch.linalg.qr(noise(9, 9))[0]
    assert composition(axes[:, :3].T, axes[:, 3:6]).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("d_model", "d_head"), [(16, 2), (16, 8), (64, 4)])
def test_squares_of_random_scores_have_mean_1_over_d_model(d_model, d_head):
    squares = random_scores(d_model, d_head, 400, 0) ** 2
    error = squares.std() / math.sqrt(400)
    assert abs(squares.mean() - 1 / d_model) < 4 * error


def test_a_seed_decides_the_random_heads():
    assert torch.equal(random_scores(8, 2, 5, 3), random_scores(8, 2, 5, 3))
    assert not torch.equal(random_scores(8, 2, 5, 3), random_scores(8, 2, 5, 4))


def test_the_strongest_paths_are_those_of_listing_all():
    heads = [f"{layer}.{head}" for layer in range(4) for head in range(2)]
    strengths = iter(noise(3, 8, 8).exp().flatten().tolist())
    ends = [(a, b) for a in heads for b in heads if a[0] < b[0]]
    links: dict[Any, float] = {(*end, kind): next(strengths) for kind in "QKV" for end in ends}
    graph = nx.MultiDiGraph(list(links))
    every = [path for a, b in ends for path in nx.all_simple_edge_paths(graph, a, b)]
    expected = sorted((math.prod(links[edge] for edge in path) for path in every), reverse=True)
    found = strongest_paths(heads, [(kind, a, b, links[a, b, kind]) for a, b, kind in links], 50)
    np.testing.assert_allclose([path.strength for path in found], expected[:50])


def test_a_path_reads_from_its_first_head_to_its_last():
    path = HeadPath(("0.1", "1.0", "3.2"), ("V", "Q"))
    assert str(path) == "0.1 -V> 1.0 -Q> 3.2"


def test_a_head_that_reads_the_mean_alone_reads_nothing_through_layer_norm():
    model = random_model(n_layers=2, normalization_type="LN")
    for name, parameter in model.named_parameters():
        if name.endswith(("1.attn.W_V", "1.ln1.w")):  # reads the mean over the residual stream
            parameter.data = 0.1 * (1 + 1e-9 * noise(*parameter.shape))
    snapshot = Snapshot.of(model, tokens_as_examples(torch.tensor([[1, 2, 7]])))
    W_V = head_weights(snapshot)[2]
    assert not W_V[2:].any()
    assert W_V[:2].any()
    scores = composition_scores(*head_weights(snapshot), n_layers=2)
    assert scores[2, :2, 2:].isnan().all()
