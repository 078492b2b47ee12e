"""What tasks of functions share: prompts of pairs, squared loss at every input.

A prompt is x_1, y_1, x_2, y_2, ...: each x is d numbers, each y stands in the first of d, zeros
elsewhere. At the position of x_k a model has seen k - 1 pairs, and answers y_k.

Source: Garg et al. 2022 (arXiv:2208.01066), section 2 and code: the loss is the mean over all
inputs, the first, of which nothing is known, included.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.tasks.base import Batch, Task


class RegressionTask(Task):
    """A task whose answers are real numbers: one output a position, squared loss where scored."""

    positions: ClassVar = "all"
    metrics: ClassVar = ("loss", "error", "explained")

    def loss(self, logits: Float[Tensor, "batch position 1"], batch: Batch) -> Tensor:
        """Mean squared error over the scored positions. Pure, without indexing by masks."""
        scored = batch["scored"].to(logits.dtype)
        return (_squares(logits, batch) * scored).sum() / scored.sum()

    def grade(self, logits: Float[Tensor, "batch position 1"], batch: Batch) -> dict[str, Tensor]:
        """How far answers are from what is right: scalars. Pure, as `loss` is.

        Returns:
            `loss`, the mean squared error; `error`, the same over that of always answering 0;
            `explained`, 1 minus such an error at the last scored position of each prompt.
        """
        scored = batch["scored"]
        is_last = scored & (scored.long().cumsum(1) == scored.sum(1, keepdim=True))
        squares, zero = _squares(logits, batch), batch["targets"].to(logits.dtype).square()
        error, last = (
            (squares * each).sum() / (zero * each).sum()
            for each in (scored.float(), is_last.float())
        )
        return {"loss": self.loss(logits, batch), "error": error, "explained": 1 - last}


def prompts(
    x: Float[Tensor, "prompt pair d"], y: Float[Tensor, "prompt pair"]
) -> dict[str, Tensor]:
    """Pairs as a model is fed them.

    Returns:
        `inputs [prompt, 2 pair, d]`; `targets` and `scored` `[prompt, 2 pair]`, y and True at the
        positions of x.
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
