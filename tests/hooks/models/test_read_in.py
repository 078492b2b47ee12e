import copy
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from hooks import Examples, Sizes, Snapshot, activation_cache, build
from hooks.edit import Edit
from hooks.fast.single import training_logits
from hooks.fast.stack import stacked_logits
from hooks.models import ReadInConfig, config_of, parameters_of, restore

SIZES = Sizes(d_in=3, d_vocab_out=1, n_ctx=6)
OPTIONS = {"n_layers": 2, "d_model": 8, "n_heads": 2, "d_mlp": 16}


def read_in(sizes=SIZES, **options):
    """A model all of whose parameters are random."""
    model = build(ReadInConfig.model_validate(OPTIONS | options), sizes, seed=0, dtype="float64")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    model.train(False)  # as snapshots run it
    return model


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def snapshot_of(model, inputs):
    scored = torch.ones(inputs.shape[:2], dtype=torch.bool)
    return Snapshot.of(
        model, Examples(targets=torch.zeros_like(scored), scored=scored, inputs=inputs)
    )


def test_the_residual_stream_begins_with_read_in_and_position():
    model, inputs = read_in(), drawn(5, 6, 3)
    own = parameters_of(model)
    cache = snapshot_of(model, inputs).cache(["hook_embed", "blocks.0.hook_resid_pre"])
    embed = torch.nn.functional.linear(inputs, own["embed.W_E"].T, own["embed.b_E"])
    assert_close(cache["hook_embed"], embed)
    assert_close(cache["blocks.0.hook_resid_pre"], embed + own["pos_embed.W_pos"])


def test_the_outside_read_in_gives_the_same_numbers():
    model, inputs = read_in(), drawn(5, 4, 3)
    own = parameters_of(model)
    residual = inputs @ own["embed.W_E"] + own["embed.b_E"] + own["pos_embed.W_pos"][:4]
    assert_close(model(residual, start_at_layer=0), model(inputs))


def test_every_hook_point_fires():
    model: Any = read_in()
    cache = model.run_with_cache(drawn(2, 6, 3))[1]  # pyright: ignore[reportAttributeAccessIssue]
    silent = {"hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input", "hook_mlp_in"}
    silent |= {"hook_result"}  # options that are off by default
    wanted = {name for name in model.hook_dict if name.split(".")[-1] not in silent}
    assert wanted == set(cache)


def test_the_parts_of_the_stream_sum_to_it():
    model: Any = read_in()
    cache = model.run_with_cache(drawn(2, 6, 3))[1]  # pyright: ignore[reportAttributeAccessIssue]
    parts, labels = activation_cache(cache, model).decompose_resid(return_labels=True)
    assert labels[:2] == ["embed", "pos_embed"]
    assert_close(parts.sum(0), cache["blocks.1.hook_resid_post"])


def test_later_inputs_do_not_change_earlier_answers():
    model, inputs = read_in(), drawn(4, 6, 3)
    other = torch.cat([inputs[:, :3], drawn(4, 6, 3)[:, 3:] + 1], dim=1)
    assert_close(model(other)[:, :3], model(inputs)[:, :3])


def test_a_single_position_is_the_query_alone():
    model, inputs = read_in(), drawn(4, 6, 3)
    assert_close(model(inputs[:, :1]), model(inputs)[:, :1])


def test_a_checkpoint_holds_the_read_in_and_nothing_unused():
    own = parameters_of(read_in())
    assert own["embed.W_E"].shape == (3, 8)
    assert own["embed.b_E"].shape == (8,)


def test_every_parameter_has_a_gradient():
    model = read_in()
    model(drawn(4, 6, 3)).square().sum().backward()
    assert all(each.grad is not None and each.grad.any() for _, each in model.named_parameters())


def test_a_model_is_restored_from_its_parameters():
    model, inputs = read_in(), drawn(4, 6, 3)
    again = restore(config_of(model), SIZES, parameters_of(model))
    assert type(config_of(model)) is ReadInConfig
    assert torch.equal(again(inputs), model(inputs))


def test_a_copy_is_a_model_of_its_own():
    model, inputs = read_in(), drawn(4, 6, 3)
    before = model(inputs)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        dict(twin.named_parameters())["embed.W_E"].zero_()
    assert torch.equal(model(inputs), before)
    assert not torch.equal(twin(inputs), before)


