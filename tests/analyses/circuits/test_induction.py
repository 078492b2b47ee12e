"""Induction scores: planted heads, closed forms, laws, refusals, and a run that learned them."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import interp
from analyses import InductionScores
from analyses.circuits.copying import undefined_logits
from analyses.circuits.induction import DISTANCES, OFFSETS, SCORES
from analyses.plots import Figure, as_data
from hooks import Examples, Facts, Sizes, Snapshot, build
from hooks.circuits.graph import EdgeRuns
from hooks.edit import with_weights, without_heads
from hooks.examples import token_losses
from hooks.models import PostNormConfig
from interp.config.experiment import load_experiment
from interp.config.training import Steps
from interp.tasks.repeated_tokens import RepeatedTokens
from interp.training.loop import train
from tests.planted import (
    config_for,
    induction_model,
    random_model,
    unambiguous,
    uniform_attention_model,
)

TASK = RepeatedTokens(d_vocab=64, length=16, max_block=6, test_sequences=300)
SIZES = Sizes(d_vocab=20, d_vocab_out=20, n_ctx=14)
REPEATS = RepeatedTokens(d_vocab=20, length=14, max_block=5, test_sequences=40).examples(
    "test", None, 0
)
FIXTURE = "fixtures/repeated-tokens"


def snapshot_of(model=None, examples=REPEATS, **options):
    options = {"n_layers": 2, "attn_only": True} | options
    return Snapshot.of(random_model(SIZES, **options) if model is None else model, examples)


def measured(model=None, examples=REPEATS, **options):
    return InductionScores.measure(snapshot_of(model, examples, **options))


@pytest.fixture(scope="module")
def planted():
    examples = TASK.examples("test", None, 0)
    return measured(induction_model(), examples.at(unambiguous(examples)))


@pytest.fixture(scope="module")
def trained():
    run = interp.load(FIXTURE)
    first = InductionScores.measure(run.snapshot(0, count=300))
    later = {
        step: InductionScores.measure(run.snapshot(step, count=300), reference=first)
        for step in (200, 400, 800)
    }
    return {0: first} | later


def test_a_written_induction_head_has_prefix_matching_one(planted):
    assert planted.prefix_matching[1, 0] == 1
    assert np.nanmax(np.delete(planted.prefix[1, 0], OFFSETS.index(0))) == 0
    assert planted.induction_head == (1, 0)


def test_a_written_previous_token_head_scores_one(planted):
    assert planted.previous_token[0, 0] == 1
    assert np.nanmax(np.delete(planted.previous[0, 0], DISTANCES.index(1))[1:]) == 0
    assert planted.previous[0, 0, 0] == pytest.approx(1 / 16)  # position 0 has no other choice


def test_heads_without_weights_attend_alike_to_all(planted):
    for layer in (0, 1):
        np.testing.assert_allclose(planted.prefix[layer, 1], planted.uniform_prefix)
        np.testing.assert_allclose(planted.previous[layer, 1], planted.uniform_previous)
    assert np.array_equal(planted.loss_increase[:, 1], [0, 0])


def test_the_written_head_copies_by_both_definitions(planted):
    assert planted.copying_eigenvalues[1, 0] == 1
    assert np.isnan(np.delete(planted.copying_eigenvalues.ravel(), 2)).all()
    assert planted.copying_logits[1, 0] == pytest.approx(10 - 10 / 64)  # W_U is 10 at one token
    assert np.array_equal(np.delete(planted.copying_logits.ravel(), 2), [0, 0, 0])


def test_each_written_head_is_needed(planted):
    assert planted.accuracy == 1
    assert planted.loss == pytest.approx(math.log1p(63 * math.exp(-10)))
    without = math.log(64) - planted.loss  # nothing reads a token twice
    assert planted.loss_increase[1, 0] == pytest.approx(without)
    assert planted.loss_increase[0, 0] > 3
    np.testing.assert_array_equal(planted.layer_loss_increase, planted.loss_increase[:, 0])


# What each change of the input goes through, all other edges being exactly 0.
CIRCUITS = {
    "block": {"embed->1.h0.v", "1.h0->logits"},
    "match": {"embed->0.h0.v", "0.h0->1.h0.k", "1.h0->logits"},
    "query": {"embed->1.h0.q", "1.h0->logits"},
    "outside": set(),
}


@pytest.mark.parametrize("change", CIRCUITS)
def test_the_written_circuit_is_found_and_all_else_is_zero(change):
    pairs = TASK.input_pairs("test", 200, 0, change)
    rows = {*unambiguous(pairs.clean).tolist()} & {*unambiguous(pairs.corrupted).tolist()}
    pairs = pairs.at(torch.tensor(sorted(rows)))
    edges = EdgeRuns(Snapshot.of(induction_model(), pairs.clean), pairs)
    scores = dict(zip(edges.graph.edges, edges.exact_scores(), strict=True))
    assert len(pairs) > 20
    assert edges.clean.abs().min() > 9.9
    nonzero = {name for name, values in scores.items() if bool((values != 0).any())}
    assert nonzero == CIRCUITS[change]
    for name in nonzero:  # from 10 for the right answer to 10 for the wrong one
        torch.testing.assert_close(scores[name], torch.full_like(scores[name], -20))


def test_uniform_attention_scores_the_baseline():
    result = measured(uniform_attention_model(SIZES, n_layers=2, attn_only=True))
    for layer in (0, 1):
        for head in (0, 1):
            np.testing.assert_allclose(result.prefix[layer, head], result.uniform_prefix)
            np.testing.assert_allclose(result.previous[layer, head], result.uniform_previous)


def test_the_baseline_is_one_over_the_keys_that_a_query_sees(trained):
    examples = interp.load(FIXTURE).snapshot(0, count=300).examples
    queries = examples.scored.nonzero()[:, 1].double()
    uniform = trained[0].uniform_prefix[OFFSETS.index(0)]
    assert uniform == pytest.approx(float((1 / (queries + 1)).mean()))
    harmonic = sum(1 / (q + 1) for q in range(1, 32)) / 31
    assert trained[0].uniform_previous[1] == pytest.approx(harmonic)


def by_hand(pattern, examples, is_causal):
    """Both profiles of one head, query by query."""
    prefix = {j: [] for j in OFFSETS}
    previous = {j: [] for j in DISTANCES}
    for row in range(len(examples)):
        lag, length = int(examples.label("lag")[row]), int(examples.visible[row].sum())
        for q in range(length):
            for j in DISTANCES:
                if q - j >= 0:
                    previous[j].append(float(pattern[row, q, q - j]))
            for j in OFFSETS:
                key = q + 1 - lag + j
                if examples.scored[row, q] and 0 <= key < (q + 1 if is_causal else length):
                    prefix[j].append(float(pattern[row, q, key]))
    return [np.array([np.mean(v) if v else np.nan for v in each.values()])
            for each in (prefix, previous)]  # fmt: skip


@pytest.mark.parametrize("attention_dir", ["causal", "bidirectional"])
def test_profiles_are_those_of_loops_over_queries(attention_dir):
    snapshot = snapshot_of(attention_dir=attention_dir)
    result = InductionScores.measure(snapshot)
    for layer in (0, 1):
        name = f"blocks.{layer}.attn.hook_pattern"
        for head, pattern in enumerate(snapshot.cache(name)[name].unbind(1)):
            prefix, previous = by_hand(pattern, REPEATS, attention_dir == "causal")
            np.testing.assert_allclose(result.prefix[layer, head], prefix)
            np.testing.assert_allclose(result.previous[layer, head], previous)
    assert np.ptp(result.prefix_matching) > 1e-3


def padded(examples, extra):
    """The same with padding behind."""

    def wider(values):
        return torch.nn.functional.pad(values, (0, extra))

    return dataclasses.replace(
        examples,
        tokens=wider(examples.model_inputs), targets=wider(examples.targets),
        scored=wider(examples.scored), words=None,
        lengths=torch.full((len(examples),), examples.model_inputs.shape[1]),
    )  # fmt: skip


def test_padding_changes_nothing():
    model = random_model(Sizes(d_vocab=20, d_vocab_out=20, n_ctx=17), n_layers=2, attn_only=True)
    plain, wide = measured(model), measured(model, padded(REPEATS, 3))
    for name in ("prefix", "previous", "uniform_prefix", "uniform_previous", "loss_increase",
                 "copying_logits", "first_loss"):  # fmt: skip
        np.testing.assert_allclose(getattr(wide, name), getattr(plain, name), err_msg=name)


def test_a_lag_can_differ_from_position_to_position():
    lags = REPEATS.label("lag")[:, None].expand(-1, 14).clone()
    lags[~REPEATS.scored] = 1
    by_position = dataclasses.replace(REPEATS, labels={"lag": lags})
    np.testing.assert_array_equal(measured(examples=by_position).prefix, measured().prefix)


def test_tokens_may_stand_before_all_others():
    tokens = torch.nn.functional.pad(REPEATS.model_inputs, (1, 0), value=19)
    shifted = dataclasses.replace(
        REPEATS, tokens=tokens, words=None,
        targets=torch.nn.functional.pad(REPEATS.targets, (1, 0)),
        scored=torch.nn.functional.pad(REPEATS.scored, (1, 0)),
    )  # fmt: skip
    model = random_model(Sizes(d_vocab=20, d_vocab_out=20, n_ctx=15), n_layers=2)
    assert measured(model, shifted).queries == measured(model).queries == int(REPEATS.scored.sum())


def test_more_examples_than_a_batch_holds_keep_their_rows(monkeypatch):
    whole = measured()
    monkeypatch.setattr("hooks.snapshot.TOKENS_PER_BATCH", 14 * 7)  # 7 of 40 examples
    parts = measured()
    for field in dataclasses.fields(whole):
        values = [getattr(each, field.name) for each in (whole, parts)]
        if not isinstance(values[0], str):
            np.testing.assert_allclose(*values, err_msg=field.name)


def test_a_permutation_of_heads_permutes_the_table():
    model, other = (random_model(SIZES, n_layers=2, attn_only=True) for _ in range(2))
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if ".attn." in name and not name.endswith("b_O"):
                parameter.copy_(parameter.flip(0))
    result, flipped = measured(model), measured(other)
    np.testing.assert_allclose(flipped.scores, result.scores[:, :, ::-1])
    assert np.abs(result.scores - flipped.scores).min() > 0


@pytest.mark.parametrize("norm", [None, "LN", "LNPre", "RMS"])
def test_copied_logits_are_those_of_the_stream_with_and_without_the_head(norm):
    snapshot = snapshot_of(normalization_type=norm, attn_only=False)
    result = InductionScores.measure(snapshot)
    model, inputs = snapshot.live.model, REPEATS.model_inputs
    names = ["blocks.1.hook_resid_post", "blocks.0.attn.hook_z", "blocks.0.attn.hook_pattern"]
    stream, z, pattern = snapshot.cache(names).values()
    written = z[:, :, 1] @ snapshot.weights("blocks.0.attn.W_O")[1]

    def logits(of):
        """The last norm with its mean taken from `of`, and its scale from the run."""
        if norm is not None:
            if norm != "RMS":
                of, centred = of - of.mean(-1, keepdim=True), stream - stream.mean(-1, keepdim=True)
            else:
                centred = stream
            of = of / (centred.square().mean(-1, keepdim=True) + model.cfg.eps).sqrt()
            parameters = snapshot.parameters()
            of = of * parameters.get("ln_final.w", 1) + parameters.get("ln_final.b", 0)
        return of @ snapshot.weights("W_U")

    added = (logits(stream) - logits(stream - written)).detach()
    added = added - added.mean(-1, keepdim=True)
    means = []
    for row, q in REPEATS.scored.nonzero().tolist():
        weights = pattern[row, 1, q]
        means.append(sum(w * added[row, q, token] for w, token in
                         zip(weights.tolist(), inputs[row].tolist(), strict=True)))  # fmt: skip
    assert abs(np.mean(means)) > 1e-3
    assert result.copying_logits[0, 1] == pytest.approx(np.mean(means))


def test_the_eigenvalue_score_is_that_of_the_whole_matrix():
    result, snapshot = measured(), snapshot_of()
    for layer in (0, 1):
        W_V, W_O = (snapshot.weights(f"blocks.{layer}.attn.{name}")[1] for name in ("W_V", "W_O"))
        whole = snapshot.weights("W_E") @ W_V @ W_O @ snapshot.weights("W_U")
        values = np.linalg.eigvals(whole.numpy())
        expected = values.real.sum() / np.abs(values).sum()
        assert result.copying_eigenvalues[layer, 1] == pytest.approx(expected, rel=1e-6)


def test_a_loss_increase_is_the_loss_without_the_head_less_that_with_it():
    snapshot = snapshot_of()
    result = InductionScores.measure(snapshot)
    answers = REPEATS.targets[REPEATS.scored]

    def loss(of):
        return float(token_losses(of.logits()[REPEATS.scored], answers).mean())

    without = loss(snapshot.edited(without_heads(1, [0])))
    assert result.loss == pytest.approx(loss(snapshot))
    assert result.loss_increase[1, 0] == pytest.approx(without - loss(snapshot))
    both = loss(snapshot.edited(without_heads(1, [0, 1])))
    assert result.layer_loss_increase[1] == pytest.approx(both - loss(snapshot))


def test_the_first_loss_is_what_the_task_records():
    task = RepeatedTokens(d_vocab=20, length=14, max_block=5)
    snapshot = snapshot_of()
    scores = task.score(snapshot)
    result = InductionScores.measure(snapshot)
    assert result.first_loss == pytest.approx(scores["first_loss"])
    assert result.in_context_score == pytest.approx(scores["loss"] - scores["first_loss"])


def test_examples_without_a_query_do_not_count():
    scored = REPEATS.scored.clone()
    scored[5:] = False
    few = dataclasses.replace(REPEATS, scored=scored, targets=REPEATS.targets * scored)
    result, wanted = measured(examples=few), measured(examples=REPEATS.head(5))
    for name in ("prefix", "loss", "first_loss", "loss_increase", "copying_logits"):
        np.testing.assert_allclose(getattr(result, name), getattr(wanted, name), err_msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {"positional_embedding_type": "rotary"},
        {"positional_embedding_type": "shortformer"},
        {"n_key_value_heads": 1},
        {"normalization_type": "RMS", "gated_mlp": True},
        {"parallel_attn_mlp": True, "normalization_type": "LN"},
        {"n_layers": 1, "n_heads": 4, "d_head": 3},
        {"tie_word_embeddings": True},
    ],
)
def test_any_model_with_attention_is_scored_on_its_own_tokens(options):
    sizes = Sizes(d_vocab=31, d_vocab_out=31, n_ctx=40)
    model = random_model(sizes, **{"n_layers": 2} | options)
    repeats = RepeatedTokens(d_vocab=model.cfg.d_vocab, length=24, test_sequences=20)
    result = measured(model, repeats.examples("test", None, 0))
    cfg = model.cfg
    assert result.loss_increase.shape == (cfg.n_layers, cfg.n_heads)
    assert np.isfinite(result.scores).all()
    assert result.undefined_logits == ""
    assert np.isnan(result.untrained_scores).all()


def test_of_post_norm_only_the_logits_of_heads_are_not_known():
    config = PostNormConfig(n_layers=2, d_model=8, n_heads=2)
    result = measured(build(config, SIZES, seed=0, dtype="float64"))
    assert result.undefined_logits.startswith("the stream is normalised after each addition")
    assert np.isnan(result.copying_logits).all()
    others = [name for name in SCORES if name != "copying_logits"]
    assert all(np.isfinite(getattr(result, name)).all() for name in others)
    assert str(result.summary()["copying_logits"]) == "nan"


def test_of_what_is_no_transformer_the_logits_of_heads_are_not_known():
    sizes = Sizes(d_in=3, d_vocab_out=2, n_ctx=1)
    model = build(config_for(sizes), sizes, seed=0)
    examples = Examples(
        inputs=torch.ones(2, 1, 3), targets=torch.zeros(2, 1, dtype=torch.long),
        scored=torch.ones(2, 1, dtype=torch.bool),
    )  # fmt: skip
    assert undefined_logits(Snapshot.of(model, examples)).startswith("the model is no Hooked")


def test_a_lag_that_is_not_true_is_refused():
    wrong = dataclasses.replace(REPEATS, labels={"lag": REPEATS.label("lag") + 1})
    message = r"labels\['lag'\]: at \d+ of \d+ scored positions q the answer is not the token"
    with pytest.raises(ValueError, match=message):
        measured(examples=wrong)


@pytest.mark.parametrize("lag", [0, -3, 99])
def test_a_lag_to_where_no_token_was_is_refused(lag):
    wrong = dataclasses.replace(REPEATS, labels={"lag": torch.full((40,), lag)})
    n = int(REPEATS.scored.sum())
    with pytest.raises(ValueError, match=f"at {n} of {n} scored positions.*to its copy"):
        measured(examples=wrong)


def test_examples_without_queries_are_refused():
    nothing = dataclasses.replace(
        REPEATS, scored=REPEATS.scored & False, targets=REPEATS.targets * 0
    )
    with pytest.raises(ValueError, match="scored is False everywhere"):
        measured(examples=nothing)


def test_examples_without_a_lag_are_refused():
    unlabelled = dataclasses.replace(REPEATS, labels={})
    with pytest.raises(ValueError, match="needs a task with the labels lag, and this one has none"):
        measured(examples=unlabelled)


def test_a_model_of_other_classes_than_tokens_is_refused():
    model = random_model(Sizes(d_vocab=20, d_vocab_out=25, n_ctx=14))
    with pytest.raises(ValueError, match="reads 20 tokens and answers with 25 classes"):
        measured(model)
    fewer = dataclasses.replace(REPEATS, facts=Facts(outputs=20))
    assert measured(model, fewer).queries


@pytest.mark.parametrize("name", ["embed.W_E", "blocks.1.attn.W_Q", "unembed.W_U"])
def test_a_model_that_diverged_is_refused(name):
    broken = with_weights({name: torch.full_like(snapshot_of().weights(name), torch.nan)})
    with pytest.raises(ValueError, match="logits hold NaN or infinity: the model has diverged"):
        InductionScores.measure(snapshot_of().edited(broken))


def test_a_reference_of_another_model_is_refused():
    with pytest.raises(ValueError, match=r"reference: it has \[1, 2\] layers and heads"):
        InductionScores.measure(snapshot_of(), reference=measured(n_layers=1))


def test_the_first_snapshot_is_its_own_control(trained):
    np.testing.assert_array_equal(trained[0].untrained_scores, trained[0].scores)
    np.testing.assert_array_equal(trained[800].untrained_scores, trained[0].scores)
    assert trained[0].accuracy < 0.05


def test_the_fixture_has_induction_heads_at_step_800(trained):
    late = trained[800]
    assert late.loss < 1
    assert late.prefix_matching[1].min() > 0.5
    assert late.previous_token[0].min() > 0.28
    assert late.prefix_matching[0].max() < 0.06
    assert late.copying_eigenvalues[1].min() > 0.9
    assert late.copying_logits[1].min() > 2
    assert late.loss_increase.max() < 1.5  # two heads of a layer share the work
    assert late.layer_loss_increase.min() > 3


def test_the_fixture_has_no_induction_heads_at_first(trained):
    first = trained[0]
    uniform = first.uniform_prefix[OFFSETS.index(0)]
    np.testing.assert_allclose(first.prefix_matching, uniform, atol=0.01)
    np.testing.assert_allclose(first.previous_token, first.uniform_previous[1], atol=0.02)
    assert np.abs(first.loss_increase).max() < 0.1


def test_attention_to_the_previous_token_comes_before_prefix_matching(trained):
    early = trained[200]
    assert early.previous_token[0].min() > early.uniform_previous[1] + 0.02
    assert early.prefix_matching[1].max() < early.uniform_prefix[OFFSETS.index(0)] + 0.02


def test_the_summary_has_the_loss_beside_the_scores(trained):
    summary = trained[800].summary()
    assert next(iter(summary)) == "loss"
    assert summary["prefix_matching_1"] == trained[800].prefix_matching[1].max()
    assert summary["previous_token_0"] == trained[800].previous_token[0].max()
    assert summary["untrained_prefix_matching"] == trained[0].prefix_matching.max()
    assert summary["induction_head"].startswith("1.")


def test_a_table_has_a_row_a_head(trained):
    frame = trained[800].to_frame()
    assert list(frame) == ["layer", "head", *SCORES]
    assert frame["prefix_matching"].tolist() == trained[800].prefix_matching.ravel().tolist()


def drawn(result, slug):
    """A figure as plain tables."""
    figure = result.figures()[slug]
    assert isinstance(figure, Figure)
    return as_data(figure)


def test_figures_hold_their_controls(trained):
    scores = drawn(trained[800], "scores")
    names = {trace["name"] for trace in scores["data"]}
    assert names == {"this step", "first step", "uniform attention", "all heads of the layer"}
    assert "guessing: 4.16" in scores["layout"]["title"]["text"]
    for slug, start in {"prefix": "Head 1.", "previous": "Head 0."}.items():
        profile = drawn(trained[800], slug)
        assert profile["data"][0]["y"][0] == "uniform"
        assert profile["layout"]["title"]["text"].startswith(start)


def test_heads_of_large_models_are_named_by_layer():
    figure = drawn(measured(n_layers=5, n_heads=4), "scores")
    names = ["0.0", "1.0", "2.0", "3.0", "4.0"]
    assert figure["layout"]["xaxis"]["ticktext"] == names
    assert "first step" not in {trace["name"] for trace in figure["data"]}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_training_makes_induction_heads(seed, tmp_path):
    preset = load_experiment("repeated-tokens").with_seed(seed)
    training = preset.require_training().model_copy(
        update={"steps": 800, "checkpoints": Steps(listed=(400,))}
    )
    run = train(preset.model_copy(update={"training": training}), tmp_path / "run", device="cpu")
    early, late = (InductionScores.measure(run.snapshot(step)) for step in (400, 800))
    assert early.loss > 2.5
    assert late.loss < 1
    assert late.prefix_matching[1].min() > 0.5
    assert late.previous_token[0].min() > 0.28
    assert late.prefix_matching[0].max() < 0.06
    assert late.copying_eigenvalues[1].min() > 0.9
