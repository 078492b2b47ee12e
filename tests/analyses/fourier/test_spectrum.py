from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from analyses import FourierSpectrum
from hooks import Facts, Snapshot
from hooks.edit import with_weights
from interp.measure.analyze import trace
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.planted import circle_embedding, random_model


def planted(frequencies, operation: Any = "add"):
    """A model whose numbers are embedded as cosines and sines of some frequencies."""
    task = ModularArithmetic(p=13, operation=operation, train_fraction=0.5)
    model = random_model(task.sizes)
    W_E = torch.zeros(14, 8).double()
    W_E[:13, : 2 * len(frequencies)] = circle_embedding(13, frequencies)
    return Snapshot.of(model, task.examples("all", None, 0)).edited(
        with_weights({"embed.W_E": W_E})
    )


def test_planted_frequencies_are_the_key_ones_by_every_rule():
    spectrum = FourierSpectrum.measure(planted([2, 5]))
    assert {rule: set(keys) for rule, keys in spectrum.keys().items()} == {
        "share": {2, 5},
        "median": {2, 5},
        "vote": {2, 5},
    }


def test_what_neurons_read_holds_the_planted_frequencies_alone():
    shares = FourierSpectrum.measure(planted([2, 5])).shares[1]
    assert shares[[1, 4]].sum() == pytest.approx(1)


def test_a_single_planted_frequency_makes_every_neuron_pure():
    spectrum = FourierSpectrum.measure(planted([3]))
    assert set(spectrum.neuron_frequency) == {3}
    np.testing.assert_allclose(spectrum.neuron_purity, 1)


def test_multiplication_is_read_in_the_order_of_discrete_logarithms():
    spectrum = FourierSpectrum.measure(planted([2, 5], "multiply"))
    assert (spectrum.modulus, len(spectrum.shares[0])) == (12, 6)


@pytest.fixture(scope="module")
def multiplication():
    """Waves of 2 and 5 in the embedding, of 3 in the unembedding, in discrete logarithms."""
    powers_of_2 = torch.tensor([2**exponent % 13 for exponent in range(12)])
    W_E, W_U = torch.zeros(14, 8).double(), torch.zeros(8, 13).double()
    W_E[powers_of_2, :4] = circle_embedding(12, [2, 5])
    W_U[:2, powers_of_2] = circle_embedding(12, [3]).T
    edit = with_weights({"embed.W_E": W_E, "unembed.W_U": W_U})
    return FourierSpectrum.measure(planted([], "multiply").edited(edit))


def test_waves_of_logarithms_are_found_in_the_embedding(multiplication):
    np.testing.assert_allclose(multiplication.shares[0], [0, 0.5, 0, 0, 0.5, 0], atol=1e-12)


def test_waves_of_logarithms_are_found_in_what_neurons_read(multiplication):
    np.testing.assert_allclose(multiplication.shares[1][[0, 2, 3, 5]], 0, atol=1e-12)
    assert set(multiplication.neuron_frequency) == {2, 5}


