"""Many models that share shapes, run as one.

Each parameter is a tensor with a leading axis of members; `torch.func.vmap` runs the model itself,
or its fast path (`hooks.fast.last_position`), over that axis, so that the number of operations does
not grow with the number of models. Networks with one hidden layer are so small that vmap's own work
would be most of it: `hooks.fast.mlp_stack` writes them out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.func import functional_call, vmap

from hooks.fast.last_position import Positions, training_logits
from hooks.fast.mlp_stack import StackedLogits, stacked_neurons
from hooks.models import HookedModel, ModelConfig


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in a row of numbers.

    Attributes:
        shapes: Shape by name, in order.
    """

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def width(self) -> int:
        """Numbers a member."""
        return sum(map(_count, self.shapes.values()))

    def join(self, members: Sequence[Mapping[str, Tensor]]) -> Shaped[Tensor, "member parameter"]:
        """One row a member, of its parameters or of what belongs to each of them."""
        return torch.stack(
            [torch.cat([row[name].flatten() for name in self.shapes]) for row in members]
        )

    def split(self, matrix: Shaped[Tensor, "*member parameter"]) -> dict[str, Tensor]:
        """Views of the rows by name, `[*member, *shape]`."""
        parts = matrix.split([_count(shape) for shape in self.shapes.values()], dim=-1)
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
        From parameters by name `[member, ...]`, inputs `[member, batch, ...]` and whether the
        inputs are shared instead, `[batch, ...]`, to logits `[member, batch, position,
        d_vocab_out]`. Dropout draws anew for every member.
    """
    if config.kind == "mlp":
        return stacked_neurons(model, config)
    forward = training_logits(model, config, positions)
    prefix = "" if forward is model else "model."

    def of_one(
        parameters: Mapping[str, Tensor], inputs: Tensor
    ) -> Float[Tensor, "batch position d_vocab_out"]:
        named = {prefix + name: value for name, value in parameters.items()}
        return functional_call(forward, named, (inputs,))  # pyright: ignore[reportArgumentType]  # a module

    def of_all(parameters: Mapping[str, Tensor], inputs: Tensor, is_shared: bool) -> Tensor:
        axes = (0, None if is_shared else 0)
        return vmap(of_one, in_dims=axes, randomness="different")(parameters, inputs)

    return of_all


def _count(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())
