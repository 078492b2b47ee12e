"""Repeated tokens: what followed this token when it was last here?

    . . . A B C D . . . . . A B C ?   ->   D

In a sequence of uniformly random tokens, a block is drawn at one place and copied at another. The
tokens of the copy are determined by what is before them, all but its first. How long the block is,
where it stands and how far away its copy is differ from sequence to sequence, so that a model has
to find the block by its content: with a fixed distance one layer does it by position.

Source: the repeated random tokens of Olsson et al. 2022 (arXiv:2209.11895), who repeat one block
at a fixed distance. Blocks that move, and loss on determined tokens alone, are ours.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import model_validator
from torch import Generator, Tensor

from hooks import Examples, Facts, Sizes
from hooks.circuits.pairs import Pairs
from hooks.examples import token_losses
from interp.randomness import generator
from interp.tasks.base import PARTNERS, Batch, Task, other_classes, sampled, scored_mean
from interp.tasks.fields import Count, TwoOrMore


class RepeatedTokens(Task):
    """Random tokens, a block of which comes twice.

    The number of tokens in the block is uniform, its place is uniform where it and its copy fit,
    and the place of the copy is uniform behind it. The query at q, from the first token of the copy
    to the last but one, asks for the next token, which stood at q + 1 - lag too.

    Attributes:
        d_vocab: Number of different tokens.
        length: Tokens in a sequence.
        min_block: Tokens in the shortest block.
        max_block: Tokens in the longest block.
        test_sequences: Number of sequences in the split `test`.
    """

    metrics: ClassVar = ("loss", "accuracy", "first_loss")
    changes: ClassVar = {"block": False, "outside": True}

    name: Literal["repeated_tokens"] = "repeated_tokens"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    d_vocab: TwoOrMore = 64
    length: Count = 32
    min_block: TwoOrMore = 2
    max_block: TwoOrMore = 10
    test_sequences: Count = 1000

    @model_validator(mode="after")
    def _blocks_fit(self) -> "RepeatedTokens":
        if self.min_block > self.max_block:
            raise ValueError(f"min_block {self.min_block} is over max_block {self.max_block}")
        if 2 * self.max_block > self.length:
            raise ValueError(
                f"max_block {self.max_block}: a block and its copy do not fit into length "
                f"{self.length}: raise length"
            )
        return self

    @property
    def sizes(self) -> Sizes:
        """The tokens, as inputs and as outputs."""
        return Sizes(d_vocab=self.d_vocab, d_vocab_out=self.d_vocab, n_ctx=self.length)

    @property
    def facts(self) -> Facts:
        """`chance` is the accuracy of any guess at a random token."""
        return Facts(chance=1 / self.d_vocab)

    def data(self, count: int | None, generator: Generator) -> Batch:
        """Training sequences.

        Raises:
            ValueError: No count is given, and there is no whole training set.
        """
        return self._sequences(self.count_to_draw(count), generator)[0]

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Sequences with the labels `block` (its tokens), `start`, `copy` and `lag`, its distance."""
        self.check_split(split)
        batch, labels = self._sequences(self.test_sequences, generator(seed, 1, 1, 0))
        rows = sampled(torch.arange(self.test_sequences), count, seed)
        return self._examples(batch, labels).at(rows)

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Loss in nats and accuracy on determined tokens, and the loss on those before the copy.

        The last, `first_loss`, is of the next token at every position before the copy. These are
        random: no model can be better than ln d_vocab there, and nothing trains it, so that it
        rises. The in-context score of Olsson et al. 2022 is `loss` less `first_loss`.
        """
        losses = token_losses(logits[:, :-1], batch["tokens"][:, 1:])
        # The predicted token stands before the copy, whose first token is the first scored query.
        is_first = batch["scored"].long().cumsum(1)[:, 1:] == 0
        first_loss = scored_mean(losses, {"scored": is_first})
        return super().grade(logits, batch) | {"first_loss": first_loss}

    def _paired(self, split: str, count: int | None, seed: int, change: str) -> Pairs:
        """One token of the block is another one, the one to be copied; or one outside both blocks.

        The query is one of the sequence's, drawn at random; both inputs are scored there alone,
        since the copy itself does not change. A token outside stands before the query; sequences
        that have none there are left out.
        """
        clean = self.examples(split, count, seed)
        tokens, lag = clean.model_inputs, clean.label("lag")
        drawing = generator(seed, PARTNERS)
        query = torch.multinomial(clean.scored.float(), 1, generator=drawing)[:, 0]
        place, rows = query + 1 - lag, torch.arange(len(clean))
        if change == "outside":
            allowed = self._outside(clean) & (torch.arange(self.length) < query[:, None])
            rows = allowed.any(1).nonzero()[:, 0]
            place[rows] = torch.multinomial(allowed[rows].float(), 1, generator=drawing)[:, 0]
        old = tokens.gather(1, place[:, None])[:, 0]
        new = (old + torch.randint(1, self.d_vocab, old.shape, generator=drawing)) % self.d_vocab
        changed = tokens.scatter(1, place[:, None], new[:, None])
        right = clean.targets.gather(1, query[:, None])[:, 0]
        is_control = self.changes[change]
        answers = (right, right if is_control else new)
        inputs = (
            self._examples(_asked(shown, answer, query), clean.labels).at(rows)
            for shown, answer in zip((tokens, changed), answers, strict=True)
        )
        return Pairs(
            *inputs,
            position=query[rows],
            right=right[rows],
            wrong=(other_classes(right, self.d_vocab, seed) if is_control else new)[rows],
            change=change,
            control=is_control,
            roles={
                "before source": (query - lag)[rows],
                "source": (query + 1 - lag)[rows],
                "query": query[rows],
            },
        )

    def _outside(self, examples: Examples) -> Bool[Tensor, "sequence pos"]:
        """True at tokens of neither the block nor its copy."""
        positions = torch.arange(self.length)
        start, copy, size = (examples.label(name)[:, None] for name in ("start", "copy", "block"))
        is_first, is_second = ((positions >= at) & (positions < at + size) for at in (start, copy))
        return ~(is_first | is_second)

    def _examples(self, batch: Batch, labels: dict[str, Tensor]) -> Examples:
        return Examples(
            targets=batch["targets"],
            scored=batch["scored"],
            tokens=batch["tokens"],
            labels=labels,
            facts=self.facts,
            words=tuple(tuple(map(str, row)) for row in batch["tokens"].tolist()),
        )

    def _sequences(
        self, count: int, drawing: Generator
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Sequences, as a batch, and their labels."""
        sizes = torch.full((count,), self.max_block - self.min_block + 1)
        block = self.min_block + _below(sizes, drawing)
        start = _below(self.length - 2 * block + 1, drawing)
        copy = start + block + _below(self.length - 2 * block - start + 1, drawing)
        lag = copy - start
        tokens = torch.randint(self.d_vocab, (count, self.length), generator=drawing)
        # Every position takes its token from itself, those of the copy from `lag` before.
        positions = torch.arange(self.length)
        ahead = positions - copy[:, None]
        is_copy = (ahead >= 0) & (ahead < block[:, None])
        tokens = tokens.gather(1, positions - is_copy * lag[:, None])
        scored = is_copy & (ahead < block[:, None] - 1)
        targets = torch.where(scored, tokens.roll(-1, dims=1), 0)
        batch = {"tokens": tokens, "targets": targets, "scored": scored}
        return batch, {"block": block, "start": start, "copy": copy, "lag": lag}


def _below(bounds: Int[Tensor, " sequence"], drawing: Generator) -> Int[Tensor, " sequence"]:
    """For each bound a whole number from 0 to below it, all alike likely."""
    share = torch.rand(bounds.shape, generator=drawing, dtype=torch.float64)
    return (share * bounds).long()


def _asked(
    tokens: Int[Tensor, "sequence pos"],
    answers: Int[Tensor, " sequence"],
    query: Int[Tensor, " sequence"],
) -> dict[str, Tensor]:
    """Sequences that are scored at one position each."""
    scored = torch.arange(tokens.shape[1]) == query[:, None]
    targets = torch.where(scored, answers[:, None], 0)
    return {"tokens": tokens, "targets": targets, "scored": scored}
