"""Heads and MLPs ablated: tables that follow by hand, and the fixture's, measured elsewhere."""

import dataclasses
import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import interp
from analyses import HeadAblation
from analyses.circuits.ablation import rerun_of
from analyses.circuits.scored import scored_logits
from analyses.circuits.stand_ins import KINDS, StandIns, donors_of
from hooks import Examples, Sizes, Snapshot, patched, replaced_by
from hooks.circuits.last_block import LastBlock
from hooks.edit import without_heads
from hooks.examples import token_losses
from hooks.models import restore
from tests.planted import (
    random_model,
    saturating_model,
    share_of_previous_model,
    tokens_as_examples,
)

FIXTURE = "fixtures/modular-addition"
SIZES = Sizes(d_vocab=8, d_vocab_out=7, n_ctx=3)
# Accuracy at step 975 without heads 0 to 3 and without the MLP, by kind, on all 2,809 pairs;
# computed apart in float64.
ACCURACIES = {
    "zero": (0.669, 0.704, 0.553, 0.758, 0.185),
    "mean": (0.668, 0.639, 0.599, 0.644, 0.128),
    "mean_over_positions": (0.679, 0.683, 0.566, 0.719, 0.064),
    "resample": (0.511, 0.309, 0.459, 0.285, 0.015),
}
# Losses at step 300, by kind.
LOSSES = {
    "zero": (4.60941, 4.81012, 5.62209, 3.92965, 6.5961),
    "mean": (4.62174, 4.97213, 5.63339, 3.9532, 7.05754),
    "mean_over_positions": (4.68259, 4.89266, 5.67052, 3.88369, 8.62206),
    "resample": (7.75489, 8.519, 10.02968, 6.13883, 18.7226),
}
# Heads alone, pairs held out: means of these pairs, and of all.
HELD_OUT = {"scored": (0.656, 0.634, 0.587, 0.644), "all": (0.663, 0.639, 0.584, 0.638)}
# Share of positions within .02, in a program of the same answers that tracr compiled.
WITHIN = {"zero": 0.4576, "mean": 0.0844}


