from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from analyses import CompositionGraph, plots
from analyses.attention.composition import head_weights
from hooks import Snapshot, build, to_transformer_lens
from hooks.edit import with_weights
from interp.measure.analyze import analyze
from interp.runs.run import Run
from tests.lens import needs_hooked_transformer
from tests.planted import SIZES, random_model, tiny_config, tokens_as_examples

TOKENS = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def snapshot_of(model):
    return Snapshot.of(model, tokens_as_examples(TOKENS))


def by_hand(scores):
    """Three layers of a head each, with Q-, K- and V-scores from 0.0, 0.0 and 1.0 to later heads.

    The baseline is 0.1 and its spread 0.05, so that scores over 0.2 are strong.
    """
    table = np.full((3, 3, 3), np.nan)
    table[:, [0, 0, 1], [1, 2, 2]] = scores
    return CompositionGraph(
        heads=("0.0", "1.0", "2.0"),
        norms=np.array([[1.0, 2, 3], [4, 5, 6]]),
        scores=table,
        baseline=0.1,
        spread=0.05,
    )


HAND = by_hand([[0.3, 0.05, 0.1], [0.1, 0.5, 0.4], [0.2, 0.1, 0.15]])


def test_an_untrained_models_scores_are_about_the_baseline():
    config = tiny_config(n_layers=2, d_model=32, n_heads=8)
    found = CompositionGraph.measure(snapshot_of(build(config, SIZES, seed=0)))
    excess = found.to_frame()["excess"].to_numpy()
    assert abs(excess.mean()) < found.spread / 2
    assert len(found.strong()) < 0.15 * len(excess)


@pytest.fixture(params=["Q", "K", "V"])
def planted(request):
    """Head 1.1 reads the one direction that head 0.0 writes, with its queries, keys or values."""
    snapshot = snapshot_of(random_model(n_layers=2, d_model=24, n_heads=4))
    written = noise(24)
    write = snapshot.weights("blocks.0.attn.W_O")
    write[0] = noise(6, 1, seed=1) * written
    name = f"blocks.1.attn.W_{request.param}"
    read = snapshot.weights(name)
    read[1] = written[:, None] * noise(1, 6, seed=2)
    edit = with_weights({"blocks.0.attn.W_O": write, name: read})
    return request.param, CompositionGraph.measure(snapshot.edited(edit))


def test_a_planted_composition_scores_1_and_every_other_less(planted):
    kind, found = planted
    first, second = found.strong()[["kind", "writer", "reader", "score"]].to_numpy()[:2].tolist()
    assert first == [kind, "0.0", "1.1", pytest.approx(1)]
    assert second[3] < 0.7


def test_a_planted_composition_is_the_strongest_path(planted):
    kind, found = planted
    assert found.summary()["strongest_path"] == f"0.0 -{kind}> 1.1"


@needs_hooked_transformer
@pytest.mark.parametrize("kind", ["LN", "RMS"])
def test_layer_norm_is_folded_as_transformer_lens_folds_it(kind):
    model: Any = random_model(n_layers=2, normalization_type=kind)
    found = head_weights(snapshot_of(model))
    folded = to_transformer_lens(model)
    is_centred = kind == "LN"  # as TransformerLens folds when it loads a model
    states = folded.fold_layer_norm(folded.state_dict(), is_centred, is_centred)
    folded.load_state_dict(states, strict=False)
    for ours, name in zip(found, ("W_Q", "W_K", "W_V", "W_O"), strict=True):
        assert_close(ours, getattr(folded, name).flatten(0, 1).detach())


def test_shared_keys_and_values_count_for_every_head():
    model = random_model(n_layers=2, n_key_value_heads=1)
    found = head_weights(snapshot_of(model))
    for ours, name in zip(found, ("W_Q", "W_K", "W_V", "W_O"), strict=True):
        assert_close(ours, getattr(model, name).flatten(0, 1).detach())


def test_heads_have_the_norms_of_their_circuits():
    snapshot = snapshot_of(random_model(n_layers=2))
    Q, K, V, O = head_weights(snapshot)  # noqa: E741
    norms = CompositionGraph.measure(snapshot).norms
    np.testing.assert_allclose(norms[0], torch.linalg.matrix_norm(Q @ K.mT))
    np.testing.assert_allclose(norms[1], torch.linalg.matrix_norm(V @ O))


def test_only_later_layers_read():
    found = CompositionGraph.measure(snapshot_of(random_model(n_layers=3)))
    pairs = found.to_frame()[["writer", "reader"]].drop_duplicates().to_numpy().tolist()
    assert len(pairs) == 12
    assert all(int(writer[0]) < int(reader[0]) for writer, reader in pairs)


