from typing import Any

import pytest
import torch
from torch.nn.functional import layer_norm
from torch.testing import assert_close

from analyses import WeightNorms
from hooks import Sizes, Snapshot, activation_cache, build
from hooks.models import PostNormConfig, TokenConfig, config_of, parameters_of, restore
from hooks.models.base import HookedModel
from tests.hooks.models.post_norm import SIZES, TOKENS, random_model, tiny
from tests.planted import tokens_as_examples
from tests.tree_oracle import oracle, post_norm_tiny

QUESTIONS = Sizes(d_vocab=71, d_vocab_out=71, n_ctx=36)  # 68 words, padding, start and end


def cached(model: HookedModel) -> Any:
    with torch.no_grad():
        return model.eval().run_with_cache(TOKENS)  # pyright: ignore[reportAttributeAccessIssue]  # a HookedTransformer


@pytest.fixture(scope="module")
def published() -> tuple[dict[str, Any], torch.Tensor, Any]:
    known = oracle()["post_norm_tiny"]["debug_first_sentence"]
    model: Any = post_norm_tiny()
    with torch.no_grad():
        logits, cache = model.eval().run_with_cache(torch.tensor([known["token_ids"]]))
    return known, logits, cache


@pytest.mark.parametrize(
    ("point", "name"),
    [
        ("blocks.0.hook_resid_pre", "embedding_plus_position"),
        ("blocks.1.hook_resid_post", "last_hidden"),
    ],
)
def test_states_are_those_of_the_published_code(published, point, name):
    known, _, cache = published
    assert_close(cache[point][0], torch.tensor(known[name]), rtol=0, atol=2e-6)  # six decimals


def test_logits_are_those_of_the_published_code(published):
    known, logits, _ = published
    expected = torch.tensor(known["logits_at_last_position"])
    assert_close(logits[0, -1], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("n_layers", "norm"), [(2, 106.4), (4, 149.6), (6, 182.8)])
def test_initial_norms_are_those_of_the_published_initialisation(n_layers, norm):
    model = build(PostNormConfig(n_layers=n_layers), QUESTIONS, seed=0)
    examples = tokens_as_examples(torch.zeros(1, 3, dtype=torch.long))
    found = WeightNorms.measure(Snapshot.of(model, examples))
    assert found.total() == pytest.approx(norm, abs=0.1)


@pytest.mark.parametrize(("n_layers", "count"), [(2, 6.37e6), (6, 18.97e6)])
def test_parameters_are_as_many_as_the_paper_models_that_are_used(n_layers, count):
    model = build(PostNormConfig(n_layers=n_layers), QUESTIONS, seed=0)
    assert sum(each.numel() for each in parameters_of(model).values()) == pytest.approx(
        count, abs=5e3
    )


def test_matrices_fill_the_interval_of_xavier():
    weights = parameters_of(build(PostNormConfig(n_layers=1), QUESTIONS, seed=0))
    expected = {
        "embed.W_E": 6 / (71 + 512), "unembed.W_U": 6 / (71 + 512),
        "blocks.0.attn.W_Q": 6 / 1024, "blocks.0.attn.W_V": 6 / 1024,
        "blocks.0.attn.W_O": 6 / 1024, "blocks.0.mlp.W_in": 12 / 2560,
        "blocks.0.mlp.W_out": 6 / 2560, "blocks.0.mlp.b_in": 1 / 512, "unembed.b_U": 1 / 512,
    }  # fmt: skip
    for name, square in expected.items():
        assert float(weights[name].abs().max()) == pytest.approx(square**0.5, rel=0.05)


def test_neither_positions_nor_attention_biases_are_parameters():
    names = set(parameters_of(build(tiny(n_layers=1), SIZES, seed=0)))
    assert names == {
        "embed.W_E", "unembed.W_U", "unembed.b_U",
        *(f"blocks.0.attn.W_{each}" for each in "QKVO"),
        *(f"blocks.0.mlp.{each}" for each in ("W_in", "b_in", "W_out", "b_out")),
        *(f"blocks.0.ln{each}.{kind}" for each in "12" for kind in "wb"),
    }  # fmt: skip


