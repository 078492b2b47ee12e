import dataclasses
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from analyses import FourierCircuit, FourierSpectrum, plots
from analyses.fourier.basis import drop_frequencies, keep_frequencies
from analyses.fourier.logit_waves import logit_waves
from hooks import Snapshot
from hooks.edit import with_weights
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.planted import circle_embedding, random_model, waves

NATURAL = torch.arange(13)
POWERS_OF_2 = torch.tensor([2**exponent % 13 for exponent in range(12)])  # 2 generates all but 0


@pytest.fixture(scope="module")
def trained(grokked):
    return FourierCircuit.measure(grokked.snapshot())


@pytest.fixture(scope="module")
def untrained(grokked, trained):
    return FourierCircuit.measure(grokked.snapshot(0), reference=trained)


def accuracy(snapshot):
    return ModularArithmetic(p=53).score(snapshot)["accuracy"]


def with_embedding(snapshot, change, keys):
    """The snapshot with the numbers' embedding restricted to, or robbed of, some frequencies."""
    W_E = change(snapshot.weights("W_E"), keys, order=torch.arange(53))
    return snapshot.edited(with_weights({"embed.W_E": W_E}))


def test_a_few_waves_explain_the_grokked_logits_and_none_of_the_untrained_ones(trained, untrained):
    assert trained.key_fve > 0.9
    assert untrained.key_fve < 0.01


def test_keys_of_the_reference_are_used_at_every_step(trained, untrained):
    assert untrained.keys == trained.keys


def test_the_rule_on_logits_finds_the_key_frequencies(trained):
    assert set(trained.keys_by_rule()["logits"]) == set(trained.keys)


def test_the_vote_of_neurons_names_the_key_frequencies(trained):
    assert set(trained.keys) <= set(trained.keys_by_rule()["vote"])


def test_the_loss_is_that_of_the_metrics(grokked, trained):
    last = grokked.metrics.iloc[-1]
    assert trained.loss[1:] == (pytest.approx(last["train.loss"]), pytest.approx(last["test.loss"]))


def test_the_key_waves_alone_solve_the_task(trained):
    assert trained.restricted_accuracy == 1
    assert trained.restricted_loss[0] < 1e-3


def test_the_untrained_model_does_not_solve_it_with_the_same_waves(untrained):
    assert untrained.restricted_accuracy < 0.1


def test_without_the_key_waves_the_grokked_model_is_worse_than_guessing(trained):
    assert trained.excluded_loss[1] > np.log(53)


def test_without_the_key_waves_the_untrained_model_loses_nothing(untrained):
    assert untrained.excluded_loss[1] == pytest.approx(untrained.loss[1], rel=0.01)


def test_keeping_the_key_frequencies_of_the_embedding_keeps_accuracy(grokked):
    snapshot = grokked.snapshot()
    keys = FourierSpectrum.measure(snapshot, share=0.95).key_frequencies
    assert accuracy(with_embedding(snapshot, keep_frequencies, keys)) > 0.95


def test_dropping_the_key_frequencies_of_the_embedding_destroys_accuracy(grokked):
    snapshot = grokked.snapshot()
    keys = FourierSpectrum.measure(snapshot, share=0.95).key_frequencies
    assert accuracy(with_embedding(snapshot, drop_frequencies, keys)) < 0.1


@pytest.mark.parametrize("change", [keep_frequencies, drop_frequencies])
def test_the_untrained_model_is_at_chance_either_way(grokked, change):
    keys = FourierSpectrum.measure(grokked.snapshot(), share=0.95).key_frequencies
    assert accuracy(with_embedding(grokked.snapshot(0), change, keys)) < 0.1


def at_last(grid, elsewhere=0.0):
    """Values by a and b as activations at the last position, and a number at the other two."""
    values = grid.flatten(0, 1)[:, None]
    return torch.cat([torch.full_like(values, elsewhere).expand(-1, 2, -1), values], dim=1)


def planted(amplitudes, operation: Any = "add", order=NATURAL, parameters=None):
    """Numbers embedded as waves of 2 (the stronger) and 5, logits with waves of any."""
    task = ModularArithmetic(p=13, operation=operation, train_fraction=0.5)
    W_E, logits = torch.zeros(14, 8).double(), torch.zeros(13, 13, 13).double()
    W_E[order, :4] = circle_embedding(len(order), [2, 5]) * torch.tensor([2.0, 1, 2, 1])
    logits[order[:, None, None], order[:, None], order] = waves(len(order), amplitudes)
    snapshot = Snapshot.of(random_model(task.sizes), task.examples("all", None, 0)).edited(
        with_weights({"embed.W_E": W_E} | (parameters or {}))
    )
    snapshot._memory["logits"] = at_last(logits)
    return snapshot


