"""What attention says: each sentence where it should be, and not where the control is as high."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analyses import AttentionSparsity, CompositionGraph
from analyses.attention.composition import MAX_EDGES_DRAWN
from analyses.plots import as_data


def drawn(figure: Any) -> Any:
    return as_data(figure)


def said(result, untrained=None):
    """Strengths and texts."""
    return [(each.strength, each.text) for each in result.findings(untrained)]


def sparsity(keys, over="examples"):
    return AttentionSparsity(
        entropy=np.full((1, 2), 0.5), effective_keys=np.full((1, 2), float(keys)),
        largest_weight=np.ones((1, 2)), key_weight=np.ones((1, 2, 3)),
        counts_single_key_rows=True, over=over,
    )  # fmt: skip


def test_attention_is_found_to_have_changed_beside_the_untrained_model():
    text = "A head attends to 2 keys on average (untrained model: 5), with an entropy of 0.50 nats"
    assert said(sparsity(2), sparsity(5)) == [("found", f"{text} (0.50)")]


@pytest.mark.parametrize("keys", [4.6, 5.4])
def test_attention_that_hardly_changed_is_null(keys):
    assert said(sparsity(keys), sparsity(5))[0][0] == "null"


def test_without_the_untrained_model_on_the_same_nothing_is_said_of_sparsity():
    assert said(sparsity(2)) == said(sparsity(2), sparsity(5, over="sentences")) == []


def composition(strongest, others=0.1, heads=2):
    """Heads of two layers, of which 1.1 reads its keys from 0.0."""
    scores = np.full((3, 2 * heads, 2 * heads), np.nan)
    scores[:, :heads, heads:] = others
    scores[1, 0, heads + 1] = strongest
    names = tuple(f"{layer}.{head}" for layer in range(2) for head in range(heads))
    norms = np.ones((2, 2 * heads))
    return CompositionGraph(heads=names, norms=norms, scores=scores, baseline=0.1, spread=0.01)


def test_a_composition_is_found_beside_random_heads_and_the_untrained_model():
    assert said(composition(0.5), composition(0.11)) == [
        (
            "found",
            "The keys of head 1.1 read head 0.0 most: composition score 0.500 (random heads 0.100 "
            "± 0.01, untrained at most 0.110)",
        ),
        (
            "found",
            "1 of 12 compositions exceed the largest of as many random ones (by chance about 1 "
            "would; untrained 0)",
        ),
    ]


def test_a_composition_that_an_untrained_model_has_is_null():
    assert {strength for strength, _ in said(composition(0.5), composition(0.49))} == {"null"}


@pytest.mark.parametrize("largest", [0.1, 0.122])  # the largest of twelve lies 2.2 spreads above
def test_a_composition_that_the_largest_of_random_ones_has_is_not_found(largest):
    text = f"No head reads an earlier one more than chance: largest score {largest:.3f}"
    assert said(composition(largest)) == [("not found", f"{text} (random heads 0.100 ± 0.01 each)")]


def test_where_no_score_is_defined_nothing_is_said():
    assert said(replace(composition(0.5), scores=np.full((3, 4, 4), np.nan))) == []


def test_no_more_edges_are_drawn_than_can_be_told_apart():
    figure = drawn(composition(0.5, others=0.3, heads=4).figures()["graph"])
    assert len(figure["data"]) == MAX_EDGES_DRAWN + 1  # and the heads
    assert figure["layout"]["title"]["text"].endswith("(16 strongest drawn)")


def test_edges_that_random_heads_would_have_are_not_drawn():
    figure = drawn(composition(0.5, others=0.121).figures()["graph"])
    assert [trace["text"] for trace in figure["data"][:-1]] == ["K: 0.0 to 1.1"]
