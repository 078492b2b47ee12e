"""Circuits written by hand: their edges are recovered, and those known to be absent are 0."""

import pytest
import torch

from hooks import Examples, Snapshot
from hooks.circuits.graph import EdgeRuns
from hooks.circuits.pairs import Pairs
from tests.planted import (
    linear_network,
    marked_token_model,
    saturating_model,
    share_of_previous_model,
    tokens_as_examples,
)


def asked(tokens, answers) -> Examples:
    """Examples with an answer at the last position."""
    tokens, targets = torch.tensor(tokens), torch.zeros(len(tokens), len(tokens[0]))
    targets[:, -1] = torch.tensor(answers)
    scored = torch.zeros_like(targets, dtype=torch.bool)
    scored[:, -1] = True
    return Examples(targets=targets.long(), scored=scored, tokens=tokens)


def scores(edges: EdgeRuns, values=None) -> dict[str, float]:
    values = edges.exact_scores().mean(1) if values is None else values
    return dict(zip(edges.graph.edges, values.tolist(), strict=True))


def together(edges: EdgeRuns, *names: str) -> float:
    """The effect of corrupting some edges at once."""
    chosen = torch.tensor([edge in names for edge in edges.graph.edges])
    assert chosen.sum() == len(names)
    return float((edges.with_corrupted(chosen[None])[0, 0] - edges.clean).mean())


def bits(n_heads: int) -> EdgeRuns:
    pairs = Pairs.of(asked([[1, 2]] * 3, [1] * 3), asked([[0, 2]] * 3, [0] * 3))
    return EdgeRuns(Snapshot.of(saturating_model(n_heads), pairs.clean), pairs)


@pytest.fixture
def marked() -> EdgeRuns:
    """The same two values; the mark moves from the first to the second."""
    clean, corrupted = asked([[2, 1, 4], [3, 0, 4]], [0, 1]), asked([[0, 3, 4], [1, 2, 4]], [1, 0])
    pairs = Pairs.of(clean, corrupted)
    return EdgeRuns(Snapshot.of(marked_token_model(), pairs.clean), pairs)


@pytest.mark.parametrize("attn_only", [False, True])
def test_a_linear_network_has_the_same_scores_by_all_three_methods(attn_only):
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = torch.randint(7, (2, 20, 3), generator=generator)
    corrupted[:, 1] = (clean.sum(1) - clean[:, 2] - corrupted[:, 0] + 1) % 7
    pairs = Pairs.of(tokens_as_examples(clean), tokens_as_examples(corrupted))
    model = linear_network(attn_only=attn_only)
    edges = EdgeRuns(Snapshot.of(model, pairs.clean), pairs)
    exact = edges.exact_scores().mean(1)
    has_effect = torch.tensor([edge[-2:] not in (".q", ".k") for edge in edges.graph.edges])
    assert exact[has_effect].abs().min() > 1e-5
    assert exact[~has_effect].tolist() == [0.0] * int((~has_effect).sum())
    for steps in (0, 5):
        torch.testing.assert_close(edges.attribution(steps), exact, rtol=0, atol=1e-10)


def test_either_of_two_redundant_heads_is_enough_and_both_are_needed():
    edges = bits(n_heads=2)
    assert edges.clean.tolist() == [1.0] * 3
    assert edges.corrupted.tolist() == [0.0] * 3
    alone = scores(edges)
    assert alone["0.h0->0.mlp"] == alone["0.h1->0.mlp"] == 0
    assert together(edges, "0.h0->0.mlp", "0.h1->0.mlp") == -1
    assert together(edges, "embed->0.h0.v", "embed->0.h1.v") == -1
    assert {name for name, score in alone.items() if score} == {"0.mlp->logits"}
    assert alone["0.mlp->logits"] == -1


def test_a_gradient_sees_nothing_where_the_readout_is_saturated():
    edges = bits(n_heads=1)
    exact, gradient = scores(edges), scores(edges, edges.attribution())
    assert exact["0.h0->0.mlp"] == exact["embed->0.h0.v"] == -1
    assert gradient["0.h0->0.mlp"] == gradient["embed->0.h0.v"] == 0
    # x is below 1 at three of five points; the change is by -2, the effect -1.
    assert scores(edges, edges.attribution(5))["0.h0->0.mlp"] == pytest.approx(-2 * 3 / 5)
    assert scores(edges, edges.attribution(30))["0.h0->0.mlp"] == pytest.approx(-1)


def test_a_gradient_sees_nothing_where_attention_is_saturated(marked):
    assert marked.clean.tolist() == pytest.approx([1.0, 1.0])
    exact, gradient = scores(marked), scores(marked, marked.attribution())
    assert exact["embed->0.h0.k"] == pytest.approx(-2)
    assert abs(gradient["embed->0.h0.k"]) < 1e-15
    assert {name for name, score in exact.items() if score} == {"embed->0.h0.k", "0.h0->logits"}


def test_integrated_gradients_see_where_attention_turns(marked):
    assert scores(marked, marked.attribution(1000))["embed->0.h0.k"] == pytest.approx(-2, rel=0.01)


def test_the_edges_of_a_share_of_previous_tokens_are_those_that_were_written():
    clean, corrupted = torch.tensor([[0, 1, 2, 0, 3]]), torch.tensor([[0, 1, 0, 0, 3]])
    shares, scored = torch.full((1, 5), 0.4), torch.ones(1, 5, dtype=torch.bool)
    pairs = Pairs.of(
        Examples(targets=shares, scored=scored, tokens=clean),
        Examples(targets=shares, scored=scored, tokens=corrupted),
    )
    edges = EdgeRuns(
        Snapshot.of(share_of_previous_model(), pairs.clean), pairs, metric="squared_error"
    )
    assert {name for name, score in scores(edges).items() if score} == {
        "embed->0.mlp",
        "0.mlp->1.h0.v",
        "1.h0->logits",
    }
    assert together(edges, "0.mlp->1.h0.v") == pytest.approx(-0.04)  # (3/5 - 2/5)^2
