import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from hooks import Snapshot
from hooks.edit import (
    Edit,
    edited,
    masked_weights,
    with_weights,
    without_directions,
    without_heads,
    without_neurons,
)
from hooks.models import parameters_of
from tests.planted import random_model

W_E, W_O = "embed.W_E", "blocks.0.attn.W_O"


def copies(model):
    return {name: value.clone() for name, value in parameters_of(model).items()}


def test_a_removed_head_equals_a_head_whose_W_O_is_zero(snapshot):
    other = random_model()
    parameters_of(other)[W_O][1] = 0
    expected = Snapshot.of(other, snapshot.examples).logits()
    assert_close(snapshot.edited(without_heads(0, [1])).logits(), expected)


def test_a_removed_head_changes_the_logits(snapshot):
    without = snapshot.edited(without_heads(0, [1])).logits()
    assert (without - snapshot.logits()).abs().max() > 0.01


def test_a_removed_neuron_equals_a_row_of_W_out_that_is_zero(snapshot):
    other = random_model()
    parameters_of(other)["blocks.0.mlp.W_out"][[2, 5]] = 0
    expected = Snapshot.of(other, snapshot.examples).logits()
    assert_close(snapshot.edited(without_neurons(0, [2, 5])).logits(), expected)


def test_removed_directions_are_orthogonal_to_what_is_left(snapshot):
    name = "blocks.0.hook_resid_mid"
    directions = torch.randn(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    left = snapshot.edited(without_directions(name, directions)).cache([name])[name]
    assert_close(left @ directions.T, torch.zeros(49, 3, 2, dtype=torch.float64))


def test_given_weights_give_the_logits_of_a_model_that_has_them(snapshot):
    other = random_model(seed=1)
    expected = Snapshot.of(other, snapshot.examples).logits()
    assert torch.equal(snapshot.edited(with_weights(parameters_of(other))).logits(), expected)


def test_a_mask_of_zeros_equals_a_head_that_is_removed(snapshot):
    mask = torch.tensor([1.0, 0.0])[:, None, None]
    masked = snapshot.edited(masked_weights({W_O: mask})).logits()
    assert_close(masked, snapshot.edited(without_heads(0, [1])).logits())


def test_edits_apply_in_order(snapshot):
    double = Edit(parameters={W_E: lambda value: 2 * value})
    ones = with_weights({W_E: torch.ones(8, 8)})
    assert (snapshot.edited(ones, double).weights("W_E") == 2).all()


def test_weights_are_restored_bit_for_bit():
    model = random_model()
    before = copies(model)
    with edited(model, [with_weights({W_E: torch.zeros(8, 8)})]):
        pass
    assert all(torch.equal(value, before[name]) for name, value in parameters_of(model).items())


def test_weights_are_restored_when_the_body_raises():
    model = random_model()
    before = copies(model)
    with (
        pytest.raises(RuntimeError, match="inside"),
        edited(model, [with_weights({W_E: torch.zeros(8, 8)})]),
    ):
        raise RuntimeError("inside")
    assert torch.equal(parameters_of(model)[W_E], before[W_E])


def test_hooks_are_taken_off_when_the_body_raises(snapshot):
    model, tokens = snapshot.live.model, snapshot.examples.model_inputs
    before = model(tokens)
    with (
        pytest.raises(RuntimeError, match="inside"),
        edited(model, [without_heads(0, [0])]),
    ):
        raise RuntimeError("inside")
    assert torch.equal(model(tokens), before)


def test_hooks_of_others_stay(snapshot):
    model, seen = snapshot.live.model, []
    model.add_hook("hook_embed", lambda value, hook: seen.append(hook.name))
    with edited(model, [without_heads(0, [0])]):
        pass
    model(snapshot.examples.model_inputs)
    assert seen == ["hook_embed"]


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 15)), st.sets(st.integers(0, 15)))
def test_removing_neurons_twice_is_removing_their_union(first, second):
    model, tokens = random_model(), torch.tensor([[1, 2, 7], [3, 3, 7]])
    with edited(model, [without_neurons(0, first), without_neurons(0, second)]):
        one_by_one = model(tokens)
    with edited(model, [without_neurons(0, first | second)]):
        assert torch.equal(one_by_one, model(tokens))


def test_an_unknown_hook_name_is_refused_with_near_matches():
    edit = Edit(hooks={"blocks.0.attn.hook_zz": lambda value, hook: value})
    with (
        pytest.raises(ValueError, match=r"no hook point .*hook_zz.*blocks\.0\.attn\.hook_z\b"),
        edited(random_model(), [edit]),
    ):
        pass


def test_an_unknown_parameter_is_refused_with_near_matches():
    edit = with_weights({"embed.W_e": torch.zeros(8, 8)})
    with (
        pytest.raises(ValueError, match=r"no parameter 'embed\.W_e'; did you mean embed\.W_E"),
        edited(random_model(), [edit]),
    ):
        pass


@pytest.mark.parametrize("shape", [(8,), (1, 8), (9, 8)])
def test_weights_of_another_shape_are_refused(shape):
    with (
        pytest.raises(ValueError, match=r"embed\.W_E has shape \[8, 8\], its edit gives"),
        edited(random_model(), [with_weights({W_E: torch.zeros(shape)})]),
    ):
        pass


def test_a_head_beyond_the_last_is_refused(snapshot):
    with pytest.raises(ValueError, match=r"hook_z: indices \[2\] are not all below 2"):
        snapshot.edited(without_heads(0, [2])).logits()
