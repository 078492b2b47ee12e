import dataclasses
import math

import numpy as np
import pytest
import torch

import interp
from analyses import EdgeCircuit
from hooks import Pairs, Snapshot
from hooks.circuits.graph import EdgeRuns, Graph
from hooks.circuits.selection import acdc, greedy_order, top_order
from tests.modular_pairs import drawn_pairs, in_double
from tests.planted import random_model, tokens_as_examples

FIXTURE = "fixtures/modular-addition"
# Of the trained fixture, pairs of both numbers: what circuits of the best edges recover, in the
# order of exact single scores, and of integrated gradients with five points.
EXACT_CURVE = [0] * 5 + [
    0.21057, 0.47087, 0.47087, 0.64862, 0.78718, 0.82624, 0.83598, 0.89249,
    0.95923, 0.97296, 0.98467, 0.99304, *[1] * 7,
]  # fmt: skip


@pytest.fixture(scope="module")
def run():
    return interp.load(FIXTURE)


@pytest.fixture(scope="module")
def trained(run):
    return EdgeCircuit.measure(in_double(run, 975), pairs=drawn_pairs(run, 256))


def planted(**options) -> EdgeCircuit:
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = torch.randint(7, (2, 40, 3), generator=generator)
    corrupted[:, -1] = clean[:, -1]
    same = (clean.sum(1) - corrupted.sum(1)) % 7 == 0
    corrupted[same, 1] = (corrupted[same, 1] + 1) % 7
    pairs = Pairs.of(tokens_as_examples(clean), tokens_as_examples(corrupted))
    model = random_model(n_layers=2, n_heads=2, normalization_type=None)
    return EdgeCircuit.measure(Snapshot.of(model, pairs.clean), pairs=pairs, **options)


def test_the_fixture_has_the_figures_of_the_specification(trained):
    assert trained.span == pytest.approx(74.918, abs=0.01)
    assert trained.recovered == pytest.approx(np.array(EXACT_CURVE), abs=1e-4)
    assert trained.cpr == pytest.approx(0.67621, abs=1e-4)
    assert trained.cmd == pytest.approx(0.32379, abs=1e-4)
    assert trained.agreement == pytest.approx(0.99397, abs=1e-3)
    assert (trained.steps, trained.exact) == (5, True)
    # .24 there, over every size; an order's spread is .11, and few sizes add a hundredth.
    assert trained.random_cpr.mean() == pytest.approx(0.24, abs=0.12)
    assert trained.random_cpr.std() == pytest.approx(0.11, abs=0.06)


def test_an_untrained_model_has_no_span_and_no_share(run):
    untrained = EdgeCircuit.measure(in_double(run, 0), pairs=drawn_pairs(run, 256))
    assert untrained.span == pytest.approx(-0.005, abs=0.001)
    assert not untrained.has_span
    assert math.isnan(untrained.cpr)
    assert math.isnan(float(untrained.summary()["gradient_spearman"]))
    assert untrained.circuit() == ()
    assert "nothing to explain" in str(untrained.plot("circuit"))


def test_no_edges_kept_are_the_corrupted_run_and_all_the_clean_one(trained):
    assert trained.recovered[[0, -1]].tolist() == pytest.approx([0, 1], abs=1e-12)
    assert trained.random_recovered[:, 0] == pytest.approx(0, abs=1e-12)
    assert trained.random_recovered[:, -1] == pytest.approx(1, abs=1e-12)


def test_the_circuit_is_a_graph_from_the_embedding_to_the_logits(trained):
    graph = trained.graph()
    assert graph.number_of_edges() == trained.enough() == 13
    assert graph.edges["0.mlp", "logits", "in"]["rank"] == 0
    assert {(kind, reader) for _, reader, kind in graph.edges(keys=True)} >= {("v", "0.h3")}
    assert not graph.has_edge("embed", "logits")
    with pytest.raises(KeyError):
        graph.edges["embed", "0.h0", "q"]  # exactly 0: the last token is always "="


