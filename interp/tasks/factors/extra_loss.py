"""A further loss that teaches a model what the labels alone leave it to find out.

Some of a model's outputs answer the task. The other, spare outputs, which nothing else reads, are
trained to give facts of the query (`weights`: the value of every factor) or of the prompt
(`context`: which factor is asked for). Both are supervised: whoever makes the data knows these
facts, but the task gives them to no user. Metrics are about the answers alone.

Source: Fu et al. 2024 (arXiv:2309.06054) and code: cross-entropy over spare outputs of the last
layer at every query, with its context, times 0.1; every factor has as many outputs as the factor
with most values. For context their loss has 640 outputs for six factors; here it has one for each.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.examples import token_losses

ExtraLoss = Literal["weights", "context"]
SIDE = "side"  # the key of a batch under which the targets of the spare outputs stand


def class_losses(
    spare: Float[Tensor, "batch position output"], side: Int[Tensor, "batch position question"]
) -> Float[Tensor, "batch position"]:
    """Cross-entropy in nats, mean over questions; the outputs are divided equally among them."""
    return token_losses(spare.unflatten(-1, (side.shape[-1], -1)), side).mean(-1)


def at_queries(values: Tensor) -> Tensor:
    """Values at the queries `[prompt, pair, ..]`, with 0 inserted at the answers after them."""
    return torch.stack([values, torch.zeros_like(values)], dim=2).flatten(1, 2)
