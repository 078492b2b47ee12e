"""Many models that share shapes, run as one.

Each parameter is a tensor whose first axis is that of the models. `torch.func.vmap` runs the model
itself, or its fast path (`hooks.fast.single`), over that axis, so that the number of operations
does not grow with the number of models.

A network with one hidden layer has some hundred parameters and costs less than starting an
operation on it, so that vmap's own work would be most of it: such networks are written out as
batched products. Where their neurons are rectified and read real inputs (parity), the backward pass
is written out too. It then passes over the activations as seldom as possible, and twice as many
models fit into a second.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import embedding, pad

from hooks.fast.single import Positions, training_logits
from hooks.models import HookedModel, ModelConfig
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
    ) -> Float[Tensor, "model batch 1 class"]:
        reads, writes = neurons_read(config, parameters), neurons_write(config, parameters)
        columns = writes[..., 1:] if config.one_logit else writes
        bias = parameters["blocks.0.mlp.b_in"] if config.bias_in else None
        is_rectified = config.act_fn == "relu" and not config.dropout
        if model.cfg.d_vocab is None and reads.shape[1] == 1 and is_rectified:
            summed = inputs.sum(-2).to(reads.dtype).expand(len(reads), -1, -1)
            logits: Tensor = Rectified.apply(summed, reads.squeeze(1), bias, columns)  # pyright: ignore[reportAssignmentType]  # torch leaves apply untyped
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
    """relu(x W + b) V of every model; the inputs have no gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Float[Tensor, "model batch d_in"],
        reads: Float[Tensor, "model d_in d_mlp"],
        bias: Float[Tensor, "model d_mlp"] | None,
        writes: Float[Tensor, "model d_mlp class"],
    ) -> Float[Tensor, "model batch class"]:
        """Logits without the output's bias."""
        if bias is None:
            post = torch.bmm(inputs, reads).relu_()
        else:
            post = torch.baddbmm(bias[:, None], inputs, reads).relu_()
        ctx.save_for_backward(inputs, post, writes)
        return torch.bmm(post, writes)

    @staticmethod
    def backward(
        ctx: Any, *gradients: Float[Tensor, "model batch class"]
    ) -> tuple[None, Tensor, Tensor | None, Tensor]:
        """Gradients of W, b and V."""
        inputs, post, writes = ctx.saved_tensors
        [gradient] = gradients
        # What autograd calls for relu: several times faster on a CPU than a mask.
        inward = torch.ops.aten.threshold_backward(torch.bmm(gradient, writes.mT), post, 0)
        of_bias = inward.sum(1) if ctx.needs_input_grad[2] else None
        return None, torch.bmm(inputs.mT, inward), of_bias, torch.bmm(post.mT, gradient)


def _products(
    inputs: Float[Tensor, "*model batch operand d_in"],
    reads: Float[Tensor, "model table d_in d_mlp"],
    is_shared: bool,
) -> Float[Tensor, "model batch d_mlp"]:
    """What neurons receive from real inputs; all operands may share one table of weights."""
    inputs = inputs.to(reads.dtype)
    if reads.shape[1] == 1:
        return inputs.sum(-2) @ reads.squeeze(1)  # inputs without an axis of models broadcast
    axes = "batch operand d" if is_shared else "model batch operand d"
    return einsum(inputs, reads, f"{axes}, model operand d mlp -> model batch mlp")


def _look_ups(
    tokens: Int[Tensor, "*model batch operand"],
    reads: Float[Tensor, "model table token d_mlp"],
    is_shared: bool,
) -> Float[Tensor, "model batch d_mlp"]:
    """What neurons receive from tokens; all operands may share one table of weights."""
    models, tables, vocabulary, _ = reads.shape
    first = torch.arange(models, device=tokens.device)[:, None, None] * tables * vocabulary
    if tables > 1:
        first = first + torch.arange(tables, device=tokens.device) * vocabulary
    return embedding((tokens[None] if is_shared else tokens) + first, reads.flatten(0, 2)).sum(-2)


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in a row that holds all parameters of a model.

    Attributes:
        shapes: Shape by name, in order.
    """

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def width(self) -> int:
        """How many numbers a model has."""
        return sum(map(math.prod, self.shapes.values()))

    def join(self, models: Sequence[Mapping[str, Tensor]]) -> Shaped[Tensor, "model parameter"]:
        """One row for each model: its parameters, or what belongs to each of them, end to end."""
        return torch.stack(
            [torch.cat([tensors[name].flatten() for name in self.shapes]) for tensors in models]
        )

    def split(self, matrix: Shaped[Tensor, "*model parameter"]) -> dict[str, Tensor]:
        """The rows cut into parameters by name, each a view `[*model, *shape]`."""
        parts = matrix.split([math.prod(shape) for shape in self.shapes.values()], dim=-1)
        return {
            name: part.unflatten(-1, shape) if shape else part[..., 0]
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


def stacked_logits(model: HookedModel, config: ModelConfig, positions: Positions) -> StackedLogits:
    """The forward pass of many models at once.

    Args:
        model: A live model of their kind, whose own parameters are not read.
        config: Its config.
        positions: The positions whose logits are wanted.

    Returns:
        From parameters by name `[model, ...]`, inputs `[model, batch, ...]` and whether the
        inputs are shared instead, `[batch, ...]`, to logits `[model, batch, position,
        d_vocab_out]`. Dropout draws anew for every model.
    """
    if isinstance(config, MLPConfig):
        return stacked_neurons(model, config)
    forward = training_logits(model, config, positions, is_stacked=True)
    prefix = "" if forward is model else "model."

    def of_one(
        parameters: Mapping[str, Tensor], inputs: Tensor
    ) -> Float[Tensor, "batch position d_vocab_out"]:
        named = {prefix + name: value for name, value in parameters.items()}
        return functional_call(forward, named, (inputs,))  # pyright: ignore[reportArgumentType]  # a module

    def of_all(parameters: Mapping[str, Tensor], inputs: Tensor, is_shared: bool) -> Tensor:
        axes = (0, None if is_shared else 0)
        # Of torch's kinds of fused attention, vmap knows the one made of plain products.
        with sdpa_kernel(SDPBackend.MATH):
            return vmap(of_one, in_dims=axes, randomness="different")(parameters, inputs)

    return of_all
