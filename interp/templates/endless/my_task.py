"""Look up a letter by its place: d b a c 3 asks for the third, a."""

from typing import ClassVar

import torch
from hooks import Examples, Facts, Sizes
from interp.randomness import generator
from interp.tasks import Batch, Task
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


class MyTask(Task):
    """N random letters, then a number from 1 to n: the answer is the letter at that place.

    Prompts are drawn without end, so that an experiment must give `batch_size`.

    Attributes:
        n: Letters in a prompt.
        letters: Different letters.
        test_prompts: Prompts in the split `test`.
    """

    # No fixed training set, hence no split of that name.
    splits: ClassVar = ("test",)
    evaluated: ClassVar = ("test",)
    # The model answers once, at the last position.
    positions: ClassVar = "last"

    # What [task] in the experiment's file may say. `name` is given by where this class is.
    n: int = Field(default=6, ge=1)
    letters: int = Field(default=10, ge=2, le=len(ALPHABET))
    test_prompts: int = Field(default=1000, ge=1)

    @property
    def sizes(self) -> Sizes:
        """Letters and numbers in, a letter out."""
        return Sizes(d_vocab=self.letters + self.n, d_vocab_out=self.letters, n_ctx=self.n + 1)

    @property
    def facts(self) -> Facts:
        """Chance is the accuracy of guessing: all letters are equally frequent."""
        return Facts(chance=1 / self.letters)

    # `train_count` is None unless a task says otherwise: data are drawn without end.

    def data(self, count: int | None, generator: torch.Generator) -> Batch:
        """Fresh training prompts; targets at the last position only.

        Raises:
            ValueError: No count is given, and there is no whole training set.
        """
        tokens = self._prompts(self.count_to_draw(count), generator)
        targets = self._answers(tokens)[:, None]
        return {"tokens": tokens, "targets": targets, "scored": torch.ones_like(targets).bool()}

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Test prompts with what is true of them; labels `place` (from 0) and `letter`."""
        self.check_split(split)
        # Training draws from (seed, phase, batch); no key of two numbers gives the same stream.
        tokens = self._prompts(self.test_prompts, generator(seed, 0))
        targets, scored = torch.zeros_like(tokens), torch.zeros_like(tokens).bool()
        targets[:, -1], scored[:, -1] = self._answers(tokens), True
        return Examples(
            targets=targets,
            scored=scored,
            tokens=tokens,
            labels={"place": tokens[:, -1] - self.letters, "letter": targets[:, -1]},
            facts=self.facts,
            # What attention views write at the positions.
            words=tuple(tuple(map(self._word, row)) for row in tokens.tolist()),
        ).drawn(count, seed)

    def _prompts(self, count: int, generator: torch.Generator) -> Int[Tensor, "prompt pos"]:
        letters = torch.randint(self.letters, (count, self.n), generator=generator)
        places = torch.randint(self.n, (count, 1), generator=generator)
        return torch.cat([letters, self.letters + places], dim=1)

    def _answers(self, tokens: Int[Tensor, "prompt pos"]) -> Int[Tensor, " prompt"]:
        return tokens.gather(1, tokens[:, -1:] - self.letters)[:, 0]

    def _word(self, token: int) -> str:
        return ALPHABET[token] if token < self.letters else str(token - self.letters + 1)
