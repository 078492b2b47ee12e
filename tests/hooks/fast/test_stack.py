from typing import Any

import pytest
import torch
from torch.testing import assert_close

from hooks import Sizes, build
from hooks.fast.stack import Layout, stacked_logits
from hooks.models import MLPConfig, parameters_of, restore
from tests.planted import tiny_config

MEMBERS = 3
TOKENS = Sizes(d_vocab=7, d_vocab_out=7, n_ctx=2)
BITS = Sizes(d_in=5, d_vocab_out=2, n_ctx=1)
OPERANDS = Sizes(d_in=5, d_vocab_out=3, n_ctx=2)
COLLAPSED: dict[str, Any] = {"collapsed_in": True, "collapsed_out": True, "d_mlp": 6}
CASES = {
    "transformer, last": (tiny_config(), TOKENS, "last"),
    "transformer, all": (tiny_config(n_layers=2), TOKENS, "all"),
    "layer norm": (tiny_config(normalization_type="LN"), TOKENS, "last"),
    "tied": (MLPConfig(d_model=4, d_mlp=6, tied=True), TOKENS, "last"),
    "factored": (MLPConfig(d_model=4, d_mlp=6, bias_in=True, bias_out=True), TOKENS, "last"),
    "own embeddings": (MLPConfig(d_model=4, d_mlp=6, shared_embedding=False), TOKENS, "last"),
    "squares": (MLPConfig(act_fn="square", **COLLAPSED), TOKENS, "last"),
    "parity": (MLPConfig(one_logit=True, **COLLAPSED), BITS, "last"),
    "parity with biases": (
        MLPConfig(one_logit=True, bias_in=True, bias_out=True, **COLLAPSED), BITS, "last"
    ),
    "two real operands": (
        MLPConfig(shared_embedding=False, bias_in=True, **COLLAPSED), OPERANDS, "last"
    ),
    "gelu of real inputs": (MLPConfig(act_fn="gelu", **COLLAPSED), BITS, "last"),
}  # fmt: skip


def drawn_inputs(sizes, *shape) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if sizes.d_vocab is not None:
        return torch.randint(sizes.d_vocab, (*shape, sizes.n_ctx), generator=generator)
    return torch.randn(*shape, sizes.n_ctx, sizes.d_in, generator=generator, dtype=torch.double)


def random_parameters(config, sizes) -> list[dict[str, torch.Tensor]]:
    """Members all of whose parameters are random, biases too."""
    generator = torch.Generator().manual_seed(1)
    models = [build(config, sizes, seed=seed, dtype="float64") for seed in range(MEMBERS)]
    return [
        {
            name: value + 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.double)
            for name, value in parameters_of(model).items()
        }
        for model in models
    ]


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared inputs", "own inputs"])
@pytest.mark.parametrize(("config", "sizes", "positions"), CASES.values(), ids=CASES)
def test_every_member_has_the_logits_and_gradients_of_its_model(
    config, sizes, positions, is_shared
):
    members = random_parameters(config, sizes)
    inputs = drawn_inputs(sizes, 9) if is_shared else drawn_inputs(sizes, MEMBERS, 9)
    stacked = {
        name: torch.stack([each[name] for each in members]).requires_grad_() for name in members[0]
    }
    model = build(config, sizes, seed=0, dtype="float64")
    together = stacked_logits(model, config, positions)(stacked, inputs, is_shared)
    together.square().sum().backward()
    for index, own in enumerate(members):
        alone = restore(config, sizes, own)
        logits = alone(inputs if is_shared else inputs[index])
        logits = logits[:, -1:] if positions == "last" else logits
        assert_close(together[index], logits, rtol=1e-9, atol=1e-9)
        logits.square().sum().backward()
        for name, parameter in alone.named_parameters():
            gradient = stacked[name].grad
            assert gradient is not None
            assert_close(gradient[index], parameter.grad, rtol=1e-9, atol=1e-9)


def test_rows_hold_the_parameters_in_order():
    layout = Layout({"a": (2,), "b": (1, 2)})
    members = [{"a": torch.tensor([1, 2]), "b": torch.tensor([[3, 4]])}]
    assert layout.join(members).tolist() == [[1, 2, 3, 4]]


def test_splitting_undoes_joining():
    layout = Layout({"a": (2,), "b": (1, 3), "c": ()})
    matrix = torch.arange(12).reshape(2, 6)
    split = layout.split(matrix)
    members = [{name: value[i] for name, value in split.items()} for i in range(2)]
    assert torch.equal(layout.join(members), matrix)
