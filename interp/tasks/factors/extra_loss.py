"""A further loss that tells a model what the labels alone leave it to find out.

Some of a model's outputs answer the task; the rest, which nothing else reads, are asked for what is
true of the query (`weights`: the value of every factor) or of the prompt (`context`: which factor
is asked for). Both are a supervised side channel: the answers are known to whoever makes the data,
and no user of the task is given them. Metrics are of the answers alone.

Source: Fu et al. 2024 (arXiv:2309.06054) and code: cross-entropy over spare outputs of the last
layer at every query, with its context, times 0.1; all factors have as many outputs as the one of
most values. Of context their loss has 640 outputs for six factors; here it has one a factor.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.loss import token_losses
from interp.tasks.base import Batch

ExtraLoss = Literal["weights", "context"]
SIDE = "side"  # what the spare outputs are asked for, in a batch


def class_losses(
    spare: Float[Tensor, "batch position output"], side: Int[Tensor, "batch position question"]
) -> Float[Tensor, "batch position"]:
    """Cross-entropy in nats, mean over questions, each of which has its share of the outputs."""
    return token_losses(spare.unflatten(-1, (side.shape[-1], -1)), side).mean(-1)


def square_losses(
    spare: Float[Tensor, "batch position output"], side: Float[Tensor, "batch position output"]
) -> Float[Tensor, "batch position"]:
    """Squared errors, mean over outputs."""
    return (spare - side).square().mean(-1)


def at_queries(values: Tensor) -> Tensor:
    """What is asked for at the queries `[prompt, pair, ..]`, with 0 at the answers between them."""
    return torch.stack([values, torch.zeros_like(values)], dim=2).flatten(1, 2)


def mean_at_queries(losses: Float[Tensor, "batch position"], batch: Batch) -> Tensor:
    """Mean over the scored positions. Pure, without indexing by masks."""
    scored = batch["scored"].to(losses.dtype)
    return (losses * scored).sum() / scored.sum()
