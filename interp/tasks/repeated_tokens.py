"""Repeated tokens: what followed this token when it was last here?

    . . . A B C D . . . . . A B C ?   ->   D

In a sequence of uniformly random tokens, a block is drawn at one place and copied at another. The
tokens of the copy are determined by what is before them, all but its first. How long the block is,
where it stands and how far away its copy is differ from sequence to sequence, so that a model has
to find the block by its content: with a fixed distance one layer does it by position.

Source: the repeated random tokens of Olsson et al. 2022 (arXiv:2209.11895), who repeat one block
at a fixed distance. Blocks that move, and loss on determined tokens alone, are ours.
"""

from collections.abc import Mapping
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
    changes: ClassVar = {"block": False, "match": False, "query": False, "outside": True}

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
        """Sequences with the labels `block` (its length), `start`, `copy` and `lag`."""
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
        """Sequences, each beside one in which another token answers one of its queries, or not.

        The query is one of the sequence's, drawn at random; both inputs are scored there alone.

        - block: The token that answers, in the block and not in its copy, is another one.
        - match: The token before it changes places with another of the block, so that what follows
          that place answers.
        - query: The query's token is another of the block.
        - outside: A token of neither block nor copy, before the query, is another one.

        Sequences with no place for the change are left out: match takes four tokens, query three.
        """
        clean = self.examples(split, count, seed)
        tokens, drawing = clean.model_inputs, generator(seed, PARTNERS)
        query = torch.multinomial(clean.scored.float(), 1, generator=drawing)
        source = query + 1 - clean.label("lag")[:, None]
        right = tokens.gather(1, source)
        allowed = self._places(clean, query, source, change)
        has_place = allowed.any(1, keepdim=True)
        rows = has_place[:, 0].nonzero()[:, 0]
        place = torch.multinomial((allowed | ~has_place).float(), 1, generator=drawing)
        there, after = tokens.gather(1, place), tokens.roll(-1, dims=1).gather(1, place)
        if change == "query":
            changed, answer = tokens.scatter(1, query, there), after
        elif change == "match":
            swapped = tokens.scatter(1, place, tokens.gather(1, source - 1))
            changed, answer = swapped.scatter(1, source - 1, there), after
        else:
            other = other_classes(there[:, 0], self.d_vocab, seed)[:, None]
            changed, answer = tokens.scatter(1, place, other), other
        is_control = self.changes[change]
        wrong = other_classes(right[:, 0], self.d_vocab, seed) if is_control else answer[:, 0]
        return Pairs(
            clean=self._asked(tokens, right, query, clean).at(rows),
            corrupted=self._asked(changed, right if is_control else answer, query, clean).at(rows),
            position=query[rows, 0],
            right=right[rows, 0],
            wrong=wrong[rows],
            change=change,
            control=is_control,
            roles={
                "before source": source[rows, 0] - 1,
                "source": source[rows, 0],
                "query": query[rows, 0],
            },
        )

    def _places(
        self,
        clean: Examples,
        query: Int[Tensor, "sequence 1"],
        source: Int[Tensor, "sequence 1"],
        change: str,
    ) -> Bool[Tensor, "sequence pos"]:
        """True at the places that a change may be made at, or made with.

        Args:
            clean: Sequences.
            query: Where each is asked.
            source: Where the token that answers stood before.
            change: What is changed.
        """
        positions = torch.arange(self.length)
        if change == "block":
            return positions == source
        start, copy, size = (clean.label(name)[:, None] for name in ("start", "copy", "block"))
        ahead, ahead_in_copy = positions - start, positions - copy
        if change == "outside":
            is_inside = (ahead >= 0) & (ahead < size) | (ahead_in_copy >= 0) & (
                ahead_in_copy < size
            )
            return ~is_inside & (positions < query)
        tokens = clean.model_inputs
        asks_otherwise = (tokens != tokens.gather(1, query)) & (
            tokens.roll(-1, dims=1) != tokens.gather(1, source)
        )
        is_apart = (positions - (source - 1)).abs() > (1 if change == "match" else 0)
        return (ahead >= 0) & (ahead < size - 1) & asks_otherwise & is_apart

    def _asked(
        self,
        tokens: Int[Tensor, "sequence pos"],
        answer: Int[Tensor, "sequence 1"],
        query: Int[Tensor, "sequence 1"],
        clean: Examples,
    ) -> Examples:
        """Sequences that are scored at one position each, with the labels of the clean ones."""
        scored = torch.arange(self.length) == query
        batch = {"tokens": tokens, "targets": torch.where(scored, answer, 0), "scored": scored}
        return self._examples(batch, clean.labels)

    def _examples(self, batch: Batch, labels: Mapping[str, Tensor]) -> Examples:
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
