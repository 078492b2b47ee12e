"""The published code's charts, trees and scores, and a slow re-computation of them."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from analyses.trees.brackets import Span, tree_of
from analyses.trees.sci import ProjectionOptions, cosine, nearness, projections, sci_charts
from hooks import Examples, Sizes, Snapshot, build
from hooks.models import HookedModel, PostNormConfig
from tests.analyses.trees.random_trees import random_tree
from tests.oracles import cky_tree, greedy_tree, masked_chart
from tests.planted import random_model
from tests.tree_oracle import MODELS, brackets, sentences, snapshot

SIZES = Sizes(d_vocab=20, d_vocab_out=20, n_ctx=12)
LENGTHS = (9, 1, 4, 2, 7)


@pytest.fixture(scope="module", params=MODELS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def published(name):
    return snapshot(name)


def own_spans(found, threshold: int = 0) -> list[list[Span]]:
    """The projected brackets of each sentence of the random examples."""
    bounds = np.cumsum([0, *(count - 1 for count in LENGTHS)])
    spans = [(i, j) for i, j in found["spans"][threshold].tolist()]
    return [spans[i:j] for i, j in itertools.pairwise(bounds)]


def test_charts_are_the_published_codes(name, published):
    known = [each.get("sci_chart") for each in sentences(name)]
    assert sum(chart is not None for chart in known) >= 2
    for chart, expected in zip(sci_charts(published), known, strict=True):
        for span, value in (expected or {}).items():
            start, last = map(int, span.split(","))
            assert chart[start, last + 1] == pytest.approx(value, abs=1e-5)


def test_trees_are_the_published_codes(name, published):
    expected = [span for each in sentences(name) for span in brackets(each["pred_parse"])]
    found = projections(published, ProjectionOptions())["spans"][0].tolist()
    assert found == [list(span) for span in expected]


@pytest.mark.parametrize(
    ("method", "against", "entry"),
    [
        ("greedy", "mean_split", "node_expectation_tscore"),
        ("greedy", None, "raw_greedy_sum"),
        ("cky", None, "cky_max_sum"),
        (None, "random_tree", "random_tree_expectation"),
    ],
)
def test_scores_are_the_published_codes(name, published, method, against, entry):
    rules = ProjectionOptions(method=method or "greedy", against=against or "mean_split")
    found = projections(published, rules)
    value = found["values"][{"greedy": 0, "cky": 1}[rules.method], 0]
    chance = found["chance"][0]
    scores = {(True, True): value - chance, (True, False): value, (False, True): chance}
    score = scores[method is not None, against is not None]
    expected = [each[entry] for each in sentences(name)]
    np.testing.assert_allclose(score, expected, rtol=0, atol=1e-5)


def models() -> dict[str, HookedModel]:
    post_norm = PostNormConfig(n_layers=3, d_model=12, n_heads=2)
    return {
        "causal": random_model(SIZES, n_layers=3, normalization_type="LN"),
        "rotary": random_model(SIZES, n_layers=2, positional_embedding_type="rotary"),
        "both ways": random_model(SIZES, n_layers=2, attention_dir="bidirectional"),
        "post_norm": build(post_norm, SIZES, seed=0, dtype="float64"),
    }


def random_snapshot(model: HookedModel, seed: int = 0) -> Snapshot:
    """Random sentences from position 1 on, with random gold trees."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(20, (len(LENGTHS), 12), generator=generator)
    trees = tuple(
        tree_of([(i + 1, j + 1) for i, j in random_tree(count, generator)], 1, count + 1)
        for count in LENGTHS
    )
    nothing = torch.zeros_like(tokens)
    return Snapshot.of(model, Examples(nothing, nothing.bool(), tokens, trees=trees))


def slow_charts(taken: Snapshot, threshold: int, similarity: str = "cosine"):
    assert taken.examples.tokens is not None
    with taken.running() as model:
        return [
            masked_chart(model, row[: count + 1], 1, threshold, cosine=similarity == "cosine")
            for row, count in zip(taken.examples.tokens, LENGTHS, strict=True)
        ]


