"""What tasks of functions share: prompts of pairs, and a squared loss at every input.

A prompt is x_1, y_1, x_2, y_2, ...: each x is d numbers, and each y is the first of d numbers, of
which the others are 0. At the position of x_k a model has seen k - 1 pairs, and answers y_k.

Source: Garg et al. 2022 (arXiv:2208.01066), section 2 and code: the loss is the mean over all
inputs. That includes the first, before which the function is unknown.
"""

from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks import Examples, PromptFacts
from hooks.circuits.pairs import Pairs
from interp.randomness import generator
from interp.tasks.base import PARTNERS, Batch, Task, partners, sampled, scored_mean
from interp.tasks.pairing import differing, permuted, prompted


class RegressionTask(Task):
    """A task whose answers are real numbers: one output at each position, and a squared loss."""

    metrics: ClassVar = ("loss", "error", "explained")
    changes: ClassVar = {"example": False, "query": False, "permute": True}

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Prompts of a split, in the order in which they are drawn."""
        self.check_split(split)
        return self._shown(split, seed).head(count)

    def _shown(
        self, split: str, seed: int, queries: Int[Tensor, " prompt"] | None = None
    ) -> Examples:
        """All prompts of a split.

        Args:
            split: One of `splits`.
            seed: The run's data seed.
            queries: For each prompt, the prompt from which it takes its last x; its function is the
                same with any of them. Its own where left out.
        """
        raise NotImplementedError

    def _paired(self, split: str, count: int | None, seed: int, change: str) -> Pairs:
        """Prompts up to the last x, beside one that takes something from another prompt.

        An example, or the last x, is that of another prompt of the same group (function class and
        value of the split). In controls the examples stand in another order.
        """
        shown = self._shown(split, seed)
        rows = sampled(torch.arange(len(shown)), count, seed)
        is_partner = torch.arange(len(shown)) != rows[:, None]
        for label in _groups(shown):
            is_partner &= shown.label(label)[rows, None] == shown.label(label)
        kept, others = partners(is_partner, seed)
        rows, last = rows[kept], shown.model_inputs.shape[1] - 2
        position = torch.full_like(rows, last)
        example = 2 * torch.randint(last // 2, rows.shape, generator=generator(seed, PARTNERS + 1))
        clean = prompted(shown.at(rows), position)
        corrupted, inputs = clean, clean.model_inputs.clone()
        if change == "example":
            for place in (example, example + 1):
                inputs[torch.arange(len(rows)), place] = shown.model_inputs[others, place]
        elif change == "query":
            queries = torch.arange(len(shown)).index_put((rows,), others)
            corrupted = prompted(self._shown(split, seed, queries).at(rows), position)
            inputs[:, last] = corrupted.model_inputs[:, last]
        else:
            inputs = permuted(inputs, 2, seed)
        pairs = Pairs(
            clean=clean,
            corrupted=replace(corrupted, inputs=inputs),
            position=position,
            change=change,
            control=self.changes[change],
            roles={"example x": example, "example y": example + 1, "query": position},
        )
        return differing(pairs)

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


def with_queries(
    x: Float[Tensor, "prompt pair d"], queries: Int[Tensor, " prompt"] | None
) -> Float[Tensor, "prompt pair d"]:
    """Inputs of which each prompt's last is that of another prompt; its own where left out."""
    return x if queries is None else torch.cat([x[:, :-1], x[queries, -1:]], dim=1)


def _groups(examples: Examples) -> tuple[str, ...]:
    """The labels by which prompts are grouped."""
    group = examples.facts(PromptFacts).group
    return tuple(group.split(", ")) if group else ()


def _squares(
    logits: Float[Tensor, "batch position 1"], batch: Batch
) -> Float[Tensor, "batch position"]:
    return (logits[..., 0] - batch["targets"].to(logits.dtype)).square()
