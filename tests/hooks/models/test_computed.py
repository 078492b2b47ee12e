"""What a HookedTransformer can compute and a config here cannot say."""

import dataclasses
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformer_lens import HookedTransformer, HookedTransformerConfig

from hooks import Series, Snapshot
from hooks.models import config_of, parameters_of
from hooks.models.computed import COMPUTED, KNOWN, check_computed
from hooks.models.neox import neox_config
from hooks.models.token import TokenConfig
from tests.planted import tokens_as_examples

EXAMPLES = tokens_as_examples(torch.cartesian_prod(torch.arange(7), torch.arange(7)))


def live(**options: Any) -> Any:
    """A HookedTransformer made without the toolkit."""
    table: dict[str, Any] = {
        "n_layers": 2, "d_model": 8, "n_heads": 2, "d_head": 4, "d_mlp": 16, "d_vocab": 8,
        "d_vocab_out": 7, "n_ctx": 3, "act_fn": "relu", "normalization_type": "LN",
        "device": "cpu", "init_weights": False,
    }  # fmt: skip
    with pytest.warns(DeprecationWarning, match="HookedTransformer"):
        model = HookedTransformer(HookedTransformerConfig(**table | options))
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
    {"use_attn_scale": False},
    {"attn_scale": 1.0},
    {"attn_scores_soft_cap": 5.0},
    {"output_logits_soft_cap": 3.0},
    {"eps": 1e-2},
    {"use_local_attn": True, "window_size": 1, "attn_types": ["local", "local"]},
    {"parallel_attn_mlp": True},
    {"scale_attn_by_inverse_layer_idx": True},
    {"rotary_base": 100, "positional_embedding_type": "rotary"},
    {"rotary_dim": 2, "positional_embedding_type": "rotary"},
    {"positional_embedding_type": "shortformer"},
    {"act_fn": "solu"},
    {"gated_mlp": True},
    {"n_key_value_heads": 1},
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
]


@pytest.mark.parametrize("options", ALIKE, ids=str)
def test_a_series_of_a_live_model_has_the_live_models_logits(options):
    model = live(**options)
    with torch.no_grad():
        expected = model(EXAMPLES.tokens)
    assert_close(series_of(model).snapshot(0, EXAMPLES).logits(), expected)


def test_every_option_of_a_live_config_is_judged():
    names = {field.name for field in dataclasses.fields(HookedTransformerConfig)}
    assert names == KNOWN & names
    assert COMPUTED.keys() <= names


def test_what_the_token_model_computes_is_the_default_of_transformer_lens():
    defaults = {field.name: field.default for field in dataclasses.fields(HookedTransformerConfig)}
    assert {name: defaults[name] for name in COMPUTED} == COMPUTED


def test_an_unknown_option_of_a_live_config_is_refused_by_name():
    model = live()
    model.cfg.attn_coeff = 0.5
    with pytest.raises(
        ValueError, match=r"attn_coeff is 0\.5 in the config; this option is unknow"
    ):
        config_of(model)


def test_all_that_is_wrong_with_a_config_is_named_at_once():
    with pytest.raises(ValueError, match=r"use_attn_scale is False.*attn_coeff is 1"):
        check_computed({"attn_coeff": 1, "use_attn_scale": False}, n_heads=2, d_head=4)


def test_parameters_of_other_names_are_refused():
    model = live()
    model.blocks[1].mlp.W_extra = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match=r"parameter blocks\.1\.mlp\.W_extra is there and not"):
        Snapshot.of(model, EXAMPLES)


def test_a_given_config_must_be_that_of_the_live_model():
    config = TokenConfig(n_layers=2, d_model=8, n_heads=2, d_mlp=16, act_fn="gelu")
    with pytest.raises(ValueError, match="act_fn is 'gelu' in the config given"):
        Snapshot.of(live(), EXAMPLES, config=config)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}, "rotary_base is 500"),
        (
            {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0}},
            "rope_type is 'linear'",
        ),
    ],
)
def test_other_rotary_angles_of_a_language_model_are_refused(options, name):
    from transformers import GPTNeoXConfig

    with pytest.raises(ValueError, match=name):
        neox_config(GPTNeoXConfig(**options))
