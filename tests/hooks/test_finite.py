import pytest
import torch

from hooks import Snapshot
from hooks.edit import with_weights
from hooks.finite import first_not_finite
from tests.planted import random_model, tokens_as_examples


def spoilt(snapshot, name, value=torch.nan, row: int | slice = 0):
    weights = snapshot.weights(name)
    weights[row] = value
    return snapshot.edited(with_weights({name: weights}))


def test_a_model_that_hides_keys_is_finite(snapshot):
    scores = snapshot.cache(["blocks.0.attn.hook_attn_scores"])["blocks.0.attn.hook_attn_scores"]
    assert scores.isinf().any()
    assert first_not_finite(snapshot) == ""


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("embed.W_E", "hook_embed"),
        ("blocks.0.attn.W_Q", "blocks.0.attn.hook_q"),
        ("blocks.0.mlp.W_in", "blocks.0.mlp.hook_pre"),
        ("blocks.0.mlp.W_out", "blocks.0.hook_mlp_out"),
        ("unembed.W_U", "unembed.hook_out"),
    ],
)
def test_the_first_hook_point_that_holds_nan_is_named(snapshot, name, hook):
    assert first_not_finite(spoilt(snapshot, name)) == hook


def test_numbers_that_grow_too_large_are_found_where_they_do(snapshot):
    large = spoilt(snapshot, "blocks.0.attn.W_V", 1e200)
    larger = spoilt(large, "blocks.0.mlp.W_in", 1e200, row=slice(None))
    assert first_not_finite(larger) == "blocks.0.mlp.hook_pre"


def test_a_logit_of_minus_infinity_is_found_at_the_logits(snapshot):
    assert first_not_finite(spoilt(snapshot, "unembed.b_U", -torch.inf)) == "logits"


def test_a_single_example_of_many_batches_is_enough():
    tokens = torch.tensor([[1, 2, 7]]).repeat(6000, 1)
    tokens[-1, 0] = 6
    snapshot = Snapshot.of(random_model(), tokens_as_examples(tokens))
    assert first_not_finite(spoilt(snapshot, "embed.W_E", row=6)) == "hook_embed"
    assert first_not_finite(spoilt(snapshot, "embed.W_E", row=5)) == ""


def test_looking_leaves_no_hook_behind(snapshot):
    first_not_finite(snapshot)
    points = snapshot.live.model.hook_dict.values()
    assert not any(point._forward_hooks for point in points)