def test_the_seed_decides_the_read_in():
    first, second, other = (
        parameters_of(build(ReadInConfig(d_model=8), SIZES, seed=seed))["embed.W_E"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_read_in_is_drawn_as_torch_draws_a_linear_layer():
    sizes = Sizes(d_in=16, d_vocab_out=1, n_ctx=2)
    drawn = parameters_of(build(ReadInConfig(d_model=512), sizes, seed=0))
    assert drawn["embed.W_E"].abs().max() <= 1 / 4
    assert drawn["embed.W_E"].std() == pytest.approx(1 / 4 / 3**0.5, rel=0.03)


def test_first_weights_are_gpt2s():
    drawn = parameters_of(build(ReadInConfig(d_model=256), SIZES, seed=0))
    assert drawn["blocks.0.mlp.W_in"].std() == pytest.approx(0.02, rel=0.03)


@pytest.mark.parametrize(
    ("act_fn", "approximate"), [("gelu_new", "tanh"), ("gelu", "none")], ids=["tanh", "exact"]
)
def test_neurons_have_the_gelu_asked_for(act_fn, approximate):
    names = ["blocks.0.mlp.hook_pre", "blocks.0.mlp.hook_post"]
    pre, post = snapshot_of(read_in(act_fn=act_fn), 3 * drawn(50, 6, 3)).cache(names).values()
    assert_close(post, torch.nn.functional.gelu(pre, approximate=approximate))


@pytest.mark.parametrize("positions", ["all", "last"])
def test_the_training_pass_is_the_models_own(positions):
    model, inputs = read_in(), drawn(4, 6, 3)
    logits = training_logits(model, config_of(model), positions)(inputs)
    assert_close(logits, model(inputs)[:, -logits.shape[1] :])
    assert logits.shape[1] == {"all": 6, "last": 1}[positions]


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared inputs", "own inputs"])
def test_every_member_of_a_stack_has_the_outputs_and_gradients_of_its_model(is_shared):
    models = [read_in(), read_in(initializer_range=0.5)]
    members = [parameters_of(model) for model in models]
    inputs = drawn(4, 6, 3) if is_shared else drawn(2, 4, 6, 3)
    stacked = {name: torch.stack([each[name] for each in members]) for name in members[0]}
    stacked = {name: value.requires_grad_() for name, value in stacked.items()}
    together = stacked_logits(models[0], config_of(models[0]), "all")(stacked, inputs, is_shared)
    together.square().sum().backward()
    for index, model in enumerate(models):
        alone = model(inputs if is_shared else inputs[index])
        alone.square().sum().backward()
        assert_close(together[index], alone, rtol=1e-9, atol=1e-9)
        for name, parameter in model.named_parameters():
            gradient = stacked[name].grad
            assert gradient is not None
            assert_close(gradient[index], parameter.grad, rtol=1e-9, atol=1e-9)


def test_views_have_an_input_for_a_token():
    snapshot = snapshot_of(read_in(), drawn(2, 6, 3))
    shapes = {name: list(snapshot.weights(name).shape) for name in ("W_E", "W_pos", "W_U")}
    assert shapes == {"W_E": [3, 8], "W_pos": [6, 8], "W_U": [8, 1]}
    assert snapshot.weights("neuron_in").shape == (2, 3, 16)


def test_edits_of_the_read_in_apply_while_running():
    model, inputs = read_in(), drawn(4, 6, 3)
    cut = Edit(parameters={"embed.W_E": lambda weights: torch.zeros_like(weights)})
    edited = snapshot_of(model, inputs).edited(cut).logits()
    assert_close(edited, snapshot_of(model, torch.zeros_like(inputs)).logits())


def test_inputs_are_taken_in_the_models_dtype():
    model = build(ReadInConfig.model_validate(OPTIONS), SIZES, seed=0)
    assert model(drawn(2, 6, 3)).dtype == torch.float32


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(2, 6, dtype=torch.long), r"real numbers \[batch, pos, 3\] are wanted, got"),
        (torch.zeros(2, 6), r"got torch\.float32 \[2, 6\]"),
        ("text", "got <class 'str'>"),
        (torch.zeros(2, 6, 4), "1 to 6 positions of 3 numbers are wanted, got 6 of 4"),
        (torch.zeros(2, 7, 3), "1 to 6 positions of 3 numbers are wanted, got 7 of 3"),
        (torch.zeros(2, 0, 3), "1 to 6 positions of 3 numbers are wanted, got 0 of 3"),
    ],
)
def test_other_inputs_are_refused(inputs, message):
    with pytest.raises(ValueError, match=rf"\Ainput: [^\n]*{message}[^\n]*\Z"):
        read_in()(inputs)


def test_a_loss_is_the_tasks():
    with pytest.raises(ValueError, match=r"return_type 'loss' .*, and the loss of its task"):
        read_in()(drawn(2, 6, 3), return_type="loss")


def test_a_task_with_tokens_is_refused():
    with pytest.raises(ValueError, match=r"model: kind read_in reads real inputs, .* take token"):
        build(ReadInConfig(), Sizes(d_vocab=7, d_vocab_out=7, n_ctx=2), seed=0)