def test_a_head_that_is_zero_has_no_scores_and_no_edges():
    snapshot = snapshot_of(random_model(n_layers=2))
    write = snapshot.weights("blocks.0.attn.W_O")
    write[1] = 0
    edited = snapshot.edited(with_weights({"blocks.0.attn.W_O": write}))
    found = CompositionGraph.measure(edited)
    assert found.to_frame().set_index("writer").loc["0.1", "score"].isna().all()
    assert list(found.graph().out_edges("0.1")) == []
    assert not np.isnan(found.summary()["mean_V"])


def test_where_all_earlier_heads_are_zero_no_summary_is_defined():
    snapshot = snapshot_of(random_model(n_layers=2))
    nothing = torch.zeros_like(snapshot.weights("blocks.0.attn.W_O"))
    edited = snapshot.edited(with_weights({"blocks.0.attn.W_O": nothing}))
    summary = CompositionGraph.measure(edited).summary()
    assert np.isnan([summary["largest_Q"], summary["mean_K"]]).all()
    assert summary["strongest_path"] == "none"


def test_heads_are_nodes_with_their_place_and_norms():
    assert HAND.graph().nodes["1.0"] == {"layer": 1, "head": 0, "norm_QK": 2, "norm_OV": 5}


def test_compositions_are_edges_with_their_kind_score_and_baseline():
    graph: Any = HAND.graph()
    assert isinstance(graph, nx.MultiDiGraph)
    assert graph.number_of_edges() == 9
    edge = {"kind": "K", "score": 0.5, "baseline": 0.1, "excess": 0.4}
    assert graph.edges["0.0", "2.0", "K"] == pytest.approx(edge)


def test_paths_are_ranked_by_how_many_times_chance_their_links_are():
    expected = [("0.0 -Q> 1.0 -K> 2.0", 12), ("0.0 -K> 2.0", 5), ("1.0 -K> 2.0", 4),
                ("0.0 -Q> 1.0", 3)]  # fmt: skip
    assert [(str(path), pytest.approx(path.strength)) for path in HAND.paths()] == expected


def test_only_as_many_paths_are_given_as_asked_for():
    assert [str(path) for path in HAND.paths(2)] == ["0.0 -Q> 1.0 -K> 2.0", "0.0 -K> 2.0"]


def test_weaker_links_count_where_fewer_spreads_are_asked_for():
    assert "0.0 -V> 1.0" in [str(path) for path in HAND.paths(20, spreads=1)]


def test_without_strong_links_there_is_no_path():
    chance = by_hand(np.full((3, 3), 0.1))
    assert chance.paths() == []
    assert chance.summary()["strongest_path"] == "none"


def drawn(result):
    """Edges and heads of the graph as it is drawn."""
    traces = plots.as_data(result.figures()["graph"])["data"]
    return {each["text"]: each["line"] for each in traces[:-1]}, traces[-1]


def test_kinds_are_told_apart_by_dash():
    edges, _ = drawn(HAND)
    assert {text[0]: line["dash"] for text, line in edges.items()} == {"Q": "solid", "K": "dash"}


def test_the_stronger_an_edge_the_wider_it_is():
    edges, _ = drawn(HAND)
    by_width = sorted(edges, key=lambda text: edges[text]["width"])
    assert by_width == ["Q: 0.0 to 1.0", "K: 1.0 to 2.0", "K: 0.0 to 2.0"]


def test_heads_are_drawn_at_their_layer():
    _, heads = drawn(HAND)
    assert (heads["text"], heads["x"]) == (["0.0", "1.0", "2.0"], [0, 1, 2])


def test_a_graph_without_strong_compositions_still_shows_its_heads():
    edges, heads = drawn(by_hand(np.full((3, 3), 0.1)))
    assert edges == {}
    assert len(heads["x"]) == 3


@pytest.mark.parametrize("draws", [0, 1, -3])
def test_fewer_than_two_draws_are_refused(draws):
    with pytest.raises(ValueError, match=f"draws = {draws}: .* two at least"):
        CompositionGraph.measure(snapshot_of(random_model(n_layers=2)), draws=draws)


def test_a_single_layer_is_refused(snapshot):
    with pytest.raises(ValueError, match="CompositionGraph needs at least 2 layers"):
        CompositionGraph.measure(snapshot)


def test_a_run_of_a_single_layer_is_passed_over_with_the_reason(folder):
    outcome = analyze(Run(folder), ["CompositionGraph"])[0]
    reason = "needs at least 2 layers, and this model has 1: set model.n_layers"
    assert (outcome.measured, outcome.reason) == (0, reason)
