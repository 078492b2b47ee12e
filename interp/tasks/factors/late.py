"""Accuracy at the last answers of a prompt, where the most examples have been seen."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.tasks.base import Batch

LATE = 4  # answers


def late_accuracy(logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch) -> Tensor:
    """Share right among each prompt's last four answers, or all where there are fewer. Pure."""
    right = logits.argmax(-1) == batch["targets"]
    return late_share(right, batch["scored"]).to(logits.dtype)


def late_share(
    right: Bool[Tensor, "batch position"], scored: Bool[Tensor, "batch position"]
) -> Tensor:
    """Share of what is right among each prompt's last four scored positions. Pure."""
    is_late = scored & (scored.long().cumsum(1) > scored.long().sum(1, keepdim=True) - LATE)
    return (right & is_late).sum(dtype=torch.float64) / is_late.sum(dtype=torch.float64)