def sum_angles(frequency):
    """The angle w(a + b) over all pairs of numbers below 13."""
    return 2 * torch.pi * frequency * (NATURAL[:, None] + NATURAL).double() / 13


def loss_of_wave(amplitude):
    """Cross-entropy of the logits amplitude cos w(a + b - c): alike for all pairs and all w."""
    return math.log(
        sum(math.exp(amplitude * math.cos(2 * math.pi * d / 13)) for d in range(13))
    ) - (amplitude)


def test_neurons_are_read_where_the_answer_is():
    snapshot = planted({2: 1.0, 5: 1.0})
    neurons = torch.stack([sum_angles(3).cos()] * 10 + [sum_angles(4).sin()] * 6, dim=-1)
    snapshot._memory["blocks.0.mlp.hook_post"] = at_last(neurons)
    circuit = FourierCircuit.measure(snapshot)
    assert circuit.neuron_frequency.tolist() == [3] * 10 + [4] * 6
    np.testing.assert_allclose(circuit.neuron_fve, 1)


def test_neurons_that_change_elsewhere_alone_follow_no_frequency():
    snapshot = planted({2: 1.0, 5: 1.0})
    neurons = torch.stack([sum_angles(3).cos()] * 16, dim=-1)
    snapshot._memory["blocks.0.mlp.hook_post"] = at_last(neurons).flip(1)
    assert np.isnan(FourierCircuit.measure(snapshot).neuron_fve).all()


def test_without_one_wave_the_loss_is_that_of_the_other():
    circuit = FourierCircuit.measure(planted({2: 3.0, 5: 2.0}))
    assert circuit.keys == (2, 5)
    assert circuit.excluded_by_frequency == pytest.approx((loss_of_wave(2), loss_of_wave(3)))


def test_losses_without_one_wave_stand_between_those_with_all_and_none():
    circuit = FourierCircuit.measure(planted({5: 2.0, 2: 3.0}))
    figure = circuit.figures()["excluded"]
    assert isinstance(figure, plots.Figure)
    (drawn,) = plots.as_data(figure)["data"]
    assert drawn["x"] == [
        "full model", "keys only", "no 2", "no 5", "no keys"
    ]  # fmt: skip
    expected = [circuit.loss[1], circuit.restricted_loss[1], loss_of_wave(2), loss_of_wave(3)]
    assert drawn["y"] == pytest.approx([*expected, math.log(13)])


@pytest.mark.parametrize(("least_fve", "keys"), [(0.02, (2,)), (0.005, (2, 5))])
def test_a_frequency_is_key_if_it_explains_enough_of_the_logits(least_fve, keys):
    snapshot = planted({2: 1.0, 5: 0.1})  # 5 explains 0.01 / 1.01 of them
    assert FourierCircuit.measure(snapshot, least_fve=least_fve).keys == keys


def test_key_frequencies_of_multiplication_are_those_of_discrete_logarithms():
    every = dict.fromkeys(range(1, 7), 1.0)
    assert FourierCircuit.measure(planted(every, "multiply", POWERS_OF_2)).keys == (2, 5)


def test_logits_of_multiplication_are_waves_of_discrete_logarithms():
    snapshot = planted({2: 3.0, 5: 1.0}, "multiply", POWERS_OF_2)
    expected = [0, 0.9, 0, 0, 0.1, 0]
    np.testing.assert_allclose(FourierCircuit.measure(snapshot).logit_fve, expected, atol=1e-12)


@pytest.mark.parametrize(("sine", "ratio"), [(1, 1), (0.5, 0.5), (2, 0.5), (-0.5, -0.5)])
def test_the_slope_ratio_is_that_of_what_logits_read_of_cosine_and_sine(sine, ratio):
    W_out, W_U, neurons = (
        torch.zeros(*shape).double() for shape in ((16, 8), (8, 13), (13, 13, 16))
    )
    W_out[0, 0], W_out[1, 1] = 1, sine
    W_U[:2] = circle_embedding(13, [2]).T
    neurons[:, :, 0], neurons[:, :, 1] = sum_angles(2).cos(), sum_angles(2).sin()
    written = {"blocks.0.mlp.W_out": W_out, "unembed.W_U": W_U}
    snapshot = planted({2: 1.0}, parameters=written)
    snapshot._memory["blocks.0.mlp.hook_post"] = at_last(neurons)
    assert FourierCircuit.measure(snapshot).slope_ratio == pytest.approx([ratio])


@pytest.mark.parametrize("operation", ["subtract", "multiply"])
def test_other_groups_are_measured_too(operation):
    task = ModularArithmetic(p=7, operation=operation, train_fraction=0.5)
    snapshot = Snapshot.of(random_model(task.sizes), task.examples("all", None, 0))
    circuit = FourierCircuit.measure(snapshot)
    assert circuit.modulus == (6 if operation == "multiply" else 7)


