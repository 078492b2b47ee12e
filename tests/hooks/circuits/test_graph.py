import dataclasses

import pytest
import torch

import interp
from hooks import Snapshot
from hooks.circuits.graph import EdgeRuns, graph_of
from hooks.circuits.pairs import Pairs
from tests.modular_pairs import drawn_pairs, in_double
from tests.planted import random_model, tokens_as_examples, uniform_attention_model

FIXTURE = "fixtures/modular-addition"
# Two layers of two heads, with and without MLPs: sum over layers of 3 H (1 + l (H + 1)) + ...
COUNTS = {(1, 4, False): 23, (2, 4, False): 110, (2, 2, True): 6 + 18 + 1 + 4}


def random_pairs(count: int = 12, *, last: bool = True, seed: int = 0) -> Pairs:
    """Tokens of which the corrupted input changes all but the last, or the second alone."""
    generator = torch.Generator().manual_seed(seed)
    clean, corrupted = torch.randint(7, (2, count, 3), generator=generator)
    corrupted[:, -1] = clean[:, -1]
    if not last:
        corrupted[:, 0] = clean[:, 0]
    changed = (clean.sum(1) - corrupted.sum(1)) % 7 == 0
    corrupted[changed, 1] = (corrupted[changed, 1] + 1) % 7
    return Pairs.of(tokens_as_examples(clean), tokens_as_examples(corrupted))


def runs(model=None, pairs=None, **options) -> EdgeRuns:
    pairs = pairs or random_pairs()
    return EdgeRuns(Snapshot.of(model or random_model(n_layers=2), pairs.clean), pairs, **options)


def none_of(edges: EdgeRuns) -> torch.Tensor:
    return torch.zeros(len(edges.graph.edges), dtype=torch.bool)


@pytest.mark.parametrize(("n_layers", "n_heads", "attn_only"), COUNTS)
def test_the_graph_has_as_many_edges_as_the_formula(n_layers, n_heads, attn_only):
    model = random_model(n_layers=n_layers, n_heads=n_heads, attn_only=attn_only)
    graph = graph_of(Snapshot.of(model, random_pairs().clean))
    assert len(graph.edges) == COUNTS[n_layers, n_heads, attn_only]
    assert graph.edges[0] == "embed->0.h0.q"
    assert graph.edges[-1].endswith("->logits")


@pytest.mark.parametrize("norm", [None, "LN", "RMS"])
@pytest.mark.parametrize("attn_only", [False, True])
def test_all_edges_corrupted_are_the_corrupted_run_and_none_the_clean_one(norm, attn_only):
    model = random_model(n_layers=2, normalization_type=norm, attn_only=attn_only)
    edges = runs(model)
    assert (edges.clean - edges.corrupted).abs().min() > 1e-3
    torch.testing.assert_close(edges.with_corrupted(~none_of(edges)[None])[0, 0], edges.corrupted)
    unpatched = edges.with_corrupted(none_of(edges)[None])[0, 0]
    torch.testing.assert_close(unpatched, edges.clean, rtol=0, atol=0)


def test_edges_into_the_logits_sum_to_the_span_without_layer_norm():
    edges = runs(random_model(n_layers=2, normalization_type=None))
    scores = edges.exact_scores()
    into = torch.tensor([edge.endswith("->logits") for edge in edges.graph.edges])
    assert scores[into].abs().mean(1).median() > 0.1
    torch.testing.assert_close(scores[into].sum(0), edges.corrupted - edges.clean)


def test_edges_of_a_source_that_does_not_differ_are_exactly_zero():
    model = random_model(normalization_type=None)  # queries at the last position see "="
    edges = runs(model)
    by_name = dict(zip(edges.graph.edges, edges.exact_scores(), strict=True))
    zero = ["embed->0.h0.q", "embed->0.h1.q", "embed->0.mlp", "embed->logits"]
    for name, scores in by_name.items():
        assert (scores.abs().max() == 0) == (name in zero), name


def test_attribution_is_exact_in_a_linear_network():
    options = {"n_layers": 2, "normalization_type": None, "attn_only": True}
    edges = runs(uniform_attention_model(**options))
    exact = edges.exact_scores().mean(1)
    assert exact.abs().max() > 0.1
    for steps in (0, 1, 5):
        torch.testing.assert_close(edges.attribution(steps), exact, rtol=0, atol=1e-10)


