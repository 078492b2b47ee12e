import pytest
import torch
from torch.testing import assert_close

from hooks import Snapshot, build
from hooks.models import parameters_of
from hooks.weights import has_weight, weight
from tests.planted import SIZES, random_model, tiny_config, tokens_as_examples

CONFIG = tiny_config()
VIEWS = ["W_E", "W_pos", "W_U", "neuron_in", "neuron_out"]
MODELS = [parameters_of(random_model(seed=seed)) for seed in range(3)]


def test_a_parameters_own_name_gives_the_parameter():
    assert weight(CONFIG, MODELS[0], "blocks.0.mlp.W_in") is MODELS[0]["blocks.0.mlp.W_in"]


def test_neuron_in_is_what_neurons_receive_through_each_heads_circuit():
    own = MODELS[0]
    values, output = own["blocks.0.attn.W_V"][1], own["blocks.0.attn.W_O"][1]
    expected = own["embed.W_E"] @ values @ output @ own["blocks.0.mlp.W_in"]
    assert_close(weight(CONFIG, own, "neuron_in")[1], expected)


def test_neuron_in_has_an_operand_a_head_and_an_input_a_token():
    assert weight(CONFIG, MODELS[0], "neuron_in").shape == (2, SIZES.d_vocab, 16)


def test_neuron_out_is_what_a_neuron_adds_to_each_logit():
    own = MODELS[0]
    expected = own["blocks.0.mlp.W_out"][5] @ own["unembed.W_U"]
    assert_close(weight(CONFIG, own, "neuron_out")[5], expected)


def test_neuron_out_is_of_the_last_layer():
    own = parameters_of(random_model(n_layers=2))
    expected = own["blocks.1.mlp.W_out"] @ own["unembed.W_U"]
    assert_close(weight(tiny_config(n_layers=2), own, "neuron_out"), expected)


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_stacked_parameters_are_the_views_stacked(name):
    stacked = {each: torch.stack([own[each] for own in MODELS]) for each in MODELS[0]}
    expected = torch.stack([weight(CONFIG, own, name) for own in MODELS])
    assert_close(weight(CONFIG, stacked, name), expected)


@pytest.mark.parametrize("name", VIEWS)
def test_views_keep_two_leading_axes(name):
    stacked = {each: values.expand(2, 3, *values.shape) for each, values in MODELS[0].items()}
    assert_close(weight(CONFIG, stacked, name)[1, 2], weight(CONFIG, MODELS[0], name))


def test_an_unknown_weight_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"no weight 'W_X'; there are W_E, .*blocks\.0\.mlp\.W_in"):
        weight(CONFIG, MODELS[0], "W_X")


def test_a_view_that_a_model_lacks_is_refused_with_those_there_are():
    own = parameters_of(random_model(attn_only=True))
    message = r"'neuron_out' needs 'blocks\.0\.mlp\.W_out', .* there are W_E, W_pos, W_U, embed"
    with pytest.raises(ValueError, match=message):
        weight(tiny_config(attn_only=True), own, "neuron_out")


@pytest.mark.parametrize(("name", "there"), [("W_E", True), ("W_pos", False), ("W_X", False)])
def test_a_rotary_model_has_no_W_pos(name, there):
    config = tiny_config(positional_embedding_type="rotary")
    own = parameters_of(random_model(positional_embedding_type="rotary"))
    assert has_weight(config, own, name) is there


@pytest.mark.parametrize("option", ["gated_mlp", "parallel_attn_mlp"])
def test_what_neurons_read_is_no_path_through_heads_where_blocks_are_otherwise(option):
    tokens, options = torch.zeros(2, 3, dtype=torch.long), {option: True}
    model = build(tiny_config(**options), SIZES, seed=0)
    snapshot = Snapshot.of(model, tokens_as_examples(tokens))
    assert not snapshot.has_weights("neuron_in")
    with pytest.raises(ValueError, match="view 'neuron_in' needs 'neurons that read"):
        snapshot.weights("neuron_in")