def test_positions_are_waves_of_falling_frequency():
    _, cache = cached(random_model())
    positions = torch.arange(9, dtype=torch.float64)
    expected = torch.stack([positions.sin(), positions.cos()], dim=1)
    assert_close(cache["hook_pos_embed"][0, :, :2], expected)
    slow = positions / 10_000 ** (10 / 12)
    assert_close(cache["hook_pos_embed"][0, :, 10:], torch.stack([slow.sin(), slow.cos()], dim=1))


def test_embedding_and_positions_add_up_to_the_first_residual_stream():
    _, cache = cached(random_model())
    total = cache["hook_embed"] + cache["hook_pos_embed"]
    assert_close(cache["blocks.0.hook_resid_pre"], total)


def test_layer_norm_follows_each_addition():
    model = random_model()
    _, cache = cached(model)
    for layer in range(3):
        pre, mid, post, attn_out, mlp_out = (
            cache[f"blocks.{layer}.hook_{name}"]
            for name in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
        )
        ln1, ln2 = model.blocks[layer].ln1, model.blocks[layer].ln2
        assert_close(mid, layer_norm(pre + attn_out, (12,), ln1.w, ln1.b))
        assert_close(post, layer_norm(mid + mlp_out, (12,), ln2.w, ln2.b))


def test_logits_are_read_off_the_last_residual_stream():
    model = random_model()
    logits, cache = cached(model)
    expected = cache["blocks.2.hook_resid_post"] @ model.unembed.W_U + model.unembed.b_U
    assert_close(logits, expected)


def test_later_tokens_change_nothing_before_them():
    model = random_model()
    changed = TOKENS.clone()
    changed[:, 5:] = 0
    assert_close(model(changed)[:, :5], model(TOKENS)[:, :5])
    assert not torch.allclose(model(changed)[:, 5:], model(TOKENS)[:, 5:])


def test_the_hook_points_are_a_transformers_but_for_the_last_layer_norm():
    plain = TokenConfig(n_layers=3, d_model=12, n_heads=2, normalization_type="LN")
    _, expected = cached(build(plain, SIZES, seed=0))
    _, found = cached(random_model())
    assert set(found) == set(expected) - {"ln_final.hook_scale", "ln_final.hook_normalized"}


@pytest.mark.parametrize("layer", range(4))
def test_a_pass_may_start_and_stop_at_any_layer(layer):
    model = random_model().eval()
    halfway = model(TOKENS, stop_at_layer=layer)
    assert_close(model(halfway, start_at_layer=layer), model(TOKENS))


def test_gradients_flow_to_every_parameter():
    model = random_model()
    model(TOKENS).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_model_comes_back_from_its_parameters():
    model = random_model()
    again = restore(tiny(), SIZES, parameters_of(model))
    assert torch.equal(again(TOKENS), model(TOKENS))


def test_a_live_model_tells_its_config():
    assert config_of(random_model(dropout=0.2)) == tiny(dropout=0.2)


def test_the_residual_stream_is_not_decomposed():
    model = random_model()
    _, cache = cached(model)
    with pytest.raises(ValueError, match="no sum of what parts write"):
        activation_cache(cache, model)


def test_views_are_the_embedding_and_the_unembedding():
    snapshot = Snapshot.of(random_model(), tokens_as_examples(TOKENS))
    assert snapshot.weights("W_E").shape == (11, 12)
    assert snapshot.weights("W_U").shape == (12, 11)
    assert not snapshot.has_weights("neuron_out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_heads": 5}, "d_model 12 is not a multiple of n_heads 5"),
        ({"d_model": 9, "n_heads": 3}, "d_model 9 is odd"),
        ({"dropout": 1.0}, "less than 1"),
        ({"d_head": 4}, "Extra inputs"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_real_inputs_are_refused():
    with pytest.raises(ValueError, match=r"kind post_norm reads tokens, .* take kind mlp"):
        build(tiny(), Sizes(d_in=5, d_vocab_out=2, n_ctx=1), seed=0)