def test_subtraction_planted_in_the_logits_is_found():
    task = ModularArithmetic(p=7, operation="subtract", train_fraction=0.5)
    snapshot = Snapshot.of(random_model(task.sizes), task.examples("all", None, 0))
    labels = snapshot.examples.labels
    angle = labels["a"][:, None] - labels["b"][:, None] - torch.arange(7)
    logits = torch.cos(2 * torch.pi * 2 * angle.double() / 7)
    snapshot._memory["logits"] = logits[:, None].expand(-1, 3, -1)
    assert FourierCircuit.measure(snapshot).logit_fve[1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"operation": "sum_of_squares"}, "an operation that waves compute: set"),
        ({"operation": "multiply", "p": 9}, "an operation that waves compute: set"),
        ({"operation": "multiply", "p": 2}, "an operation that waves compute: set"),
        ({"ordered": False}, "all ordered pairs: set task.ordered = true"),
    ],
)
def test_tasks_without_a_wave_or_all_pairs_are_refused(options, missing):
    task = ModularArithmetic(**({"p": 7, "train_fraction": 0.5} | options))
    snapshot = Snapshot.of(random_model(task.sizes), task.examples("all", None, 0))
    with pytest.raises(ValueError, match=f"FourierCircuit needs {missing}"):
        FourierCircuit.measure(snapshot)


def test_part_of_the_pairs_is_refused(grokked):
    with pytest.raises(ValueError, match="needs all 2809 pairs, these examples have 100"):
        FourierCircuit.measure(grokked.snapshot(count=100))


def test_silent_neurons_are_counted_and_left_out_of_votes_and_shares(trained):
    fve, frequency = trained.neuron_fve.copy(), trained.neuron_frequency.copy()
    fve[:4], frequency[:4] = [0.9, 0.9, 0.9, 0.1], 7
    fve[4:], frequency[4:] = math.nan, 0
    summary = dataclasses.replace(trained, neuron_fve=fve, neuron_frequency=frequency).summary()
    assert summary["silent_neurons"] == len(fve) - 4
    assert (summary["single_frequency_neurons"], summary["key_count_vote_rule"]) == (0.75, 1)


def test_a_row_of_the_table_is_a_frequency_from_1_with_its_neurons(trained):
    table = trained.to_frame()
    assert table["frequency"].tolist() == list(range(1, 27))
    assert table["neurons"].sum() == len(trained.neuron_fve) - trained.silent_neurons
    assert set(table.loc[table["is_key"], "frequency"]) == set(trained.keys)


def test_slopes_that_are_both_0_have_no_ratio(trained):
    slopes = np.zeros_like(trained.readout_slope)
    slopes[0] = [1.0, -2.0]
    ratios = dataclasses.replace(trained, readout_slope=slopes).slope_ratio
    np.testing.assert_allclose(ratios, [-0.5] + [math.nan] * (len(slopes) - 1))


def strengths(result, control):
    return [finding.strength for finding in result.findings(control)]


def test_a_circuit_is_found_beside_the_untrained_model_and_null_where_that_is_as_high(
    trained, untrained
):
    assert strengths(trained, untrained) == ["found"] * 3
    assert strengths(trained, trained) == ["null", "found", "null"]
    assert strengths(untrained, untrained) == ["null"] * 3


def test_without_an_untrained_model_the_waves_stand_beside_random_logits(trained):
    explained, ablated = trained.findings()
    assert explained.text.endswith("of the logits (random logits: 0.002 %)")
    assert (explained.strength, ablated.strength) == ("found", "found")


def test_random_logits_have_the_share_of_waves_that_they_are_compared_with(trained):
    n, keys = 13, (2, 5)
    logits = torch.randn(n, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fve = np.mean(
        [float(logit_waves(logits.roll(shift, 2))[0][[1, 4]].sum()) for shift in range(n)]
    )
    assert fve == pytest.approx(replace(trained, modulus=n, keys=keys)._random_fve, rel=1)


def test_losses_without_the_waves_stand_beside_the_full_model_and_guessing(trained):
    planted = replace(
        trained,
        loss=(0.5, 0.25, 0.75),
        excluded_loss=(5, 4, 6),
        restricted_loss=(0.125, 0.25, 0.5),
    )
    ablated = planted.findings()[1]
    assert ablated.text == (
        "Without the key waves train loss is 4 nats instead of 0.25 (guessing: 3.97); with only "
        "them loss on all pairs is 0.12 instead of 0.5"
    )
    assert ablated.strength == "found"
    assert replace(planted, excluded_loss=(5, 1, 6)).findings()[1].strength == "null"


def test_without_keys_there_are_no_waves_to_be_found(trained):
    (finding,) = replace(trained, keys=()).findings(trained)
    assert finding.strength == "not found"
