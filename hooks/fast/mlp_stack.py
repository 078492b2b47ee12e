"""Many networks with one hidden layer, run as one, written out as batched products.

A network of some hundred parameters costs less than starting an operation on it. Where neurons are
rectified and read real inputs (parity), the backward pass is written out too: it then passes over
the activations as seldom as there can be, and twice as many models fit into a second.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding, pad

from hooks.models.mlp import MLPConfig, neurons_read, neurons_write

StackedLogits = Callable[[Mapping[str, Tensor], Tensor, bool], Tensor]


def stacked_neurons(model: Any, config: MLPConfig) -> StackedLogits:
    """The forward pass of many networks at once.

    Args:
        model: A live network of their kind, whose own parameters are not read.
        config: Its config.

    Returns:
        As `hooks.fast.stack.stacked_logits`.
    """

    def of_all(
        parameters: Mapping[str, Tensor], inputs: Tensor, is_shared: bool
    ) -> Float[Tensor, "member batch 1 class"]:
        reads, writes = neurons_read(config, parameters), neurons_write(config, parameters)
        columns = writes[..., 1:] if config.one_logit else writes
        bias = parameters["blocks.0.mlp.b_in"] if config.bias_in else None
        is_rectified = config.act_fn == "relu" and not config.dropout
        if model.cfg.d_vocab is None and reads.shape[1] == 1 and is_rectified:
            members = inputs.sum(-2).to(reads.dtype).expand(len(reads), -1, -1)
            logits: Tensor = Rectified.apply(members, reads.squeeze(1), bias, columns)  # pyright: ignore[reportAssignmentType]  # torch leaves apply untyped
        else:
            read = _products if model.cfg.d_vocab is None else _look_ups
            pre = read(inputs, reads, is_shared)
            pre = pre if bias is None else pre + bias[:, None]
            logits = model.dropout(model.activates(pre)) @ columns
        if config.bias_out:
            logits = logits + parameters["unembed.b_U"][:, None]
        return (pad(logits, (1, 0)) if config.one_logit else logits).unsqueeze(2)

    return of_all


class Rectified(torch.autograd.Function):
    """relu(x W + b) V of every member; the inputs have no gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Float[Tensor, "member batch d_in"],
        reads: Float[Tensor, "member d_in d_mlp"],
        bias: Float[Tensor, "member d_mlp"] | None,
        writes: Float[Tensor, "member d_mlp class"],
    ) -> Float[Tensor, "member batch class"]:
        """Logits without the output's bias."""
        if bias is None:
            post = torch.bmm(inputs, reads).relu_()
        else:
            post = torch.baddbmm(bias[:, None], inputs, reads).relu_()
        ctx.save_for_backward(inputs, post, writes)
        return torch.bmm(post, writes)

    @staticmethod
    def backward(
        ctx: Any, *gradients: Float[Tensor, "member batch class"]
    ) -> tuple[None, Tensor, Tensor | None, Tensor]:
        """Gradients of W, b and V."""
        inputs, post, writes = ctx.saved_tensors
        [gradient] = gradients
        # What autograd calls for relu: several times faster on a CPU than a mask.
        inward = torch.ops.aten.threshold_backward(torch.bmm(gradient, writes.mT), post, 0)
        of_bias = inward.sum(1) if ctx.needs_input_grad[2] else None
        return None, torch.bmm(inputs.mT, inward), of_bias, torch.bmm(post.mT, gradient)


def _products(
    inputs: Float[Tensor, "*member batch operand d_in"],
    reads: Float[Tensor, "member table d_in d_mlp"],
    is_shared: bool,
) -> Float[Tensor, "member batch d_mlp"]:
    """What neurons receive of real inputs; operands may share one table."""
    inputs = inputs.to(reads.dtype)
    if reads.shape[1] == 1:
        return inputs.sum(-2) @ reads.squeeze(1)  # inputs without members broadcast
    shared = "batch operand d" if is_shared else "member batch operand d"
    return einsum(inputs, reads, f"{shared}, member operand d mlp -> member batch mlp")


def _look_ups(
    tokens: Int[Tensor, "*member batch operand"],
    reads: Float[Tensor, "member table token d_mlp"],
    is_shared: bool,
) -> Float[Tensor, "member batch d_mlp"]:
    """What neurons receive of tokens; operands may share one table."""
    members, tables, vocabulary, _ = reads.shape
    first = torch.arange(members, device=tokens.device)[:, None, None] * tables * vocabulary
    if tables > 1:
        first = first + torch.arange(tables, device=tokens.device) * vocabulary
    rows = (tokens[None] if is_shared else tokens) + first
    return embedding(rows, reads.flatten(0, 2)).sum(-2)
