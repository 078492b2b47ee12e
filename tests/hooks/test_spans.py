from typing import Any

import pytest
import torch
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

from hooks import Edit, Examples, Sizes, Snapshot, build
from hooks.edit import without_heads
from hooks.models import NeoXConfig, PostNormConfig, parameters_of
from hooks.spans import span_batches, span_charts
from tests.oracles import masked_chart
from tests.planted import random_model

SIZES = Sizes(d_vocab=20, d_vocab_out=20, n_ctx=11)
LENGTHS = (1, 2, 3, 5, 5, 8)  # words
CAUSAL = {
    "layer norm": {"normalization_type": "LN"},
    "no layer norm": {},
    "attention only": {"attn_only": True, "normalization_type": "LNPre"},
    "rotary": {"positional_embedding_type": "rotary", "normalization_type": "LN"},
    "RMS": {"normalization_type": "RMS"},
    "waves": {"positional_embedding_type": "sinusoidal"},
    "no positions": {"positional_embedding_type": "none"},
    "shared keys": {"n_key_value_heads": 1},
    "parallel": {"parallel_attn_mlp": True, "gated_mlp": True},
    "blended": {"pattern_coeff": 0.5},
    "blended, rotary": {"pattern_coeff": 0.5, "positional_embedding_type": "rotary"},
}
BOTH_WAYS = {
    "bidirectional": {"attention_dir": "bidirectional", "normalization_type": "LN"},
    "bidirectional, rotary": {
        "attention_dir": "bidirectional", "positional_embedding_type": "rotary",
    },
}  # fmt: skip


OTHER_KINDS = {
    "post_norm": PostNormConfig(n_layers=3, d_model=12, n_heads=2, dropout=0.0),
    "neox": NeoXConfig(n_layers=3, d_model=12, n_heads=2, rotary_dim=4),
}


def of_another_kind(kind: str) -> Any:
    config = OTHER_KINDS[kind]
    model = build(config, SIZES, seed=0, dtype="float64")
    generator = torch.Generator().manual_seed(1)
    for value in parameters_of(model).values():
        value += 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
    return model


def model_of(kind: str) -> Any:
    if kind in OTHER_KINDS:
        return of_another_kind(kind)
    config: dict[str, Any] = (CAUSAL | BOTH_WAYS)[kind]
    return random_model(SIZES, n_layers=3, **config)


def snapshot_of(model: Any, lengths: tuple[int, ...] = LENGTHS, first: int = 1) -> Snapshot:
    width = first + max(lengths)
    tokens = torch.randint(20, (len(lengths), width), generator=torch.Generator().manual_seed(3))
    counts = torch.tensor(lengths) + first
    nothing = torch.zeros_like(tokens)
    return Snapshot.of(model, Examples(nothing, nothing.bool(), tokens, lengths=counts))


