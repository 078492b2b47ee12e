import pytest
import torch

from hooks import Snapshot
from hooks.edit import with_weights
from tests.planted import random_model, tokens_as_examples


def spoilt(snapshot, name, value=torch.nan, row: int | slice = 0):
    weights = snapshot.weights(name)
    weights[row] = value
    return snapshot.edited(with_weights({name: weights}))


def test_a_model_that_hides_keys_is_finite(snapshot):
    scores = snapshot.cache(["blocks.0.attn.hook_attn_scores"])["blocks.0.attn.hook_attn_scores"]
    assert scores.isinf().any()
    assert snapshot.first_not_finite() == ""


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
    assert spoilt(snapshot, name).first_not_finite() == hook


def test_numbers_that_grow_too_large_are_found_where_they_do(snapshot):
    large = spoilt(snapshot, "blocks.0.attn.W_V", 1e200)
    larger = spoilt(large, "blocks.0.mlp.W_in", 1e200, row=slice(None))
    assert larger.first_not_finite() == "blocks.0.mlp.hook_pre"


def test_a_logit_of_minus_infinity_is_found_at_the_logits(snapshot):
    assert spoilt(snapshot, "unembed.b_U", -torch.inf).first_not_finite() == "logits"


def test_a_single_example_of_many_batches_is_enough():
    tokens = torch.tensor([[1, 2, 7]]).repeat(6000, 1)
    tokens[-1, 0] = 6
    snapshot = Snapshot.of(random_model(), tokens_as_examples(tokens))
    assert spoilt(snapshot, "embed.W_E", row=6).first_not_finite() == "hook_embed"
    assert spoilt(snapshot, "embed.W_E", row=5).first_not_finite() == ""


def test_looking_leaves_no_hook_behind(snapshot):
    snapshot.first_not_finite()
    points = snapshot.live.model.hook_dict.values()
    assert not any(point._forward_hooks for point in points)
