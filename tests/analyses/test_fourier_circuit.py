import numpy as np
import pytest
import torch

from analyses import FourierCircuit, FourierSpectrum, fourier
from hooks import Snapshot
from hooks.edit import with_weights
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.planted import random_model


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
    last = grokked.metrics().iloc[-1]
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
    assert accuracy(with_embedding(snapshot, fourier.keep_frequencies, keys)) > 0.95


def test_dropping_the_key_frequencies_of_the_embedding_destroys_accuracy(grokked):
    snapshot = grokked.snapshot()
    keys = FourierSpectrum.measure(snapshot, share=0.95).key_frequencies
    assert accuracy(with_embedding(snapshot, fourier.drop_frequencies, keys)) < 0.1


@pytest.mark.parametrize("change", [fourier.keep_frequencies, fourier.drop_frequencies])
def test_the_untrained_model_is_at_chance_either_way(grokked, change):
    keys = FourierSpectrum.measure(grokked.snapshot(), share=0.95).key_frequencies
    assert accuracy(with_embedding(grokked.snapshot(0), change, keys)) < 0.1


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
    "options",
    [{"operation": "sum_of_squares"}, {"ordered": False}, {"operation": "multiply", "p": 9}],
)
def test_tasks_without_a_wave_are_refused(options):
    task = ModularArithmetic(**({"p": 7, "train_fraction": 0.5} | options))
    snapshot = Snapshot.of(random_model(task.sizes), task.examples("all", None, 0))
    with pytest.raises(ValueError, match=r"does not apply: constants\.wave missing"):
        FourierCircuit.measure(snapshot)


def test_part_of_the_pairs_is_refused(grokked):
    with pytest.raises(ValueError, match="needs all 2809 pairs, these examples have 100"):
        FourierCircuit.measure(grokked.snapshot(count=100))