def compare(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return cosine_similarity(one, other, dim=-1)


def charts_of(
    snapshot: Snapshot, thresholds: tuple[int, ...] = (0,), first: int = 1
) -> dict[tuple[int, int], torch.Tensor]:
    """Charts by threshold and example."""
    found = {}
    for rows in span_batches(snapshot):
        batch = snapshot.on(snapshot.examples.at(rows))
        charts = span_charts(batch, compare, first=first, thresholds=thresholds, uncut=1.0)
        for threshold, of_threshold in zip(thresholds, charts, strict=True):
            found |= {(threshold, row): chart
                      for row, chart in zip(rows.tolist(), of_threshold, strict=True)}  # fmt: skip
    return found


def check_against_masked_passes(snapshot, thresholds=(0, 1, 2), first=1):
    found = charts_of(snapshot, thresholds, first)
    examples = snapshot.examples
    for (threshold, row), chart in found.items():
        sentence = examples.tokens[row, : examples.lengths[row]]
        with snapshot.running() as model:
            expected = masked_chart(model, sentence, first, threshold)
        spans = torch.tensor(list(expected)).T
        values = torch.tensor(list(expected.values()), dtype=torch.float64)
        assert_close(chart[spans[0], spans[1]], values, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [*CAUSAL, *BOTH_WAYS, *OTHER_KINDS])
def test_charts_are_those_of_a_masked_pass_a_span(kind):
    check_against_masked_passes(snapshot_of(model_of(kind)))


@pytest.mark.parametrize("kind", ["layer norm", "rotary", "bidirectional", "post_norm"])
@pytest.mark.parametrize("first", [0, 3])
def test_what_precedes_a_sentence_is_always_seen(kind, first):
    check_against_masked_passes(snapshot_of(model_of(kind), first=first), (1,), first)


@pytest.mark.parametrize("kind", ["layer norm", "rotary", "bidirectional"])
def test_small_batches_change_nothing(kind, monkeypatch):
    monkeypatch.setattr("hooks.spans.TOKENS_PER_BATCH", 12)
    check_against_masked_passes(snapshot_of(model_of(kind)))


@pytest.mark.parametrize("thresholds", [(2,), (2, 0)])
def test_thresholds_may_be_any_layers_in_any_order(thresholds):
    check_against_masked_passes(snapshot_of(model_of("layer norm")), thresholds)


def test_an_edit_that_counts_positions_counts_those_of_the_sentence():
    def without_the_third(activation: torch.Tensor, hook: Any) -> torch.Tensor:
        keep = torch.arange(activation.shape[1]) != 3
        return activation * keep[:, None]

    hooks = dict.fromkeys((f"blocks.{layer}.hook_resid_pre" for layer in (0, 1)), without_the_third)
    check_against_masked_passes(snapshot_of(model_of("layer norm")).edited(Edit(hooks=hooks)))


def test_an_edit_that_adds_is_applied_once():
    def shifted(activation: torch.Tensor, hook: Any) -> torch.Tensor:
        return activation + 1

    edit = Edit(hooks={"blocks.1.hook_resid_pre": shifted})
    check_against_masked_passes(snapshot_of(model_of("no layer norm")).edited(edit))


def test_charts_are_those_of_the_edited_model():
    snapshot = snapshot_of(model_of("layer norm"))
    plain, edited = charts_of(snapshot), charts_of(snapshot.edited(without_heads(1, [0])))
    assert not torch.allclose(plain[0, 5], edited[0, 5])


@pytest.mark.parametrize("kind", ["layer norm", "rotary", "post_norm"])
def test_spans_that_begin_a_sentence_are_uncut_in_a_causal_model(kind):
    for chart in charts_of(snapshot_of(model_of(kind)), (0, 2)).values():
        assert (chart[0] == 1).all()


def test_in_a_model_of_both_directions_only_the_whole_is_uncut():
    chart = charts_of(snapshot_of(model_of("bidirectional"), (6,)))[0, 0]
    places = torch.arange(7)
    cut = chart[(places[:, None] < places) & (places - places[:, None] < 6)]
    assert (cut < 1 - 1e-6).all()
    assert chart[0, 6] == 1


def passes(kind: str, lengths: tuple[int, ...]) -> int:
    """How many rows the last block is given."""
    model, rows = model_of(kind), []
    last, forward = model.blocks[-1], model.blocks[-1].forward

    def counting(given, **options):
        rows.append(len(given))
        return forward(given, **options)

    last.forward = counting
    charts_of(snapshot_of(model, lengths))
    return sum(rows)


@pytest.mark.parametrize("kind", ["layer norm", "post_norm", "rotary"])
def test_a_causal_model_is_run_once_a_word(kind):
    assert passes(kind, (4, 7, 8)) == 4 + 7 + 8


def test_a_model_of_both_directions_is_run_once_a_span():
    assert passes("bidirectional", (4,)) == 4 * 5 / 2


@pytest.mark.parametrize("kind", ["layer norm", "bidirectional"])
def test_batches_hold_every_sentence_once(kind):
    batches = list(span_batches(snapshot_of(model_of(kind))))
    assert sorted(torch.cat(batches).tolist()) == list(range(len(LENGTHS)))


@pytest.mark.parametrize(("kind", "count"), [("layer norm", 1), ("bidirectional", 5)])
def test_only_causal_models_take_several_lengths_together(kind, count):
    assert len(list(span_batches(snapshot_of(model_of(kind))))) == count


def test_batches_are_no_larger_than_others(monkeypatch):
    monkeypatch.setattr("hooks.spans.TOKENS_PER_BATCH", 12)
    snapshot = snapshot_of(model_of("layer norm"))
    sizes = [snapshot.examples.visible[rows].sum(1) for rows in span_batches(snapshot)]
    assert [len(each) * int(each.max()) for each in sizes] == [3 * 4, 2 * 6, 9]


@pytest.mark.parametrize("threshold", [3, 7, -1])
def test_a_threshold_that_is_no_layer_is_refused(threshold):
    with pytest.raises(ValueError, match=rf"threshold {threshold}: .* the layers 0 to 2"):
        charts_of(snapshot_of(model_of("layer norm")), (0, threshold))


def test_several_lengths_at_once_are_refused_to_a_model_of_both_directions():
    with pytest.raises(ValueError, match="must have one length"):
        span_charts(
            snapshot_of(model_of("bidirectional")), compare, first=1, thresholds=(0,), uncut=1.0
        )


def test_the_model_is_left_as_it_was():
    snapshot = snapshot_of(model_of("rotary"))
    before = snapshot.on(snapshot.examples).logits()
    charts_of(snapshot)
    assert torch.equal(snapshot.on(snapshot.examples).logits(), before)


def test_a_model_that_reads_positions_beside_the_stream_is_refused():
    model = random_model(SIZES, n_layers=3, positional_embedding_type="shortformer")
    with pytest.raises(ValueError, match="shortformer model read positions beside the stream"):
        charts_of(snapshot_of(model))
