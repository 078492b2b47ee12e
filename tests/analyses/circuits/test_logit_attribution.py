"""What parts write for the right answer: sums that hold exactly, a circuit by hand, the fixture."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

import interp
from analyses import HeadAblation, LogitAttribution
from analyses.circuits.logit_attribution import _lenses, _points
from analyses.circuits.stand_ins import KINDS
from hooks import Edit, Examples, Facts, Sizes, Snapshot, build
from hooks.examples import token_losses
from hooks.models import PostNormConfig, ReadInConfig, restore
from tests.planted import random_model, share_of_previous_model, tokens_as_examples

FIXTURE = "fixtures/modular-addition"
SIZES = Sizes(d_vocab=8, d_vocab_out=7, n_ctx=3)
# By step, on all pairs, in float64, computed apart: what heads 0 to 3 and the MLP add, the sum, and
# the accuracy of the lens before attention, between, and after the MLP.
ORACLE = {
    300: ((0.09782, 0.20837, 0.28134, 0.0335, 14.78333), 15.40435, (0.01887, 0.03489, 0.58491)),
    975: ((0.38258, 0.30897, 0.49509, 0.34541, 35.70408), 37.23612, (0.01887, 0.18512, 1.0)),
}
MODELS = [
    {},
    {"normalization_type": "LN"},
    {"normalization_type": "LNPre", "attn_only": True},
    {"normalization_type": "RMS", "gated_mlp": True},
    {"normalization_type": "RMSPre", "n_key_value_heads": 1},
    {"normalization_type": "LN", "parallel_attn_mlp": True, "positional_embedding_type": "rotary"},
    {"normalization_type": "LN", "positional_embedding_type": "shortformer"},
    {"normalization_type": "LN", "positional_embedding_type": "sinusoidal"},
]


def drawn(count: int = 40, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    return tokens_as_examples(torch.randint(0, 7, (count, 3), generator=generator))


def random_snapshot(count: int = 40, **options: Any) -> Snapshot:
    options = {"n_layers": 2} | options
    return Snapshot.of(random_model(SIZES, **options), drawn(count))


def fixture(step: int) -> Snapshot:
    run = interp.load(FIXTURE)
    parameters = {name: value.double() for name, value in dict(run.parameters(step)).items()}
    model = restore(run.config, run.sizes, parameters)
    return Snapshot.of(model, run.snapshot(step).examples, step=step)


def right_less_mean(snapshot: Snapshot) -> torch.Tensor:
    """The right logit less the mean logit at the last position, as the model gives it."""
    logits = snapshot.logits()[:, -1]
    return logits[range(len(logits)), snapshot.examples.targets[:, -1]] - logits.mean(1)


@pytest.mark.parametrize("step", ORACLE)
def test_the_fixture_has_the_attribution_and_the_lens_of_the_oracle(step):
    parts, total, lens = ORACLE[step]
    result = LogitAttribution.measure(fixture(step))
    found = dict(zip(result.parts, result.attribution.tolist(), strict=True))
    names = ("0.h0", "0.h1", "0.h2", "0.h3", "0.mlp")
    assert [found.pop(name) for name in names] == pytest.approx(parts, abs=6e-6)
    assert max(map(abs, found.values())) < 1e-12  # "=" embeds the same for every answer
    assert result.total() == pytest.approx(total, abs=6e-6)
    np.testing.assert_allclose(result.lens_accuracy, lens, atol=6e-6)


@pytest.mark.parametrize("options", MODELS, ids=str)
def test_parts_sum_to_the_right_logit_less_the_mean_logit(options):
    snapshot = random_snapshot(**options)
    result, wanted = LogitAttribution.measure(snapshot), right_less_mean(snapshot)
    assert np.count_nonzero(np.abs(result.attribution) > 1e-4) > 5
    assert result.total() == pytest.approx(float(wanted.mean()), rel=1e-10)


def test_parts_sum_in_float32_to_its_precision():
    model = random_model(SIZES, n_layers=2, normalization_type="LN", dtype="float32")
    snapshot = Snapshot.of(model, drawn())
    wanted = float(right_less_mean(snapshot).double().mean())
    assert LogitAttribution.measure(snapshot).total() == pytest.approx(wanted, rel=1e-5)


def test_a_tied_unembedding_and_spare_outputs_are_read_as_the_model_reads_them():
    facts = Facts(outputs=7)
    examples = dataclasses.replace(drawn(), facts=facts)
    sizes = Sizes(d_vocab=8, d_vocab_out=8, n_ctx=3)
    snapshot = Snapshot.of(random_model(sizes, tie_word_embeddings=True), examples)
    wanted = float(right_less_mean(snapshot).mean())
    assert snapshot.logits().shape[-1] == 7
    assert LogitAttribution.measure(snapshot).total() == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("norm", [None, "LN"])
def test_a_part_is_what_the_logits_lose_without_it_while_the_scale_is_held(norm):
    snapshot = random_snapshot(normalization_type=norm)
    name = "blocks.1.hook_mlp_out"
    b_out = snapshot.weights("blocks.1.mlp.b_out")
    hooks: dict[str, Any] = {name: lambda activation, hook: b_out.expand_as(activation)}
    if norm is not None:
        scale = snapshot.cache("ln_final.hook_scale")["ln_final.hook_scale"]
        hooks["ln_final.hook_scale"] = lambda activation, hook: scale
    without = snapshot.edited(Edit(hooks=hooks))
    lost = float((right_less_mean(snapshot) - right_less_mean(without)).mean())
    result = LogitAttribution.measure(snapshot)
    assert abs(lost) > 1e-3
    assert result.attribution[result.parts.index("1.mlp")] == pytest.approx(lost, rel=1e-9)


def test_only_the_head_that_writes_the_answer_is_credited_with_it():
    tokens = torch.randint(0, 4, (50, 5), generator=torch.Generator().manual_seed(0))
    shares = (tokens == 0).double().cumsum(1) / torch.arange(1, 6)
    examples = Examples(shares, torch.ones(50, 5, dtype=torch.bool), tokens=tokens)
    result = LogitAttribution.measure(Snapshot.of(share_of_previous_model(), examples))
    found = dict(zip(result.parts, result.attribution.tolist(), strict=True))
    assert found.pop("1.h0") == pytest.approx(1)
    assert not any(found.values())
    np.testing.assert_allclose(result.lens_loss[[-2, -1]], 0, atol=1e-20)
    assert result.lens_loss[0] == pytest.approx(float(shares.square().mean()))


def test_real_numbers_are_attributed_as_the_slope_of_the_output_on_the_answer():
    config = ReadInConfig(d_model=8, n_heads=2, n_layers=2)
    model = build(config, Sizes(d_in=3, d_vocab_out=1, n_ctx=4), seed=0, dtype="float64")
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(30, 4, 3, generator=generator).double()
    examples = Examples(inputs[:, :, 0], torch.rand(30, 4) < 2, inputs=inputs)
    snapshot = Snapshot.of(model, examples)
    result = LogitAttribution.measure(snapshot)
    output, answer = snapshot.logits()[:, :, 0], examples.targets
    slope = float((output * answer).mean() / answer.square().mean())
    assert abs(slope) > 1e-3
    assert result.total() == pytest.approx(slope, rel=1e-10)
    assert np.isnan(result.lens_accuracy).all()
    assert list(result.figures()) == ["attribution", "lens"]


def test_permuted_answers_get_nothing_on_average():
    result = LogitAttribution.measure(fixture(975))
    seeds = [LogitAttribution.measure(fixture(975), seed=seed) for seed in range(1, 4)]
    totals = [each.total(control=True) for each in (result, *seeds)]
    assert len(set(totals)) == 4
    assert abs(np.mean(totals)) < 0.02 * result.total()


def test_the_lens_before_the_last_mlp_is_the_model_without_it():
    snapshot = fixture(975)
    result, ablated = LogitAttribution.measure(snapshot), HeadAblation.measure(snapshot)
    place = (KINDS.index("zero"), ablated.parts.index("0.mlp"))
    assert result.points == ("resid_pre 0", "resid_mid 0", "resid_post 0")
    loss = ablated.loss + ablated.loss_increase[place]
    assert result.lens_loss[1] == pytest.approx(loss, rel=1e-12)
    accuracy = ablated.accuracy + ablated.accuracy_change[place]
    assert result.lens_accuracy[1] == pytest.approx(accuracy, rel=1e-12)


@pytest.mark.parametrize("lens", ["own", "frozen"])
@pytest.mark.parametrize("norm", ["LN", "RMS", None])
def test_the_last_lens_is_the_model(lens, norm):
    snapshot = random_snapshot(normalization_type=norm)
    *_, last = _lenses(snapshot, _points(snapshot), lens)
    torch.testing.assert_close(last.double(), snapshot.logits()[:, -1], rtol=0, atol=1e-10)


def test_a_frozen_lens_is_linear_in_the_stream_and_an_own_one_is_not():
    snapshot = random_snapshot(normalization_type="LN")
    points = _points(snapshot)
    own, frozen = (torch.stack(list(_lenses(snapshot, points, lens))) for lens in ("own", "frozen"))
    name = "blocks.1.hook_mlp_out"
    written = snapshot.cache(name)[name][:, -1]
    scale = snapshot.cache("ln_final.hook_scale")["ln_final.hook_scale"][:, -1]
    centred = (written - written.mean(1, keepdim=True)) * snapshot.weights("ln_final.w")
    added = centred / scale @ snapshot.weights("W_U")
    torch.testing.assert_close(frozen[-1] - frozen[-2], added, rtol=0, atol=1e-10)
    assert (own[:-1] - frozen[:-1]).abs().amax((1, 2)).min() > 1e-2


def test_only_scored_positions_count_and_rows_keep_their_places():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 7, (3000, 3), generator=generator)  # 9,000: two batches
    scored = torch.rand(3000, 3, generator=generator) < 0.5
    examples = Examples(tokens.flip(1).where(scored, 0), scored, tokens=tokens)
    snapshot = Snapshot.of(random_model(SIZES, normalization_type="LN"), examples)
    result, logits = LogitAttribution.measure(snapshot), snapshot.logits()[scored]
    targets = examples.targets[scored]
    wanted = logits.gather(1, targets[:, None])[:, 0] - logits.mean(1)
    assert result.total() == pytest.approx(float(wanted.mean()), rel=1e-10)
    losses = token_losses(snapshot.logits()[scored], targets)
    assert result.lens_loss[-1] == pytest.approx(float(losses.mean()), rel=1e-10)


def test_post_norm_is_refused_and_a_readout_offered():
    config = PostNormConfig(n_layers=2, d_model=8, n_heads=2)
    model = build(config, SIZES, seed=0, dtype="float64")
    model.train(False)
    snapshot = Snapshot.of(model, drawn())
    with pytest.raises(ValueError, match=r"this model is post-norm.*readout = true"):
        LogitAttribution.measure(snapshot)
    assert LogitAttribution.by_default.missing(snapshot)[0].startswith("a residual stream that is")
    result = LogitAttribution.measure(snapshot, readout=True)
    losses = token_losses(snapshot.logits()[:, -1], snapshot.examples.targets[:, -1])
    assert result.parts == ()
    assert np.isnan(result.total())
    assert result.lens_loss[-1] == pytest.approx(float(losses.mean()))
    assert list(result.figures()) == ["lens"]
    assert len(result.to_frame()) == len(result.points) == 5


def test_parts_that_an_edit_adds_to_are_refused():
    edit = Edit(hooks={"blocks.0.hook_resid_mid": lambda activation, hook: activation + 1.5})
    with pytest.raises(ValueError, match="parts miss the logits by up to"):
        LogitAttribution.measure(random_snapshot(normalization_type=None).edited(edit))


def test_a_model_without_named_parts_is_refused(monkeypatch):
    snapshot = random_snapshot()
    monkeypatch.setattr(snapshot.live.model, "cfg", object())
    with pytest.raises(ValueError, match=r"only a hooks\.HookedTransformer has parts"):
        LogitAttribution.measure(snapshot)


def test_a_reference_of_another_model_is_refused():
    reference = LogitAttribution.measure(random_snapshot())
    with pytest.raises(ValueError, match="reference: it has other parts"):
        LogitAttribution.measure(random_snapshot(n_layers=1), reference=reference)


def test_figures_hold_the_controls():
    first = LogitAttribution.measure(dataclasses.replace(random_snapshot(), step=0))
    result = LogitAttribution.measure(random_snapshot(seed=1), reference=first)
    np.testing.assert_array_equal(result.first_attribution, first.attribution)
    np.testing.assert_array_equal(first.first_lens_accuracy, first.lens_accuracy)
    alone = LogitAttribution.measure(random_snapshot())
    assert np.isnan([*alone.first_attribution, *alone.first_lens_loss]).all()
    attribution: Any = result.plot("attribution")
    names = {trace.name for trace in attribution.data}
    assert {"permuted right answers", "right answer, first step", "nothing"} <= names
    lens: Any = result.plot("lens")
    assert {"first step", "guessing", "this step"} <= {trace.name for trace in lens.data}
