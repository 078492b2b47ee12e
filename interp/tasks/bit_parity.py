"""Sparse parity: is the number of ones among the first k of n bits odd?

The other n - k bits are distractors. The network is fed all n bits as real numbers, and a constant
1 as one more input, whose weights are the neurons' biases.

Source: the article "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), 0/1 inputs,
n = 30, k = 3; Merrill et al. 2023 (arXiv:2303.11873), inputs of -1 and 1. Both draw sequences
independently; here all sequences are different, so that no test sequence was trained on.
"""

from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from hooks import Examples, Facts, InputFacts, Sizes
from hooks.circuits.pairs import Pairs
from interp.randomness import generator
from interp.tasks.base import PARTNERS, Batch, Task, sampled, scored_mean
from interp.tasks.fields import Count


class BitParity(Task):
    """The parity of the first k of n random bits: class 1 where the number of ones is odd.

    Attributes:
        n: Number of bits in a sequence.
        k: Number of relevant bits, which are the first of the sequence.
        train_sequences: Number of training sequences.
        test_sequences: Number of test sequences, none of which is a training sequence.
        coding: With zero_one, inputs are 0 and 1; with plus_minus, -1 and 1.
        bias: Whether a constant 1 follows the bits, as input n.
        clip: In the loss, probabilities are clipped to between clip and 1 - clip, so that the loss
            is at least about clip, and has no gradient where it clips. 0 clips nothing.
    """

    splits: ClassVar = ("all", "train", "test")
    evaluated: ClassVar = ("train", "test")
    positions: ClassVar = "last"
    changes: ClassVar = {"relevant": False, "irrelevant": True}

    name: Literal["bit_parity"] = "bit_parity"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    n: int = Field(default=30, ge=1, le=62)  # a sequence is an integer of 64 bits
    k: Count = 3
    train_sequences: Count = 1200
    test_sequences: Count = 5000
    coding: Literal["zero_one", "plus_minus"] = "zero_one"
    bias: bool = True
    clip: float = Field(default=0.0, ge=0, lt=0.5)

    @model_validator(mode="after")
    def _there_are_enough_sequences(self) -> "BitParity":
        if self.k > self.n:
            raise ValueError(f"k {self.k} relevant bits are more than n {self.n} bits: lower k")
        if self._count > 2**self.n:
            raise ValueError(
                f"train_sequences {self.train_sequences} and test_sequences {self.test_sequences} "
                f"are more than the {2**self.n} sequences of n {self.n} bits: lower them"
            )
        return self

    @property
    def sizes(self) -> Sizes:
        """N bits and the constant in, two classes out, one position."""
        return Sizes(d_in=self.n + self.bias, d_vocab_out=2, n_ctx=1)

    @property
    def facts(self) -> Facts:
        """The accuracy of guessing, and `InputFacts`: bits, and the constant where there is one."""
        names = (*(f"bit {i}" for i in range(self.n)), *["bias"] * self.bias)
        inputs = InputFacts(
            names=names,
            relevant=tuple(i < self.k for i in range(len(names))),
            bias_input=self.n if self.bias else None,
        )
        return Facts(chance=0.5, groups=(inputs,))

    @property
    def train_count(self) -> int:
        """Number of training sequences."""
        return self.train_sequences

    def data(self, count: int | None, generator: torch.Generator) -> Batch:
        """The first `count` training sequences in the order they were drawn."""
        return self._batch(self._bits(generator)[: self.train_sequences][:count])

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Sequences in the order they were drawn; labels `parity`, `bit_0` .. and `train`."""
        self.check_split(split)
        train = torch.arange(self._count) < self.train_sequences
        in_split = {"all": train | True, "train": train, "test": ~train}[split]
        chosen = sampled(in_split.nonzero()[:, 0], count, seed)
        bits = self._bits(generator(seed, 0))[chosen]
        batch = self._batch(bits)
        relevant = {f"bit_{i}": bits[:, i] for i in range(self.k)}
        return Examples(
            targets=batch["targets"],
            scored=batch["scored"],
            inputs=batch["inputs"],
            labels={"parity": batch["targets"][:, 0], **relevant, "train": train[chosen]},
            facts=self.facts,
            words=tuple(("".join(map(str, row)),) for row in bits.tolist()),
        )

    def loss(self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch) -> Tensor:
        """Mean cross-entropy in nats; of clipped probabilities, unless `clip` is 0.

        The article's sweep has no loss below 1.19e-7, which a clip of 1e-7 becomes in float32. Its
        rule of four categories depends on that lower bound.
        """
        if not self.clip:
            return super().loss(logits, batch)
        right = torch.softmax(logits, dim=-1).gather(-1, batch["targets"][..., None])[..., 0]
        return scored_mean(-right.clamp(self.clip, 1 - self.clip).log(), batch)

    def _paired(self, split: str, count: int | None, seed: int, change: str) -> Pairs:
        """One relevant bit, or one of the others, is flipped.

        Sequences that differ in one bit are seldom both in a split. The flipped one is of neither,
        unless it happens to be of this one: pairs whose flipped sequence is of the other split only
        are left out.
        """
        everything = self._bits(generator(seed, 0))
        train = torch.arange(self._count) < self.train_sequences
        in_split = {"all": train | True, "train": train, "test": ~train}[split]
        bits = everything[sampled(in_split.nonzero()[:, 0], count, seed)]
        first, end = (0, self.k) if change == "relevant" else (self.k, self.n)
        if first == end:
            return self._pair(bits[:0], bits[:0], change)
        place = torch.randint(first, end, (len(bits),), generator=generator(seed, PARTNERS))
        flipped = bits.scatter(1, place[:, None], 1 - bits.gather(1, place[:, None]))
        weights = 2 ** torch.arange(self.n)
        is_of_other = torch.isin(
            (flipped * weights).sum(1), (everything[~in_split] * weights).sum(1)
        )
        return self._pair(bits[~is_of_other], flipped[~is_of_other], change)

    def _pair(
        self, bits: Int[Tensor, "sequence n"], flipped: Int[Tensor, "sequence n"], change: str
    ) -> Pairs:
        clean, corrupted = (
            Examples(
                targets=batch["targets"],
                scored=batch["scored"],
                inputs=batch["inputs"],
                facts=self.facts,
                words=tuple(("".join(map(str, row)),) for row in sequences.tolist()),
            )
            for sequences in (bits, flipped)
            for batch in [self._batch(sequences)]
        )
        right = clean.targets[:, 0]
        position = torch.zeros_like(right)
        return Pairs(clean, corrupted, position, right, 1 - right, change, self.changes[change])

    @property
    def _count(self) -> int:
        return self.train_sequences + self.test_sequences

    def _bits(self, generator: torch.Generator) -> Int[Tensor, "sequence n"]:
        """All sequences, those for training first."""
        return (
            distinct_integers(self._count, 2**self.n, generator)[:, None] >> torch.arange(self.n)
        ) & 1

    def _batch(self, bits: Int[Tensor, "sequence n"]) -> dict[str, Tensor]:
        """Sequences as a model is fed them, and their answers."""
        coded = bits.float() if self.coding == "zero_one" else 2 * bits.float() - 1
        bias = coded.new_ones(len(bits), int(self.bias))
        return {
            "inputs": torch.cat([coded, bias], dim=1)[:, None],
            "targets": bits[:, : self.k].sum(1, keepdim=True) % 2,
            "scored": torch.ones(len(bits), 1, dtype=torch.bool),
        }


def distinct_integers(count: int, below: int, generator: torch.Generator) -> Int[Tensor, " count"]:
    """Random integers from 0 on, all different, in the order in which they were first drawn.

    Args:
        count: How many, at most `below`.
        below: The integers are smaller than this, which is at most 2^62.
        generator: Decides the draw.
    """
    integers = np.empty(0, dtype=np.int64)
    while len(integers) < count:
        more = torch.randint(below, (count,), generator=generator).numpy()
        drawn = np.concatenate([integers, more])
        integers = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    return torch.from_numpy(integers[:count])
