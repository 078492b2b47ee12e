"""To TransformerLens and back, whichever version is installed."""

import copy

import pytest
import torch
from torch.testing import assert_close

from hooks import (
    HookedTransformer,
    HookedTransformerConfig,
    Sizes,
    Snapshot,
    activation_cache,
    build,
    from_transformer_lens,
    to_transformer_lens,
)
from hooks.models import PostNormConfig, ReadInConfig
from tests.lens import SHAPE, needs_hooked_transformer, randomised, theirs
from tests.lens import HookedTransformer as Theirs
from tests.planted import tokens_as_examples

TOKENS = torch.randint(11, (5, 7), generator=torch.Generator().manual_seed(1))
SHAPES = {
    "as it comes": {},
    "no norm": {"normalization_type": None},
    "RMS": {"normalization_type": "RMS"},
    "attention only": {"attn_only": True},
    "grouped": {"n_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True},
    "waves and scaled embeddings": {
        "positional_embedding_type": "sinusoidal",
        "scale_embeddings": True,
    },
    "no positions, no biases": {"positional_embedding_type": "none", "attention_biases": False},
}
# What 4's native bridge computes otherwise or not at all; `to_transformer_lens` refuses it there.
SHAPES_OF_3 = {
    "gated": {"gated_mlp": True},
    "parallel": {"parallel_attn_mlp": True},
    "rotary": {"positional_embedding_type": "rotary"},
    "shortformer": {"positional_embedding_type": "shortformer"},
}


def assert_near(ours, theirs):
    assert_close(ours, theirs, rtol=1e-5, atol=1e-5)  # a bridge computes some norms in float32


def model_of(**options):
    cfg = HookedTransformerConfig(**SHAPE | options, dtype=torch.float64, seed=0)
    return randomised(HookedTransformer(cfg))


@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
def test_a_model_goes_there_and_comes_back(options):
    model = model_of(**options).eval()
    there = to_transformer_lens(model)
    back = from_transformer_lens(there)
    assert_near(there(TOKENS), model(TOKENS))
    assert_near(back(TOKENS), model(TOKENS))


@pytest.mark.parametrize("options", SHAPES_OF_3.values(), ids=SHAPES_OF_3)
def test_what_a_bridge_does_not_compute_goes_to_3_9_alone(options):
    model = model_of(**options).eval()
    if Theirs is None:
        with pytest.raises(ValueError, match=r"Bridge has other|differ|Unsupported"):
            to_transformer_lens(model)
    else:
        assert_near(to_transformer_lens(model)(TOKENS), model(TOKENS))


@pytest.mark.parametrize(
    ("config", "sizes", "message"),
    [
        (PostNormConfig(d_model=8, n_heads=2), Sizes(d_vocab=7, d_vocab_out=7, n_ctx=4), "post"),
        (ReadInConfig(d_model=8, n_heads=2), Sizes(d_in=2, d_vocab_out=1, n_ctx=4), "d_in is 2"),
    ],
)
def test_what_transformer_lens_does_not_compute_is_refused(config, sizes, message):
    with pytest.raises(ValueError, match=message):
        to_transformer_lens(build(config, sizes, seed=0))  # pyright: ignore[reportArgumentType]


def test_a_pattern_blended_with_a_constant_is_refused():
    with pytest.raises(ValueError, match=r"pattern_coeff is 0\.5, and TransformerLens"):
        to_transformer_lens(model_of(pattern_coeff=0.5))


def test_their_cache_decomposes_our_residual_stream():
    model = model_of().eval()
    _, cache = model.run_with_cache(TOKENS)
    parts, labels = activation_cache(cache, model).decompose_resid(return_labels=True)
    assert labels == ["embed", "pos_embed", "0_attn_out", "0_mlp_out", "1_attn_out", "1_mlp_out"]
    assert_close(parts.sum(0), cache["resid_post", -1])


def test_their_cache_attributes_our_logits():
    model = model_of(normalization_type=None).eval()
    logits, cache = model.run_with_cache(TOKENS)
    parts = activation_cache(cache, model).decompose_resid()
    direct = parts @ model.tokens_to_residual_directions(4)
    assert_close(direct.sum(0), logits[..., 4] - model.b_U[4])


def test_their_patching_runs_our_model():
    from transformer_lens import patching

    model = model_of().eval()
    other = TOKENS.flip(0)
    _, cache = model.run_with_cache(TOKENS)
    grid = patching.get_act_patch_resid_pre(
        model, other, activation_cache(cache, model), lambda logits: logits[:, -1].sum()
    )

    def last_taken(stream, hook):
        return torch.cat([stream[:, :-1], cache[hook.name][:, -1:]], dim=1)

    by_hand = model.run_with_hooks(other, fwd_hooks=[("blocks.1.hook_resid_pre", last_taken)])
    assert grid.shape == (2, 7)
    assert_close(grid[1, -1].double(), by_hand[:, -1].sum(), rtol=1e-5, atol=1e-5)
    assert (by_hand[:, -1].sum() - model(other)[:, -1].sum()).abs() > 1e-3


def test_a_factored_matrix_is_theirs():
    model = model_of()
    assert type(model.OV).__module__.startswith("transformer_lens")
    assert_close(model.OV.AB, model.W_V @ model.W_O)


def test_a_bridge_is_refused_with_the_way_to_a_model_of_ours():
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_native(TransformerBridgeConfig(**SHAPE))
    examples = tokens_as_examples(TOKENS)
    with pytest.raises(ValueError, match=r"hooks\.from_transformer_lens\(model\)"):
        Snapshot.of(bridge, examples)


@needs_hooked_transformer
def test_a_snapshot_takes_a_hooked_transformer_as_it_is():
    model = randomised(theirs())
    examples = tokens_as_examples(TOKENS)
    assert_close(
        Snapshot.of(model, examples).logits(),
        Snapshot.of(from_transformer_lens(model), examples).logits(),
        rtol=1e-5,
        atol=1e-5,
    )


@needs_hooked_transformer
def test_a_model_that_computes_something_else_does_not_come_back():
    model = theirs(attn_scores_soft_cap=0.1)
    with pytest.raises(ValueError, match=r"attn_scores_soft_cap is 0\.1"):
        from_transformer_lens(model)


@needs_hooked_transformer
def test_a_state_of_theirs_loads_with_its_buffers():
    model, states = model_of(), theirs(dtype=torch.float64).state_dict()
    assert "blocks.0.attn.mask" in states
    model.load_state_dict(copy.copy(states))
    assert torch.equal(model.W_E, states["embed.W_E"])
