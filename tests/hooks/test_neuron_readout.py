import pytest
import torch
from torch.testing import assert_close

from hooks import Edit, Snapshot, build
from hooks.edit import without_neurons
from hooks.models import NeoXConfig, PostNormConfig
from hooks.neuron_readout import neuron_readout
from tests.planted import SIZES, random_model, tokens_as_examples

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


@pytest.mark.parametrize("name", ["hook_mlp_out", "hook_resid_post"])
def test_an_edit_after_the_last_neurons_is_refused(snapshot, name):
    edited = snapshot.edited(Edit(hooks={f"blocks.0.{name}": lambda value, hook: 0 * value}))
    with pytest.raises(ValueError, match=rf"an edit at blocks\.0\.{name} comes after"):
        neuron_readout(edited)


OTHERS = [
    PostNormConfig(d_model=8, n_heads=2, d_mlp=16),
    NeoXConfig(n_layers=1, d_model=8, n_heads=2, d_mlp=16, rotary_dim=2),
]


def test_a_model_whose_neurons_do_not_end_the_stream_is_refused():
    config = PostNormConfig(d_model=8, n_heads=2, d_mlp=16)
    model = build(config, SIZES, seed=0, dtype="float64")
    with pytest.raises(ValueError, match="a model of kind post_norm does not read"):
        neuron_readout(Snapshot.of(model, tokens_as_examples(TOKENS)))


@pytest.mark.parametrize("is_parallel", [True, False])
def test_neurons_beside_attention_are_silenced_as_by_an_edit(is_parallel):
    options = {"rotary_dim": 2, "parallel_attn_mlp": is_parallel}
    config = NeoXConfig(n_layers=2, d_model=8, n_heads=2, d_mlp=16, **options)
    model = build(config, SIZES, seed=0, dtype="float64")
    snapshot = Snapshot.of(model, tokens_as_examples(TOKENS))
    is_kept = torch.arange(16) > 2
    expected = snapshot.edited(without_neurons(1, [0, 1, 2])).logits()[:, -1]
    assert_close(neuron_readout(snapshot)(is_kept), expected)
