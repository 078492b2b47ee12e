"""Which is the largest of n digits?"""

from typing import ClassVar

import torch
from hooks import Examples, Facts, Sizes
from interp.randomness import generator
from interp.tasks import Batch, Task
from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor


class MyTask(Task):
    """The largest of n digits, read at the last of them.

    All base^n sequences are there. A random half of them is for training, the rest for testing.

    Attributes:
        n: Digits in a sequence.
        base: Different digits.
    """

    # The first split is the one that analyses look at.
    splits: ClassVar = ("all", "train", "test")
    # Splits whose loss and accuracy are recorded during training.
    evaluated: ClassVar = ("train", "test")
    # The model answers once, at the last position.
    positions: ClassVar = "last"

    # What [task] in the experiment's file may say. `name` is given by where this class is.
    n: int = Field(default=4, ge=1, le=6)
    base: int = Field(default=8, ge=2, le=10)

    @property
    def sizes(self) -> Sizes:
        """Digits in, a digit out."""
        return Sizes(d_vocab=self.base, d_vocab_out=self.base, n_ctx=self.n)

    @property
    def facts(self) -> Facts:
        """Chance is the accuracy of always naming the most frequent answer."""
        counts = self._answers(self._sequences()).bincount()
        return Facts(chance=int(counts.max()) / self.base**self.n)

    @property
    def train_count(self) -> int:
        """Half of all sequences."""
        return self.base**self.n // 2

    def data(self, count: int | None, generator: torch.Generator) -> Batch:
        """The first `count` training sequences; targets at the last position only."""
        tokens = self._sequences()[self._order(generator)][: self.train_count][:count]
        targets = self._answers(tokens)[:, None]
        return {"tokens": tokens, "targets": targets, "scored": torch.ones_like(targets).bool()}

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Sequences with what is true of them; labels `largest`, `place` and `train`.

        `place` is the first position at which the largest digit stands.
        """
        self.check_split(split)
        train = self._is_train(seed)
        in_split = {"all": train | True, "train": train, "test": ~train}[split]
        tokens = self._sequences()[in_split]
        targets, scored = torch.zeros_like(tokens), torch.zeros_like(tokens).bool()
        targets[:, -1], scored[:, -1] = self._answers(tokens), True
        return Examples(
            targets=targets,
            scored=scored,
            tokens=tokens,
            labels={
                "largest": self._answers(tokens),
                "place": tokens.argmax(1),
                "train": train[in_split],
            },
            facts=self.facts,
            # What attention views write at the positions.
            words=tuple(tuple(map(str, row)) for row in tokens.tolist()),
        ).drawn(count, seed)

    def _sequences(self) -> Int[Tensor, "sequence n"]:
        """All sequences in counting order."""
        places = self.base ** torch.arange(self.n - 1, -1, -1)
        return torch.arange(self.base**self.n)[:, None] // places % self.base

    def _answers(self, tokens: Int[Tensor, "sequence n"]) -> Int[Tensor, " sequence"]:
        return tokens.amax(1)

    def _order(self, generator: torch.Generator) -> Int[Tensor, " sequence"]:
        """All sequences in random order, those for training first."""
        return torch.randperm(self.base**self.n, generator=generator)

    def _is_train(self, seed: int) -> Bool[Tensor, " sequence"]:
        """Where the training sequences are: drawn as training draws them, from (seed, 0)."""
        is_train = torch.zeros(self.base**self.n, dtype=torch.bool)
        is_train[self._order(generator(seed, 0))[: self.train_count]] = True
        return is_train
