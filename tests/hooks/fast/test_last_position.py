import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from hooks import Sizes, build
from hooks.examples import token_losses
from hooks.fast.single import LastPosition, LastSlice, training_logits
from hooks.models import TokenConfig
from tests.planted import random_model, tiny_config

KINDS = {
    "one layer": {},
    "two layers": {"n_layers": 2},
    "LN": {"normalization_type": "LN"},
    "LNPre in two layers": {"normalization_type": "LNPre", "n_layers": 2},
    "LN and gelu in two layers": {"normalization_type": "LN", "n_layers": 2, "act_fn": "gelu"},
    "attention only": {"attn_only": True},
    "attention only in two layers": {"attn_only": True, "n_layers": 2},
    "bidirectional": {"attention_dir": "bidirectional"},
    "bidirectional in two layers": {"attention_dir": "bidirectional", "n_layers": 2},
    "heads wider than the model": {"d_head": 12},
    "rotary": {"positional_embedding_type": "rotary"},
}
BATCHES = {"computed": 5, "looked up": 40}  # a look-up pays where the batch exceeds 8 tokens
MOD_113 = TokenConfig(d_model=128, n_heads=4, d_mlp=512)


def loss_and_gradients(model, logits_of, n_rows):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(8, (n_rows, 3), generator=generator)
    targets = torch.randint(7, (n_rows, 1), generator=generator)
    loss = token_losses(logits_of(tokens)[:, -1:], targets).mean()
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    return loss, dict(zip(parameters, gradients, strict=True))


def operations_of_an_update(logits_of, n_rows):
    tokens = torch.randint(114, (n_rows, 3), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        logits_of(tokens)[:, -1].sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("n_rows", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_loss_and_every_gradient_are_the_models_own(options, n_rows):
    model = random_model(**options)
    fast = training_logits(model, tiny_config(**options), "last")
    assert_close(
        loss_and_gradients(model, fast, n_rows),
        loss_and_gradients(model, model, n_rows),
        rtol=1e-10,
        atol=1e-12,  # keys' biases have no gradient but rounding: softmax does not see them
    )


@pytest.mark.parametrize("n_rows", [5, 12, 40], ids=["computed", "looked up", "products too"])
@pytest.mark.parametrize("options", [{}, {"attn_only": True}, {"n_layers": 2}], ids=str)
def test_what_stacks_run_has_the_models_loss_and_every_gradient(options, n_rows):
    model = random_model(**options)
    fast = training_logits(model, tiny_config(**options), "last", is_stacked=True)
    assert_close(
        loss_and_gradients(model, fast, n_rows),
        loss_and_gradients(model, model, n_rows),
        rtol=1e-10,
        atol=1e-12,
    )


@pytest.mark.parametrize("n_rows", [100, 500], ids=BATCHES)
def test_an_update_takes_under_six_tenths_of_the_models_operations(n_rows):
    model = build(MOD_113, Sizes(d_vocab=114, d_vocab_out=113, n_ctx=3), seed=0)
    fast = training_logits(model, MOD_113, "last")
    whole = operations_of_an_update(model, n_rows)
    assert operations_of_an_update(fast, n_rows) < 0.6 * whole


def test_looking_up_takes_fewer_operations_an_example_than_computing():
    model = build(MOD_113, Sizes(d_vocab=114, d_vocab_out=113, n_ctx=3), seed=0)
    fast = training_logits(model, MOD_113, "last")
    looked_up, computed = (operations_of_an_update(fast, n_rows) / n_rows for n_rows in (500, 100))
    assert looked_up < 0.8 * computed


def test_only_the_last_position_comes_back():
    model = random_model()
    logits = training_logits(model, tiny_config(), "last")(torch.zeros(4, 3, dtype=torch.long))
    assert logits.shape == (4, 1, 7)


def test_a_standard_model_runs_on_the_fast_path():
    assert isinstance(training_logits(random_model(), tiny_config(), "last"), LastPosition)


def test_a_rotary_model_runs_as_it_is():
    model = random_model(positional_embedding_type="rotary")
    fast = training_logits(model, tiny_config(positional_embedding_type="rotary"), "last")
    assert isinstance(fast, LastSlice)


def test_a_rotary_model_runs_as_it_is_on_all_positions_too():
    model = random_model(positional_embedding_type="rotary")
    assert training_logits(model, tiny_config(positional_embedding_type="rotary"), "all") is model