def test_waves_of_logarithms_are_found_in_what_neurons_write(multiplication):
    np.testing.assert_allclose(multiplication.shares[2], [0, 0, 1, 0, 0, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("scalar", "value"), [("top_5_share_W_E", 5 / 6), ("constant_share_W_E", 1 / 4)]
)
def test_shares_of_the_embedding_are_those_of_its_columns(scalar, value):
    W_E = torch.zeros(14, 8).double()
    W_E[:13, :6] = circle_embedding(13, range(1, 7))[:, :6]  # a cosine has half a constant's power
    W_E[:13, 6] = 1
    snapshot = planted([2]).edited(with_weights({"embed.W_E": W_E}))
    assert FourierSpectrum.measure(snapshot).summary()[scalar] == pytest.approx(value)


def test_the_top_share_of_what_neurons_write_is_that_of_its_columns():
    W_U = torch.zeros(8, 13).double()
    W_U[:6] = circle_embedding(13, range(1, 7))[:, :6].T
    W_out = torch.eye(16, 8).double()
    written = with_weights({"unembed.W_U": W_U, "blocks.0.mlp.W_out": W_out})
    summary = FourierSpectrum.measure(planted([2]).edited(written)).summary()
    assert summary["top_5_share_W_L"] == pytest.approx(5 / 6)


@pytest.mark.parametrize(("operation", "p"), [("sum_of_squares", 13), ("multiply", 12)])
def test_an_operation_without_a_wave_has_no_spectrum(operation, p):
    task = ModularArithmetic(p=p, operation=operation, train_fraction=0.5)
    snapshot = Snapshot.of(random_model(task.sizes), task.examples("all", None, 0))
    with pytest.raises(ValueError, match="FourierSpectrum needs an operation that waves compute"):
        FourierSpectrum.measure(snapshot)


def test_a_larger_share_asks_for_more_frequencies(grokked):
    snapshot = grokked.snapshot()
    few = FourierSpectrum.measure(snapshot, share=0.5).key_frequencies
    many = FourierSpectrum.measure(snapshot, share=0.99).key_frequencies
    assert len(few) < len(many)


def test_training_concentrates_the_embedding_on_few_frequencies(grokked):
    frame = trace(grokked, FourierSpectrum)
    untrained, trained = frame.iloc[0], frame.iloc[-1]
    assert untrained["gini_W_E"] < 0.2
    assert trained["gini_W_E"] > 0.75
    assert trained["key_count"] <= 5
    assert untrained["key_count"] >= 15


def test_other_examples_are_refused_with_what_is_missing(snapshot):
    bare = snapshot.on(replace(snapshot.examples, facts=Facts()))
    with pytest.raises(
        ValueError,
        match="FourierSpectrum needs a task with the facts ModularFacts, and this one has",
    ):
        FourierSpectrum.measure(bare)


def test_weights_that_are_all_1_have_no_key_frequencies():
    snapshot = planted([2])
    ones = {name: torch.ones_like(each) for name, each in snapshot.parameters().items()}
    summary = FourierSpectrum.measure(snapshot.edited(with_weights(ones))).summary()
    assert (summary["key_frequencies"], summary["key_count_vote_rule"]) == ("", 0)
    assert (summary["silent_neurons"], summary["constant_share_W_E"]) == (16, 1)


def test_silent_neurons_are_counted_and_left_out_of_votes_and_the_mean():
    snapshot = planted([2, 5])
    alive = FourierSpectrum.measure(snapshot)
    W_in = snapshot.weights("blocks.0.mlp.W_in")
    W_in[:, 3:] = 0
    found = FourierSpectrum.measure(snapshot.edited(with_weights({"blocks.0.mlp.W_in": W_in})))
    assert found.silent_neurons == 13
    assert set(found.keys()["vote"]) == set(alive.neuron_frequency[:3].tolist())
    assert found.summary()["mean_neuron_purity"] == pytest.approx(alive.neuron_purity[:3].mean())


def said(result, untrained=None):
    return {finding.text: finding.strength for finding in result.findings(untrained)}


def test_few_frequencies_are_found_beside_those_of_the_untrained_model():
    before, after = (
        replace(FourierSpectrum.measure(planted(frequencies)), neuron_purity=np.full(16, purity))
        for frequencies, purity in (([1, 2, 3, 4], 0.3), ([2], 0.9))
    )
    few, many = "1 of 6 frequencies: 2", "4 of 6 frequencies: 1, 2, 3, 4"
    embedding, purity = "90 % of the embedding lies at", "of what a neuron reads lies at a single"
    trained, reversed_ = said(after, before), said(before, after)
    assert trained[f"{embedding} {few} (untrained: 4)"] == "found"
    assert trained[f"On average 90 % {purity} frequency (untrained: 30 %)"] == "found"
    assert reversed_[f"{embedding} {many} (untrained: 1)"] == "null"
    assert reversed_[f"On average 30 % {purity} frequency (untrained: 90 %)"] == "null"
    assert said(after)[f"{embedding} {few} (spread evenly: 6)"] == "found"
    assert said(before)[f"{embedding} {many} (spread evenly: 6)"] == "null"


def test_purity_within_the_errors_of_its_mean_is_null():
    before = FourierSpectrum.measure(planted([2, 5]))
    noisy = np.array([0.5, 0.9] * 8)
    above = replace(before, neuron_purity=noisy + 0.05)
    below = replace(before, neuron_purity=noisy)
    assert above.findings(below)[-1].strength == "null"
    sure = replace(before, neuron_purity=np.full(16, 0.75))
    assert sure.findings(below)[-1].strength == "found"


def test_an_output_at_the_embeddings_frequencies_is_found_and_one_spread_evenly_is_not():
    spectrum, text = FourierSpectrum.measure(planted([2, 5])), "of what neurons write to the logits"
    power = np.ones_like(spectrum.power)
    power[0] = spectrum.power[0]
    even = replace(spectrum, power=power)
    assert even.findings()[1].text == (
        f"33 % {text} lies at the key frequencies of the embedding (spread evenly: 33 %)"
    )
    assert even.findings()[1].strength == "null"
    power = power.copy()
    power[2, [2, 5]] = 100
    assert replace(spectrum, power=power).findings()[1].strength == "found"
    many = FourierSpectrum.measure(planted([1, 2, 3, 4]))
    assert not any(text in finding.text for finding in many.findings(many))


def test_an_embedding_that_does_not_vary_is_not_found_to_have_frequencies():
    spectrum = FourierSpectrum.measure(planted([2]))
    flat = replace(spectrum, power=spectrum.power * (np.arange(7) == 0))
    (finding,) = flat.findings(spectrum)
    assert finding.strength == "not found"
    assert "nan" not in finding.text
