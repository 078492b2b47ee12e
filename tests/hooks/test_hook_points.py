import pytest
import torch
from torch.testing import assert_close

from hooks import HookedTransformer, HookedTransformerConfig
from tests.lens import SHAPE, randomised

TOKENS = torch.randint(11, (3, 7), generator=torch.Generator().manual_seed(1))
Z = "blocks.0.attn.hook_z"


@pytest.fixture
def model():
    return randomised(HookedTransformer(HookedTransformerConfig(**SHAPE, seed=0))).eval()


def zeroed(activation, hook):
    return torch.zeros_like(activation)


def test_a_function_replaces_what_passes(model):
    plain = model(TOKENS)
    changed = model.run_with_hooks(TOKENS, fwd_hooks=[(Z, zeroed)])
    assert not torch.allclose(plain, changed)
    assert torch.equal(model(TOKENS), plain)


def test_a_function_that_returns_nothing_changes_nothing(model):
    seen = []
    logits = model.run_with_hooks(
        TOKENS, fwd_hooks=[(Z, lambda activation, hook: seen.append(hook.name))]
    )
    assert seen == [Z]
    assert torch.equal(logits, model(TOKENS))


def test_hooks_of_the_with_leave_and_others_stay(model):
    model.add_hook(Z, zeroed)
    changed = model(TOKENS)
    with model.hooks(fwd_hooks=[("hook_embed", zeroed)]):
        assert not torch.equal(model(TOKENS), changed)
    assert torch.equal(model(TOKENS), changed)


def test_permanent_hooks_stay_until_they_are_told_to_go(model):
    plain = model(TOKENS)
    model.add_perma_hook(Z, zeroed)
    model.reset_hooks()
    assert not torch.equal(model(TOKENS), plain)
    model.reset_hooks(including_permanent=True)
    assert torch.equal(model(TOKENS), plain)


def test_hooks_leave_when_the_body_raises(model):
    with pytest.raises(ZeroDivisionError), model.hooks(fwd_hooks=[(Z, zeroed)]):
        raise ZeroDivisionError
    assert not model.hook_dict[Z].is_hooked


def test_hooks_leave_when_a_later_name_is_unknown(model):
    hooks = [(Z, zeroed), ("blocks.0.hook_zz", zeroed)]
    with pytest.raises(ValueError, match=r"no hook point 'blocks\.0\.hook_zz'; did you mean"):
        model.run_with_hooks(TOKENS, fwd_hooks=hooks)
    assert not model.hook_dict[Z].is_hooked


def test_a_prepended_function_runs_first(model):
    order = []
    model.add_hook(Z, lambda activation, hook: order.append("late"))
    model.add_hook(Z, lambda activation, hook: order.append("early"), prepend=True)
    model(TOKENS)
    assert order == ["early", "late"]


def test_a_function_of_names_chooses_hook_points(model):
    _, cache = model.run_with_cache(TOKENS, names_filter=lambda name: name.endswith("resid_post"))
    assert list(cache) == ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]


def test_gradients_pass_backward_hooks_and_may_be_replaced(model):
    gradients = {}

    def keep(gradient, hook):
        gradients[hook.name] = gradient

    def stop(gradient, hook):
        return torch.zeros_like(gradient)

    with model.hooks(bwd_hooks=[("blocks.1.hook_resid_pre", stop), ("hook_embed", keep)]):
        model(TOKENS).sum().backward()
    assert (gradients["hook_embed"] == 0).all()


def test_a_cached_gradient_is_that_of_autograd(model):
    activations = []

    def keep(activation, hook):
        activation.retain_grad()
        activations.append(activation)

    with model.hooks(fwd_hooks=[(Z, keep)]):
        model(TOKENS, return_type="loss").backward()
    _, cache = model.run_with_cache(TOKENS, incl_bwd=True, return_type="loss")
    assert_close(cache[f"{Z}_grad"], activations[0].grad)


def test_a_cache_answers_to_short_names(model):
    _, cache = model.run_with_cache(TOKENS)
    assert cache["pattern", 1] is cache["blocks.1.attn.hook_pattern"]
    assert cache["resid_post", -1] is cache["blocks.1.hook_resid_post"]
    assert cache["scale", 0, "ln2"] is cache["blocks.0.ln2.hook_scale"]
    assert cache["embed"] is cache["hook_embed"]


def test_a_short_name_of_nothing_or_of_several_is_refused(model):
    _, cache = model.run_with_cache(TOKENS)
    with pytest.raises(ValueError, match=r"no single activation .*'patern'.*hook_pattern"):
        cache["patern", 0]
    with pytest.raises(ValueError, match=r"no single activation .*blocks\.0\.ln1\.hook_scale"):
        cache["scale", 0]


def test_one_example_may_lose_its_batch(model):
    _, cache = model.run_with_cache(TOKENS[:1], remove_batch_dim=True)
    assert cache[Z].shape == (7, 3, 4)


def test_a_point_that_an_option_keeps_from_firing_says_which(model):
    with pytest.raises(ValueError, match=r"does not fire .* model\.cfg\.use_attn_result = True"):
        model.add_hook("blocks.0.attn.hook_result", zeroed)
    model.cfg.use_attn_result = True
    _, cache = model.run_with_cache(TOKENS)
    total = cache["blocks.0.attn.hook_result"].sum(2) + model.blocks[0].attn.b_O
    assert_close(total, cache["blocks.0.hook_attn_out"])


def test_points_know_their_layer(model):
    assert model.hook_dict[Z].layer() == 0
    with pytest.raises(ValueError, match="hook_embed is in no block"):
        model.hook_dict["hook_embed"].layer()


def test_reset_forgets_what_functions_kept(model):
    model.hook_dict[Z].ctx["here"] = 1
    model.reset_hooks()
    assert model.hook_dict[Z].ctx == {}


def test_a_refused_call_leaves_no_hook_of_names_before_the_wrong_one(model):
    names = ["hook_embed", "blocks.0.hook_q_input"]
    with pytest.raises(ValueError, match="use_split_qkv_input"):
        model.run_with_hooks(TOKENS, fwd_hooks=[(names, zeroed)])
    assert not model.hook_dict["hook_embed"].is_hooked


def test_writing_to_an_activation_leaves_the_weights_alone(model):
    before = model.W_pos.detach().clone()
    with torch.no_grad():
        for name in model.hook_dict:
            if not name.endswith(("_input", "attn_in", "mlp_in", "hook_result")):
                model.run_with_hooks(TOKENS, fwd_hooks=[(name, lambda x, hook: x.mul_(0))])
    assert torch.equal(model.W_pos, before)


def test_a_negative_layer_counts_the_models_layers(model):
    _, cache = model.run_with_cache(TOKENS, names_filter="blocks.0.hook_resid_post")
    with pytest.raises(ValueError, match="no single activation"):
        cache["resid_post", -1]


def test_keys_that_a_hook_hides_are_hidden_from_a_blended_pattern_too():
    options = {"pattern_coeff": 0.5, "attention_dir": "bidirectional"}
    model = HookedTransformer(HookedTransformerConfig(**SHAPE | options, seed=0)).eval()

    def hide(scores, hook):
        return scores.index_fill(-1, torch.tensor([2]), -torch.inf)

    patterns = []
    with model.hooks(fwd_hooks=[("blocks.0.attn.hook_attn_scores", hide)]):
        _, cache = model.run_with_cache(TOKENS, names_filter="blocks.0.attn.hook_pattern")
        patterns.append(cache["pattern", 0])
    assert (patterns[0][..., 2] == 0).all()
    assert (patterns[0][..., 3] > 0.5).all()
