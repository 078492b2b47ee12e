"""Activations of one run in another: what follows exactly, without a model that was trained."""

import pytest
import torch
from torch.testing import assert_close

from hooks import Edit, Snapshot, patched, replaced_by
from hooks.edit import without_heads
from hooks.generate import greedy
from hooks.gradients import logit_gradients
from hooks.spans import span_charts
from hooks.stream import stream
from tests.planted import random_model, tokens_as_examples

PRE, MID, POST = "blocks.0.hook_resid_pre", "blocks.0.hook_resid_mid", "blocks.0.hook_resid_post"
Z, PATTERN, NEURONS = "blocks.0.attn.hook_z", "blocks.0.attn.hook_pattern", "blocks.0.mlp.hook_post"
ALL_PARTS = ["hook_embed", "hook_pos_embed", "blocks.0.hook_attn_out", "blocks.0.hook_mlp_out"]


def drawn(count, seed):
    """Examples of three random tokens."""
    generator = torch.Generator().manual_seed(seed)
    return tokens_as_examples(torch.randint(0, 7, (count, 3), generator=generator))


@pytest.fixture
def clean():
    return Snapshot.of(random_model(), drawn(40, seed=0))


@pytest.fixture
def other(clean):
    return clean.on(drawn(40, seed=1))


@pytest.mark.parametrize("names", [PRE, POST, ALL_PARTS], ids=["before", "after", "all parts"])
def test_a_run_with_everything_patched_is_the_other_run_bit_for_bit(clean, other, names):
    assert not torch.equal(other.logits(), clean.logits())
    assert torch.equal(other.edited(patched(clean, names)).logits(), clean.logits())


@pytest.mark.parametrize("name", [PRE, Z, PATTERN, NEURONS, POST])
def test_a_run_patched_with_itself_does_not_change(clean, name):
    assert torch.equal(clean.edited(patched(clean, name)).logits(), clean.logits())


@pytest.mark.parametrize("count", [2_730, 2_731, 6_000])
def test_every_batch_takes_its_own_rows_of_the_source(count):
    clean = Snapshot.of(random_model(), drawn(count, seed=0))  # 8,192 tokens a batch
    other = clean.on(drawn(count, seed=1))
    assert torch.equal(other.edited(patched(clean, PRE)).logits(), clean.logits())


def test_tokens_that_are_alike_have_no_effect(clean):
    tokens = clean.examples.tokens.clone()
    tokens[:, 1] = (tokens[:, 1] + 1) % 7
    other = clean.on(tokens_as_examples(tokens))
    assert torch.equal(other.edited(patched(clean, PRE, positions=0)).logits(), other.logits())
    assert torch.equal(other.edited(patched(clean, PRE, positions=[1])).logits(), clean.logits())


def test_all_heads_one_after_the_other_are_all_heads_at_once(clean, other):
    one_by_one = other.edited(patched(clean, Z, heads=[0]), patched(clean, Z, heads=[1]))
    assert torch.equal(one_by_one.logits(), other.edited(patched(clean, Z)).logits())


def test_only_the_heads_named_are_the_sources(clean, other):
    found = other.edited(patched(clean, Z, heads=[1])).cache(Z)[Z]
    assert torch.equal(found[:, :, 1], clean.cache(Z)[Z][:, :, 1])
    assert torch.equal(found[:, :, 0], other.cache(Z)[Z][:, :, 0])


def test_only_the_neurons_named_are_the_sources(clean, other):
    found = other.edited(patched(clean, NEURONS, neurons=[3, 5])).cache(NEURONS)[NEURONS]
    is_other = (found == other.cache(NEURONS)[NEURONS]).all(0).all(0)
    assert torch.equal(found[..., [3, 5]], clean.cache(NEURONS)[NEURONS][..., [3, 5]])
    assert is_other[[0, 1, 2, 4, *range(6, 16)]].all()


PLACES = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "positions",
    [PLACES, PLACES[:, None], torch.arange(3) == PLACES[:, None]],
    ids=["one a row", "table", "mask"],
)
def test_positions_may_differ_by_row(clean, other, positions):
    found = other.edited(patched(clean, PRE, positions=positions)).cache(PRE)[PRE]
    is_there = torch.arange(3) == PLACES[:, None]
    assert torch.equal(found[is_there], clean.cache(PRE)[PRE][is_there])
    assert torch.equal(found[~is_there], other.cache(PRE)[PRE][~is_there])