def drawn(count: int, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    return tokens_as_examples(torch.randint(0, 7, (count, 3), generator=generator))


def random_snapshot(count: int = 40, **options: Any) -> Snapshot:
    return Snapshot.of(random_model(SIZES, **options), drawn(count))


def fixture(step: int) -> Snapshot:
    """The fixture's model in float64, on all pairs."""
    run = interp.load(FIXTURE)
    parameters = {name: value.double() for name, value in dict(run.parameters(step)).items()}
    model = restore(run.config, run.sizes, parameters)
    return Snapshot.of(model, run.snapshot(step).examples, step=step)


def sequences() -> tuple[Snapshot, list[list[Fraction]]]:
    """All 1,024 inputs of five of four tokens, and the share of 0 so far at each position."""
    tokens = list(itertools.product(range(4), repeat=5))
    shares = [[Fraction(row[: q + 1].count(0), q + 1) for q in range(5)] for row in tokens]
    examples = Examples(
        targets=torch.tensor([list(map(float, row)) for row in shares], dtype=torch.float64),
        scored=torch.ones(1024, 5, dtype=torch.bool),
        tokens=torch.tensor(tokens),
    )
    return Snapshot.of(share_of_previous_model(), examples), shares


def test_the_fixture_has_the_accuracies_of_the_oracle():
    result = HeadAblation.measure(fixture(975))
    table = result.accuracy + result.accuracy_change
    np.testing.assert_allclose(table, [ACCURACIES[kind] for kind in KINDS], atol=5.1e-4)
    assert [result.worst(kind)[0] for kind in ("zero", "mean", "resample")] == [
        "0.h2",
        "0.h2",
        "0.h3",
    ]


def test_the_fixture_has_the_losses_of_the_oracle():
    result = HeadAblation.measure(fixture(300))
    table = result.loss + result.loss_increase
    np.testing.assert_allclose(table, [LOSSES[kind] for kind in KINDS], atol=6e-6)


@pytest.mark.parametrize("means_of", HELD_OUT)
def test_the_split_of_the_mean_changes_the_numbers_and_is_named(means_of):
    result = HeadAblation.measure(fixture(975), scored_on="test", means_of=means_of)
    by_mean = (result.accuracy + result.accuracy_change)[KINDS.index("mean"), :4]
    np.testing.assert_allclose(by_mean, HELD_OUT[means_of], atol=5.1e-4)
    assert (result.scored_on, result.means_of) == ("test", means_of)


def test_a_program_written_by_hand_has_the_table_of_the_compiled_one():
    snapshot, _ = sequences()
    right = snapshot.examples.targets.flatten()
    stand_ins = StandIns.of(snapshot, "all", "scored", 0)
    for layer, name in ((0, "blocks.0.hook_mlp_out"), (1, "blocks.1.attn.hook_z")):
        rerun = rerun_of(snapshot, layer)
        for kind, given in stand_ins.by_kind(name, stand_ins.activation(name)):
            if kind in WITHIN:
                within = ((rerun(name, given)[:, 0] - right).abs() < 0.02).double().mean()
                assert within == pytest.approx(WITHIN[kind], abs=5e-5)


def test_errors_of_the_program_are_those_of_listing_all_inputs():
    snapshot, shares = sequences()
    result = HeadAblation.measure(snapshot)
    assert result.loss == pytest.approx(0)
    order = torch.randperm(1024, generator=torch.Generator().manual_seed(0)).tolist()
    instead = {
        "zero": [[0] * 5] * 1024,
        "mean": [[Fraction(1, 4)] * 5] * 1024,
        "mean_over_positions": [[Fraction(1, 4)] * 5] * 1024,
        "resample": [shares[row] for row in order],
    }
    errors = [
        float(sum((a - b) ** 2 for x, y in zip(shares, instead[kind], strict=True)
                  for a, b in zip(x, y, strict=True)) / 5120)
        for kind in KINDS
    ]  # fmt: skip
    for part in ("0.mlp", "1.h0"):
        increases = result.loss_increase[:, result.parts.index(part)]
        np.testing.assert_allclose(increases, errors, rtol=1e-9)


def test_parts_that_are_zero_have_no_effect_at_all():
    result = HeadAblation.measure(sequences()[0])
    assert result.parts == ("0.h0", "0.mlp", "1.h0", "1.mlp")
    absent = [result.parts.index(part) for part in ("0.h0", "1.mlp")]
    assert not result.loss_increase[:, absent].any()
    assert np.isnan(result.accuracy)
    assert result.unit == "squared error"


def test_either_of_two_redundant_heads_can_go():
    tokens = torch.tensor([[0, 2], [1, 2]] * 4)
    targets = torch.stack([torch.zeros(8), tokens[:, 0]], 1).long()
    scored = torch.tensor([[False, True]] * 8)
    snapshot = Snapshot.of(saturating_model(2), Examples(targets, scored, tokens=tokens))
    result = HeadAblation.measure(snapshot)
    by_zero = dict(zip(result.parts, result.loss_increase[0].tolist(), strict=True))
    assert by_zero["0.h0"] == by_zero["0.h1"] == 0
    # Half the answers lose the logit 1 over 0.
    assert by_zero["0.mlp"] == pytest.approx(np.log1p(1) / 2 - np.log1p(np.exp(-1)) / 2)


@pytest.fixture(scope="module")
def two_batches() -> tuple[Snapshot, HeadAblation]:
    """9,000 tokens."""
    snapshot = random_snapshot(3000, n_layers=2, normalization_type="LN")
    return snapshot, HeadAblation.measure(snapshot)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_those_of_single_edits_on_more_tokens_than_a_batch_holds(kind, two_batches):
    snapshot, result = two_batches
    losses = _losses(snapshot)
    for layer, head in itertools.product(range(2), range(2)):
        name = f"blocks.{layer}.attn.hook_z"
        z = snapshot.cache(name)[name]
        order = torch.randperm(3000, generator=torch.Generator().manual_seed(0))
        other = snapshot.on(snapshot.examples.at(order))
        edit = {
            "zero": lambda: without_heads(layer, [head]),  # noqa: B023  # called at once
            "mean": lambda: replaced_by({name: z.mean(0)}, heads=[head]),  # noqa: B023
            "mean_over_positions": lambda: replaced_by({name: z.mean((0, 1))}, heads=[head]),  # noqa: B023
            "resample": lambda: patched(other, name, heads=[head]),  # noqa: B023
        }[kind]()
        change = _losses(snapshot.edited(edit)) - losses
        place = (KINDS.index(kind), result.parts.index(f"{layer}.h{head}"))
        assert abs(result.loss_increase[place]) > 1e-3
        assert result.loss_increase[place] == pytest.approx(float(change.mean()), rel=1e-9)
        error = float(change.std()) / 3000**0.5
        assert result.loss_error[place] == pytest.approx(error, rel=1e-6)


def _losses(snapshot: Snapshot) -> torch.Tensor:
    return token_losses(snapshot.logits()[:, -1], snapshot.examples.targets[:, -1])


@pytest.mark.parametrize(
    "options",
    [
        {"normalization_type": "LN"},
        {"normalization_type": "RMS", "gated_mlp": True},
        {"attn_only": True, "normalization_type": "LNPre"},
        {"parallel_attn_mlp": True, "positional_embedding_type": "rotary"},
        {"positional_embedding_type": "shortformer"},
        {"attention_dir": "bidirectional", "n_key_value_heads": 1},
    ],
    ids=str,
)
def test_the_last_block_alone_answers_as_the_whole_model(options):
    snapshot = random_snapshot(n_layers=2, **options)
    block, name = LastBlock(snapshot), "blocks.1.attn.hook_z"
    torch.testing.assert_close(block.logits({}), snapshot.logits()[:, -1], rtol=0, atol=1e-12)
    z = snapshot.cache(name)[name].flip(0)
    other = snapshot.on(snapshot.examples.at(torch.arange(39, -1, -1)))
    whole = snapshot.edited(patched(other, name)).logits()[:, -1]
    assert (whole - snapshot.logits()[:, -1]).abs().max() > 1e-3
    torch.testing.assert_close(block.logits({name: block.at_answers(z)}), whole, rtol=0, atol=1e-12)


def test_more_answers_than_a_batch_holds_are_all_answered():
    tokens = torch.randint(0, 7, (3000, 3), generator=torch.Generator().manual_seed(0))
    examples = Examples(tokens, torch.ones(3000, 3, dtype=torch.bool), tokens=tokens)
    snapshot = Snapshot.of(random_model(SIZES), examples)
    whole = snapshot.logits().flatten(0, 1)
    torch.testing.assert_close(LastBlock(snapshot).logits({}), whole, rtol=0, atol=1e-12)


def test_the_last_block_of_an_edited_snapshot_is_refused():
    with pytest.raises(ValueError, match="run the whole model"):
        LastBlock(random_snapshot().edited(without_heads(0, [0])))


def test_an_edited_snapshot_is_ablated_further():
    snapshot = random_snapshot()
    result = HeadAblation.measure(snapshot.edited(without_heads(0, [0])))
    changes = dict(zip(result.parts, result.loss_increase[0].tolist(), strict=True))
    assert changes["0.h0"] == 0
    both = _losses(snapshot.edited(without_heads(0, [0, 1])))
    alone = _losses(snapshot.edited(without_heads(0, [0])))
    assert changes["0.h1"] == pytest.approx(float((both - alone).mean()), rel=1e-9)


def test_an_ablation_of_nothing_changes_nothing_at_all():
    snapshot = random_snapshot(n_layers=2)
    logits = scored_logits(snapshot)
    for layer, exactly in ((0, True), (1, False)):
        name = f"blocks.{layer}.attn.hook_z"
        rerun, z = rerun_of(snapshot, layer), snapshot.cache(name)[name]
        assert torch.equal(rerun(name, z), rerun(name, z.clone()))
        torch.testing.assert_close(rerun(name, z), logits, rtol=0, atol=0 if exactly else 1e-12)


def test_what_is_the_same_in_all_examples_is_its_own_mean_and_donor():
    same = tokens_as_examples(torch.tensor([[1, 2, 7]] * 4))
    result = HeadAblation.measure(Snapshot.of(random_model(SIZES, n_layers=2), same))
    assert np.abs(result.loss_increase[0]).min() > 1e-3
    for kind in ("mean", "resample"):
        np.testing.assert_allclose(result.loss_increase[KINDS.index(kind)], 0, atol=1e-12)
        assert not result.accuracy_change[KINDS.index(kind)].any()


def test_a_permutation_of_heads_permutes_the_table():
    model, other = random_model(SIZES), random_model(SIZES)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if ".attn." in name and not name.endswith("b_O"):
                parameter.copy_(parameter.flip(0))
    one, two = (HeadAblation.measure(Snapshot.of(each, drawn(40))) for each in (model, other))
    np.testing.assert_allclose(two.loss_increase[:, [1, 0, 2]], one.loss_increase, rtol=1e-9)
    assert np.abs(one.loss_increase[:, 0] - one.loss_increase[:, 1]).min() > 1e-3


def test_errors_go_by_examples_where_several_positions_are_scored():
    tokens = torch.randint(0, 7, (30, 3), generator=torch.Generator().manual_seed(1))
    scored = torch.rand(30, 3, generator=torch.Generator().manual_seed(2)) < 0.6
    examples = Examples(tokens.where(scored, 0), scored, tokens=tokens)
    snapshot = Snapshot.of(random_model(SIZES), examples)
    result = HeadAblation.measure(snapshot)
    change = [
        token_losses(each.logits(), examples.targets)
        for each in (snapshot.edited(without_heads(0, [1])), snapshot)
    ]
    difference = change[0] - change[1]
    mean = float(difference[scored].mean())
    squares = [
        float((row - mean)[mask].sum()) ** 2 for row, mask in zip(difference, scored, strict=True)
    ]
    n = int(scored.any(1).sum())
    error = (n / (n - 1) * sum(squares)) ** 0.5 / int(scored.sum())
    assert result.loss_increase[0, 1] == pytest.approx(mean, rel=1e-9)
    assert result.loss_error[0, 1] == pytest.approx(error, rel=1e-9)


def padded(count: int = 60) -> Any:
    """Examples of one to three real positions, the last of which is scored."""
    plain: Any = drawn(count, seed=3)
    lengths = torch.randint(1, 4, (count,), generator=torch.Generator().manual_seed(4))
    scored = torch.arange(3) == lengths[:, None] - 1
    return Examples(
        plain.tokens[:, :3].where(scored, 0), scored, tokens=plain.tokens, lengths=lengths
    )


def test_padding_counts_in_no_mean_and_is_nobodys_donor():
    examples = padded()
    other = dataclasses.replace(examples, tokens=examples.tokens.where(examples.visible, 6))
    assert not torch.equal(other.tokens, examples.tokens)
    one, two = (
        HeadAblation.measure(Snapshot.of(random_model(SIZES, n_layers=2), each))
        for each in (examples, other)
    )
    assert np.abs(one.loss_increase).min() > 1e-4
    np.testing.assert_allclose(one.loss_increase, two.loss_increase, rtol=1e-9)


def test_donors_are_as_long_or_longer_and_of_equal_ones_a_permutation():
    examples = padded()
    donors, lengths = donors_of(examples, 0), examples.lengths
    assert bool((lengths[donors] >= lengths).all())
    assert bool((lengths[donors] > lengths).any())
    assert donors_of(drawn(60), 0).sort().values.tolist() == list(range(60))
    assert donors_of(drawn(60), 0).tolist() != donors_of(drawn(60), 1).tolist()


def test_the_first_step_stands_beside_every_other():
    untrained = HeadAblation.measure(dataclasses.replace(random_snapshot(), step=0))
    np.testing.assert_array_equal(untrained.first_loss_increase, untrained.loss_increase)
    later = HeadAblation.measure(random_snapshot(seed=1), reference=untrained)
    np.testing.assert_array_equal(later.first_loss_increase, untrained.loss_increase)
    np.testing.assert_array_equal(later.first_accuracy_change, untrained.accuracy_change)
    assert np.isnan(HeadAblation.measure(random_snapshot()).first_loss_increase).all()


def test_a_figure_holds_its_controls_and_says_what_is_found():
    first = HeadAblation.measure(dataclasses.replace(random_snapshot(), step=0))
    result = HeadAblation.measure(random_snapshot(seed=1), reference=first)
    assert list(result.figures()) == ["heads", "mlps"]
    figure: Any = result.plot("heads")
    names = {trace.name for trace in figure.data}
    assert {"nothing ablated", "first step", "accuracy of guessing", "resample"} <= names
    assert figure.layout.title.text.startswith("Without one head, loss rises by at most")
    assert "first step" in figure.layout.title.text
    only_heads = HeadAblation.measure(random_snapshot(attn_only=True))
    assert list(only_heads.figures()) == ["heads"]
    assert np.isnan(only_heads.summary()["worst_mlp_loss_increase_zero"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("held out", "all"), "scored_on 'held out': take one of all, train, test"),
        (("all", "train"), "means_of 'train': take one of scored, all"),
        (("train", "all"), "labels has no 'train'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        StandIns.of(random_snapshot(), *options, seed=0)


def test_examples_that_are_not_there_are_refused():
    trained = dataclasses.replace(drawn(4), labels={"train": torch.ones(4, dtype=torch.bool)})
    snapshot = Snapshot.of(random_model(SIZES), trained)
    with pytest.raises(ValueError, match="scored_on 'test': none of these 4 examples is"):
        HeadAblation.measure(snapshot, scored_on="test")
    unscored = Examples(torch.zeros(4, 3).long(), torch.zeros(4, 3).bool(), tokens=drawn(4).tokens)
    with pytest.raises(ValueError, match="no position of these examples is scored"):
        HeadAblation.measure(Snapshot.of(random_model(SIZES), unscored))


def test_another_models_reference_and_a_diverged_model_are_refused():
    reference = HeadAblation.measure(random_snapshot())
    with pytest.raises(ValueError, match="reference: it is of a model with other heads"):
        HeadAblation.measure(random_snapshot(n_layers=2), reference=reference)
    model: Any = random_model(SIZES)
    with torch.no_grad():
        model.unembed.b_U[0] = torch.inf
    with pytest.raises(ValueError, match="logits hold NaN or infinity"):
        HeadAblation.measure(Snapshot.of(model, drawn(4)))