@pytest.mark.parametrize("kind", models())
def test_trees_of_every_threshold_are_those_of_masked_passes(kind):
    taken = random_snapshot(models()[kind])
    n_layers = taken.config.n_layers
    found = projections(taken, ProjectionOptions(thresholds=tuple(range(n_layers))))
    for threshold in range(n_layers):
        charts = slow_charts(taken, threshold)
        trees = [greedy_tree(c, 0, n) for c, n in zip(charts, LENGTHS, strict=True)]
        assert own_spans(found, threshold) == trees
        for row, (chart, tree) in enumerate(zip(charts, trees, strict=True)):
            leaves = [(i, i + 1) for i in range(LENGTHS[row])] if tree else []
            worth = sum(chart[span] for span in [*tree[1:], *leaves])
            assert found["values"][0, threshold, row] == pytest.approx(worth, abs=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_exact_scores_are_those_of_masked_passes(seed):
    taken = random_snapshot(random_model(SIZES, n_layers=2, seed=seed), seed)
    found = projections(taken, ProjectionOptions())
    for row, chart in enumerate(slow_charts(taken, 0)):
        score = 0.0
        for i, j in greedy_tree(chart, 0, LENGTHS[row]):
            splits = [chart[i, k] + chart[k, j] for k in range(i + 1, j)]
            score += max(splits) - sum(splits) / len(splits)
        ours = float(found["values"][0, 0, row] - found["chance"][0, row])
        assert ours == pytest.approx(score, abs=1e-9)


def test_euclidean_trees_are_those_of_masked_passes():
    taken = random_snapshot(models()["causal"])
    found = projections(taken, ProjectionOptions(similarity="euclidean"))
    charts = slow_charts(taken, 0, "euclidean")
    assert own_spans(found) == [greedy_tree(c, 0, n) for c, n in zip(charts, LENGTHS, strict=True)]


def test_cky_of_a_causal_model_branches_to_the_left():
    found = projections(random_snapshot(models()["causal"]), ProjectionOptions(method="cky"))
    expected = [[(0, stop) for stop in range(count, 1, -1)] for count in LENGTHS]
    assert own_spans(found) == expected


def test_cky_of_a_model_of_both_directions_is_the_textbooks():
    taken = random_snapshot(models()["both ways"])
    found = projections(taken, ProjectionOptions(method="cky"))
    textbook = [cky_tree(c, n) for c, n in zip(slow_charts(taken, 0), LENGTHS, strict=True)]
    assert own_spans(found) == [tree for _, tree in textbook]
    np.testing.assert_allclose(found["values"][1, 0], [value for value, _ in textbook])


def test_matches_are_gold_brackets_of_each_methods_tree():
    taken = random_snapshot(models()["causal"])
    assert taken.examples.trees is not None
    for index, method in enumerate(("greedy", "cky", "cky_centred")):
        found = projections(taken, ProjectionOptions(method=method))
        for row, spans in enumerate(own_spans(found)):
            gold = brackets_of(taken.examples.trees[row])
            assert found["matches"][index, 0, row] == len({*spans} & gold)


def brackets_of(tree) -> set[Span]:
    if isinstance(tree, int):
        return set()
    leaves = flat(tree)
    whole = (leaves[0] - 1, leaves[-1])
    return {whole}.union(*map(brackets_of, tree))


def flat(tree) -> list[int]:
    return [tree] if isinstance(tree, int) else [leaf for part in tree for leaf in flat(part)]


def test_small_batches_change_nothing(monkeypatch):
    taken = random_snapshot(models()["causal"])
    expected = projections(taken, ProjectionOptions(thresholds=(0, 2)))
    monkeypatch.setattr("hooks.spans.TOKENS_PER_BATCH", 11)
    for name, found in projections(taken, ProjectionOptions(thresholds=(0, 2))).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-12)


def test_random_splits_average_to_their_mean():
    taken = random_snapshot(models()["causal"])
    mean = projections(taken, ProjectionOptions())["chance"][0]
    drawn = torch.stack([
        projections(taken, ProjectionOptions(against="random_split", seed=seed))["chance"][0]
        for seed in range(60)
    ])  # fmt: skip
    error = drawn.std(0) / 60**0.5
    assert ((drawn.mean(0) - mean).abs() <= 4 * error + 1e-12).all()


def test_the_seed_decides_random_splits():
    taken = random_snapshot(models()["causal"])
    one, again, other = (
        projections(taken, ProjectionOptions(against="random_split", seed=seed))["chance"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_cosine_of_parallel_vectors_is_1_and_of_a_zero_vector_0():
    one = torch.tensor([[[1.0, 2.0], [0.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)
    other = torch.tensor([[[2.0, 4.0], [1.0, 1.0], [0.0, 3.0]]], dtype=torch.float64)
    assert cosine(one, other)[0].tolist() == pytest.approx([1, 0, 0])
    assert cosine(other, one)[0].tolist() == pytest.approx([1, 0, 0])


def test_nearness_is_minus_the_distance():
    one = torch.tensor([[[3.0, 0.0]]], dtype=torch.float64)
    assert nearness(one, torch.tensor([[[0.0, 4.0]]], dtype=torch.float64)).tolist() == [[-5]]


def test_sums_of_zero_are_alike_to_nothing_and_break_nothing():
    model = random_model(SIZES, n_layers=2)
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            parameter.zero_()
    found = projections(random_snapshot(model), ProjectionOptions())
    others = (each for name, each in found.items() if name != "undecided")
    assert all(torch.isfinite(each).all() for each in others)
    assert own_spans(found)[2] == [(0, 4), (1, 4), (2, 4)]  # all tie: the first split is taken


def test_cells_of_a_chart_that_are_no_spans_are_not_numbers():
    chart = sci_charts(random_snapshot(models()["causal"]))[2]
    assert chart.shape == (5, 5)
    assert np.isnan(chart[np.tril_indices(5)]).all()
    assert np.isfinite(chart[np.triu_indices(5, 1)]).all()


@pytest.mark.parametrize("option", ["method", "similarity", "against"])
def test_an_option_that_is_not_known_is_refused(option):
    options: dict[str, Any] = {option: "other"}
    with pytest.raises(ValueError, match=f"{option} 'other': take one of"):
        ProjectionOptions(**options)
