"""What a HookedTransformer can compute and a config here cannot say."""

import dataclasses
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from hooks import HookedTransformer, HookedTransformerConfig, Series, Snapshot
from hooks.models import TokenConfig, config_of, parameters_of
from hooks.transformer.options import COMPUTED, KNOWN, check_computed
from tests.lens import HookedTransformerConfig as TheirConfig
from tests.lens import needs_hooked_transformer, theirs
from tests.planted import tokens_as_examples

pytestmark = needs_hooked_transformer

EXAMPLES = tokens_as_examples(torch.cartesian_prod(torch.arange(7), torch.arange(7)))


def live(**options: Any) -> Any:
    """A HookedTransformer made without the toolkit."""
    shape = {"d_model": 8, "n_heads": 2, "d_mlp": 16, "d_vocab": 8, "d_vocab_out": 7, "n_ctx": 3}
    model = theirs(**shape | options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def series_of(model):
    return Series.of(model, {0: parameters_of(model)}, EXAMPLES)


def snapshot_of(model):
    return Snapshot.of(model, EXAMPLES)


OTHERS = [
    {"attn_scores_soft_cap": 5.0},
    {"output_logits_soft_cap": 3.0},
    {"use_local_attn": True, "window_size": 1, "attn_types": ["local", "local"]},
    {"scale_attn_by_inverse_layer_idx": True},
    {"positional_embedding_type": "alibi"},
    {"act_fn": "solu"},
    {"final_rms": True},
]


@pytest.mark.parametrize("door", [series_of, snapshot_of])
@pytest.mark.parametrize("options", OTHERS, ids=lambda options: next(iter(options)))
def test_an_option_that_no_config_here_says_is_refused_by_name(options, door):
    model = live(**options)
    with pytest.raises(ValueError, match=next(iter(options))):
        door(model)


ALIKE = [
    {},
    {"normalization_type": "LNPre"},
    {"normalization_type": None, "attn_only": True},
    {"attn_only": True},
    {"positional_embedding_type": "rotary"},
    {"use_attn_result": True, "use_hook_tokens": True, "use_split_qkv_input": True},
    {"act_fn": "gelu_new", "attention_dir": "bidirectional"},
    {"use_attn_scale": False},
    {"attn_scale": 1.0},
    {"eps": 1e-2},
    {"parallel_attn_mlp": True},
    {"rotary_base": 100, "positional_embedding_type": "rotary"},
    {"rotary_dim": 2, "positional_embedding_type": "rotary"},
    {"positional_embedding_type": "shortformer"},
    {"normalization_type": "RMS"},
    {"gated_mlp": True},
    {"n_key_value_heads": 1},
]


@pytest.mark.parametrize("options", ALIKE, ids=str)
def test_a_series_of_a_live_model_has_the_live_models_logits(options):
    model = live(**options)
    with torch.no_grad():
        expected = model(EXAMPLES.tokens)
    logits = series_of(model).snapshot(0, EXAMPLES).logits()
    assert_close(logits, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_every_option_of_a_live_config_is_judged():
    names = {field.name for field in dataclasses.fields(TheirConfig)}
    assert names == KNOWN & names
    assert COMPUTED.keys() <= names


def test_what_is_computed_is_the_default_of_transformer_lens():
    defaults = {field.name: field.default for field in dataclasses.fields(TheirConfig)}
    assert {name: defaults[name] for name in COMPUTED} == COMPUTED


def test_an_unknown_option_of_a_live_config_is_refused_by_name():
    model = live()
    model.cfg.attn_coeff = 0.5
    with pytest.raises(
        ValueError, match=r"attn_coeff is 0\.5 in the config; this option is unknow"
    ):
        config_of(model)


def test_all_that_is_wrong_with_a_config_is_named_at_once():
    with pytest.raises(ValueError, match=r"use_qk_norm is True.*attn_coeff is 1"):
        check_computed({"attn_coeff": 1, "use_qk_norm": True})


def test_parameters_of_other_names_are_refused():
    model = live()
    model.blocks[1].mlp.W_extra = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match=r"parameter blocks\.1\.mlp\.W_extra is there and not"):
        Snapshot.of(model, EXAMPLES)


def test_a_given_config_must_be_that_of_the_live_model():
    config = TokenConfig(n_layers=2, d_model=8, n_heads=2, d_mlp=16, act_fn="gelu")
    with pytest.raises(ValueError, match="act_fn is 'gelu' in the config given"):
        Snapshot.of(live(), EXAMPLES, config=config)


def test_a_model_of_ours_without_a_kind_is_of_kind_token():
    cfg = HookedTransformerConfig(
        n_layers=1, d_model=8, n_heads=2, d_head=4, d_vocab=8, d_vocab_out=7, n_ctx=3,
        act_fn="gelu", normalization_type="RMS", gated_mlp=True, dropout=0.1,
    )  # fmt: skip
    config = config_of(HookedTransformer(cfg))
    expected = TokenConfig(
        d_model=8, n_heads=2, d_head=4, d_mlp=32, act_fn="gelu", normalization_type="RMS",
        gated_mlp=True, dropout=0.1,
    )  # fmt: skip
    assert config == expected


def test_a_model_of_ours_that_only_another_kind_says_is_refused():
    cfg = HookedTransformerConfig(
        n_layers=1, d_model=8, d_head=4, d_vocab=8, n_ctx=3, act_fn="relu", norm_position="post"
    )
    with pytest.raises(ValueError, match=r"norm_position is 'post' .* hooks\.build"):
        config_of(HookedTransformer(cfg))


def test_an_option_that_is_missing_is_asked_for_by_name():
    with pytest.raises(ValueError, match="act_fn is missing"):
        HookedTransformerConfig(n_layers=1, d_model=8, d_head=4, d_vocab=8, n_ctx=3)
