"""Sort n digits: 3 1 2 > 1 2 3."""

from typing import ClassVar

import torch
from hooks import Examples, Facts, Sizes
from interp.randomness import generator
from interp.tasks import Batch, Task
from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor


class MyTask(Task):
    """N digits, then the same digits in ascending order, one answer after the other.

    The model reads `3 1 2 > 1 2` and is scored from ">" on, where 1, 2 and 3 are right: at each
    position it knows the answers before. A random half of all sequences is for training.

    Attributes:
        n: Digits in a sequence.
        base: Different digits.
    """

    # The first split is the one that analyses look at.
    splits: ClassVar = ("all", "train", "test")
    # Splits whose loss and accuracy are recorded during training.
    evaluated: ClassVar = ("train", "test")
    # The loss reads the logits at all positions; `scored` says where an answer counts.
    positions: ClassVar = "all"

    # What [task] in the experiment's file may say. `name` is given by where this class is.
    n: int = Field(default=4, ge=2, le=6)
    base: int = Field(default=7, ge=2, le=10)

    @property
    def sizes(self) -> Sizes:
        """Digits and ">" in, a digit out."""
        return Sizes(d_vocab=self.base + 1, d_vocab_out=self.base, n_ctx=2 * self.n)

    @property
    def facts(self) -> Facts:
        """Chance is the accuracy of naming, at each answer's place, its most frequent digit."""
        answers = self._sequences().sort(dim=1).values
        best = [int(of_place.bincount().max()) for of_place in answers.T]
        return Facts(chance=sum(best) / answers.numel())

    @property
    def train_count(self) -> int:
        """Half of all sequences."""
        return self.base**self.n // 2

    def data(self, count: int | None, generator: torch.Generator) -> Batch:
        """The first `count` training sequences; targets are 0 where nothing is scored."""
        digits = self._sequences()[self._order(generator)][: self.train_count][:count]
        return self._batch(digits)

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Sequences with what is true of them; labels `answer` (a digit a position) and `train`."""
        self.check_split(split)
        train = self._is_train(seed)
        in_split = {"all": train | True, "train": train, "test": ~train}[split]
        batch = self._batch(self._sequences()[in_split])
        return Examples(
            targets=batch["targets"],
            scored=batch["scored"],
            tokens=batch["tokens"],
            labels={"answer": batch["targets"], "train": train[in_split]},
            facts=self.facts,
            # What attention views write at the positions.
            words=tuple(
                tuple(">" if token == self.base else str(token) for token in row)
                for row in batch["tokens"].tolist()
            ),
        ).drawn(count, seed)

    def _batch(self, digits: Int[Tensor, "sequence n"]) -> dict[str, Tensor]:
        answers = digits.sort(dim=1).values
        sign = torch.full_like(digits[:, :1], self.base)
        tokens = torch.cat([digits, sign, answers[:, :-1]], dim=1)
        targets = torch.cat([torch.zeros_like(digits), answers], dim=1)
        scored = (torch.arange(2 * self.n) >= self.n).expand_as(tokens).clone()
        return {"tokens": tokens, "targets": targets, "scored": scored}

    def _sequences(self) -> Int[Tensor, "sequence n"]:
        """All sequences in counting order."""
        places = self.base ** torch.arange(self.n - 1, -1, -1)
        return torch.arange(self.base**self.n)[:, None] // places % self.base

    def _order(self, generator: torch.Generator) -> Int[Tensor, " sequence"]:
        """All sequences in random order, those for training first."""
        return torch.randperm(self.base**self.n, generator=generator)

    def _is_train(self, seed: int) -> Bool[Tensor, " sequence"]:
        """Where the training sequences are: drawn as training draws them, from (seed, 0)."""
        is_train = torch.zeros(self.base**self.n, dtype=torch.bool)
        is_train[self._order(generator(seed, 0))[: self.train_count]] = True
        return is_train