def test_rows_may_have_several_positions_each_as_many_as_its_own(clean, other):
    is_there = torch.arange(3) <= PLACES[:, None]
    found = other.edited(patched(clean, PRE, positions=is_there)).cache(PRE)[PRE]
    assert torch.equal(found[is_there], clean.cache(PRE)[PRE][is_there])
    assert torch.equal(found[~is_there], other.cache(PRE)[PRE][~is_there])


def test_the_source_may_be_read_at_other_positions(clean, other):
    edit = patched(clean, PRE, positions=[0, 2], source_positions=[1, 0])
    found = other.edited(edit).cache(PRE)[PRE]
    assert torch.equal(found[:, [0, 2]], clean.cache(PRE)[PRE][:, [1, 0]])
    assert torch.equal(found[:, 1], other.cache(PRE)[PRE][:, 1])


def test_a_source_may_be_patched_itself(clean, other):
    step = other.edited(patched(clean, Z, heads=[0]))
    assert torch.equal(other.edited(patched(step, POST)).logits(), step.logits())


def test_the_source_is_held_as_it_was(clean, other):
    edited = other.edited(patched(clean, PRE))
    clean.cache(PRE)[PRE].zero_()
    assert torch.equal(edited.logits(), clean.logits())


def test_streams_give_each_batch_its_rows(clean, other, monkeypatch):
    monkeypatch.setattr("hooks.snapshot.TOKENS_PER_BATCH", 21)
    edited = other.edited(patched(clean, PRE))
    found = stream(edited, {POST: lambda activation, rows: {"sum": activation.sum(0)}})
    assert_close(found[POST]["sum"], clean.cache(POST)[POST].sum(0))


def test_gradients_of_some_rows_are_those_of_the_source(clean, other):
    rows, classes = torch.tensor([31, 4, 4]), torch.tensor([0, 1, 6])
    found = logit_gradients(other.edited(patched(clean, PRE)), rows, classes, MID)
    assert_close(found, logit_gradients(clean, rows, classes, MID))


def test_what_is_not_finite_is_looked_for_with_rows(clean, other):
    assert other.edited(patched(clean, PRE)).first_not_finite() == ""


def cosine(whole, cut):
    return torch.cosine_similarity(whole, cut, dim=-1)


def test_charts_of_spans_are_those_of_the_source(clean, other):
    options = {"first": 0, "thresholds": (0,), "uncut": 1.0}
    found = span_charts(other.edited(patched(clean, PRE)), cosine, **options)
    assert_close(found, span_charts(clean, cosine, **options))


def test_a_mean_replaces_every_examples_activation(clean):
    mean = clean.cache(NEURONS)[NEURONS].mean(0)
    found = clean.edited(replaced_by({NEURONS: mean}, neurons=[2])).cache(NEURONS)[NEURONS]
    assert torch.equal(found[..., 2], mean[:, 2].expand(40, 3))
    assert torch.equal(found[..., 3:], clean.cache(NEURONS)[NEURONS][..., 3:])


def test_means_of_zero_remove_a_head(clean):
    zeros = torch.zeros(2, 4, dtype=torch.float64)  # the same at every position
    expected = clean.edited(without_heads(0, [1])).logits()
    assert torch.equal(clean.edited(replaced_by({Z: zeros}, heads=[1])).logits(), expected)


def refusal(make):
    with pytest.raises(ValueError, match=r".") as refused:
        make()
    return str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": PATTERN, "positions": 0}, "hook_pattern is of pairs of positions"),
        ({"names": PRE, "heads": [0]}, "heads: blocks.0.hook_resid_pre has none"),
        ({"names": Z, "neurons": [0]}, "neurons: blocks.0.attn.hook_z has none"),
        ({"names": Z, "heads": [2]}, "indices [2] are not all below 2"),
        ({"names": PRE, "positions": 3}, "positions: give whole numbers from 0 to 2"),
        ({"names": PRE, "positions": [1, 1]}, "a row names a position twice"),
        ({"names": PRE, "positions": PLACES[:5]}, "give one row for 40 examples"),
        ({"names": PRE, "positions": 0, "source_positions": [0, 1]}, "as many as positions"),
        ({"names": PRE, "source_positions": 0}, "source_positions without positions"),
        ({"names": "blocks.0.hook_resid_prae"}, "no hook point"),
    ],
)
def test_what_cannot_be_patched_is_refused(clean, options, message):
    assert message in refusal(lambda: patched(clean, **options))


