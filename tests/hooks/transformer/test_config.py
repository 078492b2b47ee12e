"""Options that contradict each other are refused; what follows from others is filled in."""

import pytest
import torch

from hooks import HookedTransformer, HookedTransformerConfig
from tests.lens import SHAPE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attn_only": True, "gated_mlp": True}, "attn_only does not go with gated_mlp"),
        ({"norm_position": "post", "attn_only": True}, "post does not go with attn_only"),
        ({"norm_position": "post", "use_attn_in": True}, "post does not go with use_attn_in"),
        (
            {"norm_position": "post", "positional_embedding_type": "shortformer"},
            "post does not go with positional_embedding_type = shortformer",
        ),
        ({"init_mode": "xavier_uniform"}, "xavier_uniform does not go with learned positions"),
        ({"n_key_value_heads": 1, "use_attn_in": True}, "n_key_value_heads does not go with"),
        ({"rotary_dim": 2}, "rotary_dim does not go with positions that are not rotary"),
        ({"n_heads": -1, "d_head": 40}, "n_heads is 0"),
        ({"n_key_value_heads": 2}, "n_heads 3 is not a multiple of n_key_value_heads 2"),
        ({"tie_word_embeddings": True, "d_vocab_out": 5}, "tie_word_embeddings needs as many"),
        ({"act_fn": None}, "act_fn is missing"),
        ({"d_vocab": None}, "d_vocab is missing"),
        ({"d_mdel": 3}, "d_mdel"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HookedTransformerConfig(**SHAPE | options)


def test_sizes_that_follow_from_others_are_filled_in():
    sizes = {"n_layers": 1, "d_model": 12, "d_head": 4, "n_ctx": 3, "d_vocab": 5}
    cfg = HookedTransformerConfig.model_validate(sizes | {"act_fn": "relu"})
    assert (cfg.n_heads, cfg.d_mlp, cfg.d_vocab_out) == (3, 48, 5)


def test_type_and_device_follow_the_model():
    model = HookedTransformer(HookedTransformerConfig(**SHAPE)).double()
    assert model.cfg.dtype == torch.float64


def test_a_shortformer_model_does_not_start_at_a_layer_without_its_positions():
    cfg = HookedTransformerConfig.model_validate(
        SHAPE | {"positional_embedding_type": "shortformer", "seed": 0}
    )
    model = HookedTransformer(cfg)
    with pytest.raises(ValueError, match="give shortformer_pos_embed"):
        model(torch.zeros(2, 3, 12), start_at_layer=1)


def test_a_loss_that_would_count_padding_is_refused():
    model = HookedTransformer(HookedTransformerConfig(**SHAPE, seed=0))
    tokens = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="counts padding"):
        model(tokens, return_type="loss", attention_mask=torch.ones_like(tokens))
