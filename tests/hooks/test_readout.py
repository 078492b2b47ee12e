import pytest
import torch
from torch.testing import assert_close

from hooks import Snapshot
from hooks.edit import without_neurons
from hooks.readout import neuron_readout
from tests.planted import random_model, tokens_as_examples

TOKENS = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))


@pytest.mark.parametrize("options", [{}, {"n_layers": 2}, {"normalization_type": "LN"}])
def test_silenced_neurons_are_those_of_an_edit(options):
    snapshot = Snapshot.of(random_model(**options), tokens_as_examples(TOKENS))
    layer, silent = snapshot.config.n_layers - 1, [0, 3, 15]
    is_kept = ~torch.isin(torch.arange(16), torch.tensor(silent))
    expected = snapshot.edited(without_neurons(layer, silent)).logits()[:, -1]
    assert_close(neuron_readout(snapshot)(is_kept), expected)


def test_all_neurons_give_the_models_own_logits(snapshot):
    every = torch.ones(16, dtype=torch.bool)
    assert_close(neuron_readout(snapshot)(every), snapshot.logits()[:, -1])


def test_edits_are_seen(snapshot):
    edited = snapshot.edited(without_neurons(0, [2]))
    every = torch.ones(16, dtype=torch.bool)
    assert_close(neuron_readout(edited)(every), edited.logits()[:, -1])