def test_integrated_gradients_out_of_the_embedding_sum_to_the_span():
    edges = runs(random_model(n_layers=2))
    out = torch.tensor([edge.startswith("embed->") for edge in edges.graph.edges])
    span = (edges.corrupted - edges.clean).mean()
    assert span.abs() > 0.01
    torch.testing.assert_close(edges.attribution(200)[out].sum(), span, rtol=1e-3, atol=0)


def test_more_examples_than_a_batch_holds_keep_their_rows():
    pairs = random_pairs(3000)  # 9,000 tokens: two batches
    model = random_model(normalization_type=None)
    edges, some = runs(model, pairs), runs(model, pairs.at(torch.arange(2990, 3000)))
    chosen = torch.tensor([edge == "0.h1->0.mlp" for edge in edges.graph.edges])[None]
    values = edges.with_corrupted(chosen)[0, 0]
    assert (values - edges.clean).abs().mean() > 1e-3
    torch.testing.assert_close(values[2990:], some.with_corrupted(chosen)[0, 0])
    torch.testing.assert_close(edges.attribution(2), edges.attribution(2))
    shuffled = dataclasses.replace(pairs, corrupted=pairs.corrupted.at(torch.randperm(3000)))
    assert (runs(model, shuffled).with_corrupted(chosen)[0, 0] - values).abs().mean() > 1e-3


def test_several_metrics_are_of_the_same_runs():
    edges = runs()
    sets = torch.eye(len(edges.graph.edges), dtype=torch.bool)[:4]
    difference, accuracy = edges.with_corrupted(sets, "logit_difference", "accuracy")
    assert torch.equal(difference, edges.with_corrupted(sets)[0])
    assert torch.equal(accuracy, edges.with_corrupted(sets, "accuracy")[0])
    assert not torch.equal(accuracy, difference)


def test_a_permutation_of_heads_permutes_the_scores():
    model = random_model(n_heads=2)
    other = random_model(n_heads=2)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if ".attn." in name and not name.endswith("b_O"):
                parameter.copy_(parameter.flip(0))
    scores, flipped = (runs(each).exact_scores().mean(1) for each in (model, other))
    names = runs(model).graph.edges
    renamed = [name.replace("h0", "x").replace("h1", "h0").replace("x", "h1") for name in names]
    places = [names.index(name) for name in renamed]
    torch.testing.assert_close(flipped[places], scores)
    assert (scores - flipped).abs().max() > 1e-3


def test_the_fixture_has_the_scores_of_the_specification():
    run = interp.load(FIXTURE)
    edges = EdgeRuns(in_double(run, 975), drawn_pairs(run, 256))
    scores = dict(zip(edges.graph.edges, edges.exact_scores().mean(1).tolist(), strict=True))
    assert edges.clean.mean() - edges.corrupted.mean() == pytest.approx(74.92, abs=0.01)
    assert scores["0.mlp->logits"] == pytest.approx(-71.86, abs=0.01)
    heads = [scores[f"0.h{head}->0.mlp"] for head in range(4)]
    assert heads == pytest.approx([-14.5, -18.4, -16.3, -19.1], abs=0.06)
    gradient = dict(zip(edges.graph.edges, edges.attribution().tolist(), strict=True))
    keys = [gradient[f"embed->0.h{head}.k"] for head in range(4)]
    assert keys == pytest.approx([-1.1, -1.1, -2.0, -0.6], abs=0.06)
    out = torch.tensor([edge.startswith("embed->") for edge in edges.graph.edges])
    assert edges.attribution(5)[out].sum() == pytest.approx(-75.6, abs=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parallel_attn_mlp": True}, "parallel_attn_mlp = True: attention and MLP"),
        ({"n_key_value_heads": 1}, "n_key_value_heads = 1: heads share keys"),
    ],
)
def test_models_without_a_graph_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        graph_of(Snapshot.of(random_model(**options), random_pairs().clean))


def test_kl_has_no_gradient_at_the_clean_run():
    edges = runs(metric="kl")
    with pytest.raises(ValueError, match="kl has no gradient at the clean run"):
        edges.attribution()
    assert edges.attribution(5).abs().max() > 1e-4


def test_the_model_is_as_before():
    model = random_model()
    edges = runs(model)
    edges.attribution(1)
    edges.exact_scores()
    assert not model.cfg.use_split_qkv_input
    assert not model.cfg.use_hook_mlp_in
