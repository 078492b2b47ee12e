"""Our HookedTransformer beside that of TransformerLens 3.9, with the same random weights."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from hooks import HookedTransformer, HookedTransformerConfig
from tests.lens import SHAPE, needs_hooked_transformer, randomised, theirs

pytestmark = needs_hooked_transformer

TOKENS = torch.randint(11, (5, 7), generator=torch.Generator().manual_seed(1))
SPLIT = {"use_split_qkv_input": True, "use_attn_result": True, "use_hook_mlp_in": True}
ROTARY = {"positional_embedding_type": "rotary"}
GRID: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "attention only": {"attn_only": True},
    "bidirectional": {"attention_dir": "bidirectional"},
    "parallel": {"parallel_attn_mlp": True},
    "gated": {"gated_mlp": True, "act_fn": "silu"},
    "grouped": {"n_key_value_heads": 1},
    "shortformer": {"positional_embedding_type": "shortformer"},
    "rotary": ROTARY,
    "rotary, some components": ROTARY | {"rotary_dim": 2, "rotary_base": 100},
    "rotary, adjacent": ROTARY | {"rotary_adjacent_pairs": True},
    "inputs by head": {"use_attn_in": True},
    "all hook points": SPLIT,
    "shortformer, all hook points": SPLIT | {"positional_embedding_type": "shortformer"},
    "grouped rotary, all hook points": SPLIT | ROTARY | {"n_key_value_heads": 1},
    "another scale": {"attn_scale": 1.5},
    "another eps": {"eps": 1e-2},
    "parallel gated rotary": ROTARY | {"parallel_attn_mlp": True, "gated_mlp": True},
    **{f"norm {kind}": {"normalization_type": kind} for kind in ("LNPre", "RMS", "RMSPre", None)},
    **{f"act_fn {name}": {"act_fn": name} for name in ("gelu", "gelu_new", "gelu_fast", "silu")},
}
TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-12}
every_shape = pytest.mark.parametrize("options", GRID.values(), ids=GRID)
every_dtype = pytest.mark.parametrize("dtype", TOLERANCES, ids=["float32", "float64"])


def pair(options: dict[str, Any], dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    """Ours and theirs, with the same random weights."""
    ours = HookedTransformer(HookedTransformerConfig(**SHAPE | options, dtype=dtype, seed=0))
    other = theirs(**options, dtype=dtype)
    randomised(ours)
    other.load_state_dict(ours.state_dict(), strict=False)
    return ours, other


def assert_near(ours: torch.Tensor, other: torch.Tensor, scale: float = 1.0) -> None:
    """Equal up to rounding, measured by the largest number, or by a given scale where larger."""
    ours, other = ours.detach(), other.detach()
    finite = other.isfinite()
    assert torch.equal(ours.isfinite(), finite)
    size = max(scale, float(other[finite].abs().max()))
    tolerance = TOLERANCES[other.dtype] * size
    assert_close(ours[finite], other[finite], rtol=0, atol=tolerance)


@every_shape
def test_parameters_have_the_same_names_shapes_and_order(options):
    ours, other = pair(options)
    shapes = [
        [(name, value.shape) for name, value in each.named_parameters()] for each in (ours, other)
    ]
    assert shapes[0] == shapes[1]


@every_shape
def test_one_seed_draws_the_same_weights(options):
    torch.manual_seed(3)
    other = theirs(**options)
    ours = HookedTransformer(HookedTransformerConfig(**SHAPE | options, seed=3))
    drawn = {name: value for name, value in other.named_parameters() if "W_" in name}
    assert all(torch.equal(dict(ours.named_parameters())[name], drawn[name]) for name in drawn)


@every_shape
def test_the_same_hook_points_fire_in_the_same_order(options):
    ours, other = (list(each.run_with_cache(TOKENS)[1].keys()) for each in pair(options))
    assert ours == other


@every_dtype
@every_shape
def test_activations_and_logits_are_equal(options, dtype):
    ours, other = pair(options, dtype)
    with torch.no_grad():
        (logits, cache), (expected, activations) = (
            each.run_with_cache(TOKENS) for each in (ours, other)
        )
    assert_near(logits, expected)
    for name, activation in activations.items():
        assert_near(cache[name], activation)


@every_dtype
@every_shape
@pytest.mark.parametrize("is_training", [True, False])
def test_gradients_are_equal_fused_or_not(options, dtype, is_training):
    ours, other = pair(options, dtype)
    gradients = []
    for model in (ours.train(is_training), other):
        logits = model(TOKENS)
        weights = torch.arange(logits.numel(), dtype=dtype).view_as(logits).sin()
        (logits * weights).sum().backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
    largest = max(float(each.abs().max()) for each in gradients[1].values())
    for name, gradient in gradients[1].items():
        # Gradients add up rows: a float32 may be off by a few times 1e-6 of the largest.
        assert_near(gradients[0][name], gradient, scale=4 * largest)


@every_shape
def test_gradients_of_activations_are_equal(options):
    caches = []
    for model in pair(options):
        _, cache = model.run_with_cache(TOKENS, incl_bwd=True, return_type="loss")
        caches.append(dict(cache.items()))
    # Theirs normalises the stream three times, for queries, keys and values, and keeps the
    # gradient of one of them.
    gradients = {
        name: value
        for name, value in caches[1].items()
        if name.endswith("_grad") and ".ln1." not in name
    }
    assert gradients
    for name, gradient in gradients.items():
        assert_near(caches[0][name], gradient)


@pytest.mark.parametrize("options", [{}, ROTARY, {"normalization_type": None}], ids=str)
def test_padding_on_the_left_is_not_attended_to(options):
    ours, other = pair(options)
    mask = torch.ones(5, 7, dtype=torch.long)
    mask[1, :2] = 0
    mask[3, :4] = 0
    with torch.no_grad():
        logits, expected = (each(TOKENS, attention_mask=mask) for each in (ours, other))
    assert_near(logits[mask.bool()], expected[mask.bool()])


@pytest.mark.parametrize("name", ["blocks.0.attn.hook_z", "blocks.1.hook_resid_mid", "hook_embed"])
def test_a_replaced_activation_has_the_same_consequences(name):
    def replaced(activation, hook):
        return activation.roll(1, 0) * 2

    ours, other = (each.run_with_hooks(TOKENS, fwd_hooks=[(name, replaced)]) for each in pair({}))
    assert_near(ours, other)


def test_weights_of_all_blocks_have_the_same_names():
    ours, other = pair({"normalization_type": None})
    for name in ("W_E", "W_U", "b_U", "W_pos", "W_E_pos", "W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K",
                 "b_V", "b_O", "W_in", "W_out", "b_in", "b_out"):  # fmt: skip
        assert torch.equal(getattr(ours, name), getattr(other, name)), name
    for name in ("QK", "OV"):
        assert_near(getattr(ours, name).AB, getattr(other, name).AB)
    bias = other.accumulated_bias(1, mlp_input=True).double()
    assert_near(ours.accumulated_bias(1, mlp_input=True), bias, scale=1e6)  # theirs is float32
    assert_near(ours.tokens_to_residual_directions(3), other.tokens_to_residual_directions(3))
    assert ours.all_head_labels() == other.all_head_labels()