def test_a_source_of_another_number_of_examples_is_refused(clean):
    few = clean.on(drawn(39, seed=3))
    message = "an edit was made for 40 examples, this snapshot has 39"
    assert message in refusal(lambda: few.edited(patched(clean, PRE)))


@pytest.mark.parametrize("count", [39, 40])
def test_a_patched_snapshot_is_refused_other_examples(clean, other, count):
    edited = other.edited(patched(clean, PRE))
    assert "edits go by the rows of its examples" in refusal(lambda: edited.on(drawn(count, 4)))


def test_a_source_of_other_shapes_is_refused_when_the_model_runs(clean):
    wide = Snapshot.of(random_model(d_model=16), clean.examples)
    message = "hook_resid_pre is [40, 3, 16], in the source [40, 3, 8]"
    assert message in refusal(wide.edited(patched(clean, PRE)).logits)


def test_a_patched_model_that_is_run_by_hand_must_be_told_its_rows(clean, other):
    edited = other.edited(patched(clean, PRE))
    rows = torch.tensor([7, 2])
    expected = clean.logits()[rows]
    with edited.running() as model:
        assert "does not know which examples" in refusal(lambda: model(other.examples.tokens[rows]))
        with edited.seeing(rows), torch.no_grad():
            assert_close(model(other.examples.tokens[rows]), expected)
            assert "run on 3 examples" in refusal(lambda: model(other.examples.tokens[:3]))


def test_prompts_that_are_no_examples_are_refused_to_a_patched_snapshot(clean, other):
    edited, tokens = other.edited(patched(clean, PRE)), torch.zeros(1, 2, dtype=torch.long)
    decode = lambda: greedy(edited, tokens, torch.tensor([2]), count=1, stop=6)  # noqa: E731
    assert "prompts are others" in refusal(decode)


@pytest.mark.parametrize(
    ("means", "options", "message"),
    [
        ({Z: torch.zeros(5)}, {}, "hook_z is [5], wanted is [3, 2, 4] or [2, 4]"),
        ({Z: torch.full((2, 4), torch.nan)}, {}, "means: blocks.0.attn.hook_z holds NaN"),
        ({Z: torch.zeros(2, 4)}, {"heads": [2]}, "indices [2] are not all below 2"),
        ({PRE: torch.zeros(8)}, {"heads": [0]}, "heads: blocks.0.hook_resid_pre has none"),
    ],
)
def test_means_that_do_not_fit_are_refused(clean, means, options, message):
    assert message in refusal(lambda: clean.edited(replaced_by(means, **options)).logits())


def test_edits_see_every_example_once_and_no_other(clean, monkeypatch):
    monkeypatch.setattr("hooks.snapshot.TOKENS_PER_BATCH", 21)
    rows, counts = [], []
    edit = Edit(
        hooks={MID: lambda activation, hook: counts.append(len(activation))},
        row_hooks={PRE: lambda activation, hook, given: rows.extend(given.tolist())},
    )
    snapshot = clean.edited(edit)
    snapshot.logits()
    assert (rows, sum(counts)) == (list(range(40)), 40)
    snapshot.cache([MID, POST])
    assert (rows, sum(counts)) == ([*range(40), *range(40)], 80)
    stream(snapshot, {POST: lambda activation, given: {"sum": activation.sum(0)}})
    assert sum(counts) == 120


def test_row_hooks_come_after_hooks_and_later_edits_after_earlier_ones(clean):
    def times(factor):
        return lambda activation, hook: factor * activation

    def plus(activation, hook, rows):
        return activation + 1

    found = clean.edited(
        Edit(row_hooks={PRE: plus}, hooks={PRE: times(2)}), Edit(hooks={PRE: times(10)})
    )
    assert_close(found.cache(PRE)[PRE], 10 * (2 * clean.cache(PRE)[PRE] + 1))


def test_a_row_hook_at_a_point_that_never_fires_is_refused(clean):
    edit = Edit(row_hooks={"blocks.0.attn.hook_result": lambda activation, hook, rows: None})
    assert "exists but does not fire" in refusal(clean.edited(edit).logits)
