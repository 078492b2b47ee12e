from typing import Any

import pytest
import torch
from torch.testing import assert_close

from hooks import Sizes, build
from hooks.fast.single import ACTIVATIONS, EveryPosition, training_logits
from hooks.fast.stack import stacked_logits
from hooks.models import ReadInConfig, TokenConfig

KINDS = {
    "one layer": {},
    "LN": {"normalization_type": "LN", "n_layers": 3},
    "LNPre": {"normalization_type": "LNPre", "n_layers": 2},
    "attention only": {"attn_only": True, "n_layers": 2},
    "bidirectional": {"attention_dir": "bidirectional", "n_layers": 2},
    "heads wider than the model": {"d_head": 12},
} | {f"act_fn {name}": {"act_fn": name} for name in ACTIVATIONS}
SHAPE = {"d_model": 8, "n_heads": 2}


def model_of(cls, options):
    """A model whose every parameter is random, biases and norms included."""
    config = cls(**SHAPE | options)
    sizes = {"d_vocab": 7} if cls is TokenConfig else {"d_in": 5}
    sizes = Sizes(d_vocab_out=6, n_ctx=9, **sizes)
    model: Any = build(config, sizes, seed=0, dtype="float64")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model, config


def inputs_of(cls, members=()):
    generator = torch.Generator().manual_seed(2)
    if cls is TokenConfig:
        return torch.randint(7, (*members, 4, 6), generator=generator)
    return torch.randn(*members, 4, 6, 5, generator=generator)


def logits_and_gradients(model, logits_of, inputs):
    logits = logits_of(inputs)
    weights = torch.arange(logits.numel(), dtype=logits.dtype).view_as(logits).sin()
    named = {name: each for name, each in model.named_parameters() if each.requires_grad}
    found = torch.autograd.grad((logits * weights).sum(), list(named.values()), allow_unused=True)
    return {"logits": logits} | dict(zip(named, found, strict=True))


@pytest.mark.parametrize("cls", [TokenConfig, ReadInConfig])
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_logits_and_every_gradient_are_the_models_own(cls, options):
    model, config = model_of(cls, options)
    fast, inputs = training_logits(model, config, "all"), inputs_of(cls)
    assert isinstance(fast, EveryPosition)
    mine, own = (logits_and_gradients(model, each, inputs) for each in (fast, model))
    assert_close(mine, own, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("cls", [TokenConfig, ReadInConfig])
@pytest.mark.parametrize("is_shared", [True, False])
def test_a_stack_is_its_members(cls, is_shared):
    model, config = model_of(cls, {"normalization_type": "LN", "n_layers": 2})
    members = [{n: (1 + i) * p.detach() for n, p in model.named_parameters()} for i in range(3)]
    inputs = inputs_of(cls, () if is_shared else (3,))
    together = stacked_logits(model, config, "all")(
        {name: torch.stack([each[name] for each in members]) for name in members[0]},
        inputs,
        is_shared,
    )
    for index, parameters in enumerate(members):
        own = inputs if is_shared else inputs[index]
        alone = torch.func.functional_call(model, parameters, (own,))
        assert_close(together[index], alone, rtol=1e-9, atol=1e-10)


def test_an_update_makes_far_fewer_kernel_calls():
    model, config = model_of(ReadInConfig, {"normalization_type": "LN", "n_layers": 3})
    counts = []
    for logits_of in (training_logits(model, config, "all"), model):
        with torch.profiler.profile() as profile:
            logits_of(inputs_of(ReadInConfig)).sum().backward()
        counts.append(sum(each.count for each in profile.key_averages()))
    assert counts[0] < 0.6 * counts[1]
