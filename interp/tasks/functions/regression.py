"""What tasks of functions share: prompts of pairs, and a squared loss at every input.

A prompt is x_1, y_1, x_2, y_2, ...: each x is d numbers, and each y is the first of d numbers, of
which the others are 0. At the position of x_k a model has seen k - 1 pairs, and answers y_k.

Source: Garg et al. 2022 (arXiv:2208.01066), section 2 and code: the loss is the mean over all
inputs. That includes the first, before which the function is unknown.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.tasks.base import Batch, Task, scored_mean


class RegressionTask(Task):
    """A task whose answers are real numbers: one output at each position, and a squared loss."""

    metrics: ClassVar = ("loss", "error", "explained")

    def loss(self, logits: Float[Tensor, "batch position 1"], batch: Batch) -> Tensor:
        """Mean squared error over the scored positions. Pure, without indexing by masks."""
        return squared_loss(logits, batch)

    def grade(self, logits: Float[Tensor, "batch position 1"], batch: Batch) -> dict[str, Tensor]:
        """How far the answers are from the right ones: `squared_grade`. Pure, as `loss` is."""
        return {"loss": self.loss(logits, batch)} | squared_grade(logits, batch)


def squared_loss(logits: Float[Tensor, "batch position 1"], batch: Batch) -> Float[Tensor, ""]:
    """Mean squared error over the scored positions. Pure, without indexing by masks."""
    return scored_mean(_squares(logits, batch), batch)


def squared_grade(logits: Float[Tensor, "batch position 1"], batch: Batch) -> dict[str, Tensor]:
    """How far real answers are from the right ones: scalars. Pure, as `squared_loss` is.

    Returns:
        `error`, the mean squared error divided by that of always answering 0; `explained`, 1 minus
        `error` at the last scored position of each prompt.
    """
    scored = batch["scored"]
    is_last = scored & (scored.long().cumsum(1) == scored.sum(1, keepdim=True))
    squares, zero = _squares(logits, batch), batch["targets"].to(logits.dtype).square()
    error, last = (
        (squares * weight).sum() / (zero * weight).sum()
        for weight in (scored.float(), is_last.float())
    )
    return {"error": error, "explained": 1 - last}


def prompts(
    x: Float[Tensor, "prompt pair d"], y: Float[Tensor, "prompt pair"]
) -> dict[str, Tensor]:
    """A batch of prompts, from their pairs.

    Returns:
        `inputs [prompt, 2 pair, d]`, and `targets` and `scored` `[prompt, 2 pair]`, which are y
        and True at the positions of x.
    """
    answers = torch.zeros_like(x)
    answers[..., 0] = y
    scored = torch.tensor([True, False], device=x.device).repeat(x.shape[1])
    return {
        "inputs": torch.stack([x, answers], dim=2).flatten(1, 2),
        "targets": torch.stack([y, torch.zeros_like(y)], dim=2).flatten(1, 2),
        "scored": scored.expand(len(x), -1).clone(),
    }


def _squares(
    logits: Float[Tensor, "batch position 1"], batch: Batch
) -> Float[Tensor, "batch position"]:
    return (logits[..., 0] - batch["targets"].to(logits.dtype)).square()
