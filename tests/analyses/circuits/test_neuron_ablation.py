"""Neurons ablated one by one: by formula, by passes, and as measured elsewhere."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch

import interp
from analyses import NeuronAblation
from analyses.circuits import neuron_ablation
from analyses.circuits.neuron_ablation import KINDS
from hooks import Examples, Snapshot, build, patched, replaced_by
from hooks.edit import without_neurons
from hooks.examples import token_losses
from hooks.models import MLPConfig, PostNormConfig, Sizes, restore
from tests.planted import random_model, saturating_model, tokens_as_examples

FIXTURE = "fixtures/modular-addition"
SIZES = Sizes(d_vocab=8, d_vocab_out=7, n_ctx=3)
# At step 975, on all 2,809 pairs, by kind: the neurons without which the loss rises most, and by
# how much without the first three of them; computed apart in float64.
TOP = {
    "zero": ([171, 170, 172, 129, 141, 101, 56, 130, 49, 183], (0.8081, 0.2193, 0.202)),
    "mean": ([171, 172, 129, 170, 101, 141, 56, 130, 183, 49], (0.1638, 0.01741, 0.01473)),
    "resample": ([171, 172, 170, 129, 141, 56, 101, 130, 49, 183], None),
}
SPEARMAN = {"zero_mean": 0.770, "zero_resample": 0.765, "mean_resample": 0.854}


def drawn(count: int = 40) -> Examples:
    generator = torch.Generator().manual_seed(0)
    return tokens_as_examples(torch.randint(0, 7, (count, 3), generator=generator))


def random_snapshot(count: int = 40, **options: Any) -> Snapshot:
    return Snapshot.of(random_model(SIZES, **options), drawn(count))


@pytest.fixture(scope="module")
def fixture() -> NeuronAblation:
    run = interp.load(FIXTURE)
    parameters = {name: value.double() for name, value in dict(run.parameters(975)).items()}
    model = restore(run.config, run.sizes, parameters)
    return NeuronAblation.measure(Snapshot.of(model, run.snapshot(975).examples, step=975))


@pytest.mark.parametrize("kind", KINDS)
def test_the_fixture_has_the_neurons_of_the_oracle(fixture, kind):
    order, largest = TOP[kind]
    assert fixture.ranking(kind)[:10] == order
    if largest is not None:
        increases = fixture.loss_increase[KINDS.index(kind), order[:3]]
        np.testing.assert_allclose(increases, largest, rtol=5e-4)


def test_kinds_order_the_fixtures_neurons_as_the_oracle_does(fixture):
    summary = fixture.summary()
    found = {pair: summary[f"spearman_{pair}"] for pair in SPEARMAN}
    assert found == pytest.approx(SPEARMAN, abs=5e-4)
    assert fixture.is_exact_readout


def _losses(snapshot: Snapshot) -> torch.Tensor:
    return token_losses(snapshot.logits()[:, -1], snapshot.examples.targets[:, -1])


@pytest.mark.parametrize(
    ("options", "layer", "is_exact"),
    [
        ({}, -1, True),
        ({"gated_mlp": True}, 1, True),
        ({"parallel_attn_mlp": True}, 1, True),
        ({"tie_word_embeddings": True, "facts": 5}, 1, True),
        ({}, 0, False),
        ({"normalization_type": "LN"}, 1, False),
        ({"normalization_type": "RMS"}, 0, False),
    ],
)
def test_effects_are_those_of_single_edits(options, layer, is_exact):
    sizes = SIZES if "facts" not in options else Sizes(d_vocab=8, d_vocab_out=8, n_ctx=3)
    options = {name: value for name, value in options.items() if name != "facts"}
    snapshot = Snapshot.of(random_model(sizes, n_layers=2, d_mlp=5, **options), drawn())
    result = NeuronAblation.measure(snapshot, layer=layer)
    assert (result.layer, result.is_exact_readout) == (layer % 2, is_exact)
    name = f"blocks.{layer % 2}.mlp.hook_post"
    mean = snapshot.cache(name)[name].mean(0)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    other = snapshot.on(snapshot.examples.at(order))
    for neuron in range(5):
        edits = (
            without_neurons(layer % 2, [neuron]),
            replaced_by({name: mean}, neurons=[neuron]),
            patched(other, name, neurons=[neuron]),
        )
        changes = [_losses(snapshot.edited(edit)) - _losses(snapshot) for edit in edits]
        found = result.loss_increase[:, neuron]
        np.testing.assert_allclose(found, [change.mean() for change in changes], atol=1e-10)
        errors = [change.std() / 40**0.5 for change in changes]
        np.testing.assert_allclose(result.loss_error[:, neuron], errors, atol=1e-10)
    assert np.abs(result.loss_increase).max() > 1e-3


def test_more_tokens_than_a_batch_holds_keep_their_rows():
    snapshot = random_snapshot(3000, d_mlp=3)
    order = torch.randperm(3000, generator=torch.Generator().manual_seed(0))
    other = snapshot.on(snapshot.examples.at(order))
    edit = patched(other, "blocks.0.mlp.hook_post", neurons=[1])
    change = (_losses(snapshot.edited(edit)) - _losses(snapshot)).mean()
    found = NeuronAblation.measure(snapshot).loss_increase[KINDS.index("resample"), 1]
    assert abs(found) > 1e-5
    assert found == pytest.approx(float(change), rel=1e-9)


def test_neurons_of_a_readout_written_by_hand_matter_as_the_hand_wrote_them():
    tokens = torch.tensor([[0, 2], [1, 2]] * 4)
    targets = torch.stack([torch.zeros(8), tokens[:, 0]], 1).long()
    scored = torch.tensor([[False, True]] * 8)
    snapshot = Snapshot.of(saturating_model(2), Examples(targets, scored, tokens=tokens))
    result = NeuronAblation.measure(snapshot)
    # min(1, 2) = 2 - 1: without the first neuron a bit of 1 has logit -1, without the second 2.
    losses = [np.log1p(np.exp(-logit)) / 2 for logit in (-1.0, 2.0)]
    increases = np.array(losses) - np.log1p(np.exp(-1)) / 2
    np.testing.assert_allclose(result.loss_increase[0], increases)


def test_a_network_with_one_hidden_layer_has_neurons_too():
    config, sizes = MLPConfig(d_model=4, d_mlp=6), Sizes(d_vocab=7, d_vocab_out=7, n_ctx=2)
    model = build(config, sizes, seed=0, dtype="float64")
    pairs = torch.tensor(list(itertools.product(range(7), repeat=2)))
    targets, scored = pairs.sum(1, keepdim=True) % 7, torch.ones(49, 1, dtype=torch.bool)
    snapshot = Snapshot.of(model, Examples(targets, scored, tokens=pairs))
    result = NeuronAblation.measure(snapshot)
    edited = snapshot.edited(without_neurons(0, [2]))
    change = token_losses(edited.logits(), targets) - token_losses(snapshot.logits(), targets)
    assert result.is_exact_readout
    assert result.loss_increase[0, 2] == pytest.approx(float(change.mean()), abs=1e-12)


def test_post_norm_and_edited_models_are_run_again():
    config = PostNormConfig(n_layers=1, d_model=8, n_heads=2, d_mlp=4)
    model = build(config, SIZES, seed=0, dtype="float64")
    model.train(False)
    for snapshot in (
        Snapshot.of(model, drawn()),
        random_snapshot(d_mlp=4).edited(without_neurons(0, [3])),
    ):
        result = NeuronAblation.measure(snapshot)
        change = _losses(snapshot.edited(without_neurons(0, [1]))) - _losses(snapshot)
        assert not result.is_exact_readout
        assert result.loss_increase[0, 1] == pytest.approx(float(change.mean()), abs=1e-10)
    assert not result.loss_increase[0, 3]


def test_only_named_neurons_are_ablated():
    result = NeuronAblation.measure(random_snapshot(), neurons=[5, 2])
    whole = NeuronAblation.measure(random_snapshot())
    np.testing.assert_array_equal(result.loss_increase, whole.loss_increase[:, [5, 2]])
    assert result.ranking("zero")[0] in (5, 2)
    assert result.to_frame()["neuron"].tolist() == [5, 2] * 3
    assert np.isnan(result.summary()["spearman_zero_mean"])


def test_a_figure_stands_beside_the_first_step():
    first = NeuronAblation.measure(dataclasses.replace(random_snapshot(), step=0))
    figure: Any = NeuronAblation.measure(random_snapshot(seed=1), reference=first).plot()
    assert [trace.name for trace in figure.data] == [*KINDS, "resample, first step"]
    assert "at the first step by" in figure.layout.title.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 1}, "layer = 1: this model has the layers 0 to 0"),
        ({"layer": -2}, "layer = -2: this model has the layers 0 to 0"),
        ({"neurons": [16]}, r"neurons = \[16\]: give some from 0 to 15"),
        ({"neurons": []}, r"neurons = \[\]: give some from 0 to 15"),
    ],
)
def test_neurons_that_are_not_there_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        NeuronAblation.measure(random_snapshot(), **options)


def test_many_neurons_of_three_passes_each_are_refused_unless_named(monkeypatch):
    monkeypatch.setattr(neuron_ablation, "MAX_NEURONS", 15)
    snapshot = random_snapshot(normalization_type="LN")
    with pytest.raises(ValueError, match=r"16 neurons of layer 0 take 48 passes.*name those that"):
        NeuronAblation.measure(snapshot)
    assert NeuronAblation.measure(snapshot, neurons=[*range(16)]).loss_increase.shape == (3, 16)
    assert NeuronAblation.measure(random_snapshot()).is_exact_readout


def test_a_reference_of_other_neurons_is_refused():
    reference = NeuronAblation.measure(random_snapshot(), neurons=[1])
    with pytest.raises(ValueError, match="reference: it is of other neurons"):
        NeuronAblation.measure(random_snapshot(), reference=reference)


def test_it_is_measured_unasked_where_the_formula_holds():
    assert not NeuronAblation.by_default.missing(random_snapshot())
    (lacking,) = NeuronAblation.by_default.missing(random_snapshot(normalization_type="LN"))
    assert lacking.startswith("neurons that write to the logits with no layer norm between")