def test_control_pairs_leave_the_total_and_not_every_edge(run):
    control = run.input_pairs("all", 64, "swap")
    pairs = run.input_pairs("all", 64)
    result = EdgeCircuit.measure(in_double(run, 975), pairs=pairs, control=control)
    scores = dict(zip(result.edges, result.control_scores.tolist(), strict=True))
    assert abs(scores["0.mlp->logits"]) < 0.1  # what the MLP writes is the same
    assert abs(scores["embed->0.h3.k"]) > 1  # one head's keys exchanged, its values not
    assert "control pairs" in str(result.plot("scores"))


@pytest.mark.parametrize("order", ["top", "greedy", "acdc"])
def test_each_order_keeps_every_edge_once(order):
    result = planted(order=order)
    assert sorted(result.ranking.tolist()) == list(range(len(result.edges)))
    assert (result.n_acdc > 0) == (order == "acdc")


def test_greedy_keeps_the_reader_of_an_edge_before_the_edge():
    graph = Graph(2, 2, has_mlp=True)
    scores = torch.randn(len(graph.edges), generator=torch.Generator().manual_seed(3))
    kept = {"logits"}
    for place in greedy_order(graph, scores).tolist():
        writer, reader = graph.edges[place].split("->")
        assert (reader if reader in ("logits", "0.mlp", "1.mlp") else reader[:4]) in kept
        kept.add(writer)
    assert not torch.equal(greedy_order(graph, scores), top_order(scores))


def test_acdc_drops_the_edges_that_the_prediction_does_not_need(run):
    runs = EdgeRuns(in_double(run, 975), run.input_pairs("test", 100))
    kept = acdc(runs, 0.01)
    dropped = {edge for edge, stays in zip(runs.graph.edges, kept, strict=True) if not stays}
    assert dropped == {
        *(f"embed->0.h{head}.q" for head in range(4)),
        *(f"0.h{head}->logits" for head in range(4)),
        "embed->0.mlp",
        "embed->logits",
    }
    assert -runs.with_corrupted(~kept[None], "kl").mean() < 0.01
    with pytest.raises(ValueError, match="give the nats that an edge must be worth"):
        acdc(runs, 0)


def test_many_edges_are_scored_by_gradients(monkeypatch):
    monkeypatch.setattr("analyses.circuits.edges.MAX_EXACT", 10)
    result = planted()
    assert not result.exact
    assert np.isnan(result.errors).all()
    assert np.abs(result.scores).max() > 0.1
    assert result.scores == pytest.approx(result.gradient_scores)
    assert result.sizes[-1] == len(result.edges)
    assert math.isnan(result.agreement)


def test_errors_are_of_the_mean_over_pairs():
    alone, doubled = planted(), planted(metric="log_probability")
    assert (alone.errors[alone.scores != 0] > 0).all()
    assert not np.allclose(alone.scores, doubled.scores)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws = 0: random edges are the control"),
        ({"order": "best"}, "order 'best' is none of top, greedy, acdc"),
        ({"metric": "squared_error"}, "metric squared_error: answers here are classes"),
        ({"order": "acdc", "threshold": -1.0}, "threshold = -1.0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        planted(**options)


def test_what_has_no_pairs_or_no_graph_is_refused(run):
    pairs = drawn_pairs(run, 4)
    with pytest.raises(TypeError, match=r"EdgeCircuit takes pairs of inputs: give pairs=run"):
        EdgeCircuit.measure(run.snapshot(count=1))  # pyright: ignore[reportCallIssue]  # what is tested
    with pytest.raises(ValueError, match="one pair has no standard error"):
        EdgeCircuit.measure(run.snapshot(count=1), pairs=pairs.at(torch.tensor([0])))
    sentences = interp.load("fixtures/question-formation-small").snapshot(count=2)
    with pytest.raises(ValueError, match="norm_position = post: its stream is normalised"):
        EdgeCircuit.measure(sentences, pairs=pairs)


def test_the_frame_has_a_row_an_edge(trained):
    frame = trained.to_frame()
    assert frame["edge"].tolist() == list(trained.edges)
    assert frame.loc[frame["rank"] == 0, "edge"].tolist() == ["0.mlp->logits"]
    assert dataclasses.is_dataclass(trained)
