"""Arithmetic modulo p: which class is a + b, a - b, a b or a^2 + b^2?

Tokens are a, b and, as in Nanda et al. 2023 (arXiv:2301.05217), a trailing "=" at which the answer
is read. A random share of all pairs is for training and the rest for testing, as in Power et al.
2022 (arXiv:2201.02177). Alternatively the task names its training pairs one by one, so that a run
has the pairs that other code drew.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import Field, model_validator
from torch import Tensor

from hooks import Examples, Facts, InputFacts, ModularFacts, Sizes
from hooks.circuits.pairs import Pairs
from interp.randomness import generator
from interp.tasks.base import Batch, Task, other_classes, partners, sampled
from interp.tasks.fields import TwoOrMore

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "sum_of_squares": lambda a, b: a * a + b * b,
}
WAVES = {
    "add": "cos w(a + b - c)",
    "subtract": "cos w(a - b - c)",
    "multiply": "cos w(log a + log b - log c)",
}
MAX_PAIRS = 10**8  # pairs of one task, which are all in memory
INDEX_OR_RANGE = re.compile(r"([0-9]{1,12})(?:-([0-9]{1,12}))?")


class ModularArithmetic(Task):
    """c = a op b mod p.

    Attributes:
        p: The modulus.
        operation: add, subtract, multiply, or sum_of_squares (a^2 + b^2).
        train_fraction: Share of all pairs that is drawn for training, strictly between 0 and 1.
        train_pairs: The training pairs themselves, in place of a share. They are indices into all
            pairs in order of a, then b, such as `0-3 7 9-12` (see `read_ranges`).
        ordered: Whether there are all p^2 pairs, or only those with a <= b.
        equals: Whether "=" follows the two numbers, as token p.
    """

    splits: ClassVar = ("all", "train", "test")
    evaluated: ClassVar = ("train", "test")
    positions: ClassVar = "last"
    changes: ClassVar = {"both": False, "a": False, "b": False, "swap": True}

    name: Literal["modular_arithmetic"] = "modular_arithmetic"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    p: TwoOrMore = 113
    operation: Literal["add", "subtract", "multiply", "sum_of_squares"] = "add"
    train_fraction: float | None = Field(default=0.3, gt=0, lt=1)
    train_pairs: str | None = None
    ordered: bool = True
    equals: bool = True

    @model_validator(mode="before")
    @classmethod
    def _named_pairs_leave_no_share(cls, table: Any) -> Any:
        # Where training pairs are named, the default share would contradict them.
        is_named = isinstance(table, Mapping) and table.get("train_pairs") is not None
        return {"train_fraction": None} | dict(table) if is_named else table

    @model_validator(mode="after")
    def _both_splits_have_pairs(self) -> "ModularArithmetic":
        if (self.train_fraction is None) == (self.train_pairs is None):
            raise ValueError("give one of train_fraction and train_pairs")
        if self._total > MAX_PAIRS:
            raise ValueError(f"p {self.p} makes {self._total} pairs, over {MAX_PAIRS}: lower p")
        try:
            count = self.train_count
        except ValueError as error:
            raise ValueError(f"train_pairs: {error}") from None
        if not 0 < count < self._total:
            share = self.train_fraction
            given = f"train_pairs names {count}" if share is None else f"train_fraction {share}"
            raise ValueError(f"{given} of {self._total} pairs, which leaves a split empty")
        return self

    @property
    def sizes(self) -> Sizes:
        """P numbers and "=" in, p classes out."""
        return Sizes(d_vocab=self.p + self.equals, d_vocab_out=self.p, n_ctx=2 + self.equals)

    @property
    def facts(self) -> Facts:
        """The accuracy of guessing, `ModularFacts`, and `InputFacts` where all tokens are operands.

        A wave computes the answer where the operation is a group of at least two
        (`analyses.fourier.basis.residue_order`).
        """
        is_odd_prime = self.p > 2 and all(self.p % d for d in range(2, math.isqrt(self.p) + 1))
        is_group = self.operation != "multiply" or is_odd_prime
        modular = ModularFacts(
            p=self.p,
            operation=self.operation,
            wave=WAVES.get(self.operation, "") if is_group else "",
            ordered_pairs=self.ordered,
        )
        inputs = () if self.equals else (InputFacts(names=tuple(map(str, range(self.p)))),)
        return Facts(chance=1 / self.p, groups=(modular, *inputs))

    @property
    def train_count(self) -> int:
        """Number of training pairs; a share of all is rounded down."""
        if self.train_fraction is None:
            return len(self._named())
        return int(self.train_fraction * self._total)

    @property
    def held(self) -> dict[str, int]:
        """The number of all pairs, which are in memory whatever the training share."""
        return {"p": self._total}

    @property
    def draws_split(self) -> bool:
        """Whether training pairs are drawn, rather than named by `train_pairs`."""
        return self.train_pairs is None

    def with_train(self, train: Bool[Tensor, " n"]) -> "ModularArithmetic":
        """The same task with some of all pairs, in order of a, then b, named for training.

        Raises:
            ValueError: None or all of the pairs are named, or `train` has another length.
        """
        count, total = int(train.sum()), self._total
        if len(train) != total or not 0 < count < total:
            raise ValueError(f"some of {total} pairs are for training, and {count} were given")
        return self.model_copy(
            update={"train_fraction": None, "train_pairs": write_ranges(train.nonzero()[:, 0])}
        )

    def data(self, count: int | None, generator: torch.Generator) -> Batch:
        """The first `count` training pairs in their random order."""
        pairs = self._pairs()[self._trained(generator)][:count]
        targets = self._answers(pairs)[:, None]
        return {
            "tokens": self._tokens(pairs),
            "targets": targets,
            "scored": torch.ones_like(targets, dtype=torch.bool),
        }

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Pairs in order of a, then b; labels `a`, `b`, `c` and `train`."""
        self.check_split(split)
        train = torch.zeros(self._total, dtype=torch.bool)
        train[self._trained(generator(seed, 0))] = True
        in_split = {"all": train | True, "train": train, "test": ~train}[split]
        chosen = sampled(in_split.nonzero()[:, 0], count, seed)
        pairs = self._pairs()[chosen]
        tokens, answers = self._tokens(pairs), self._answers(pairs)
        targets, scored = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
        targets[:, -1], scored[:, -1] = answers, True
        return Examples(
            targets=targets,
            scored=scored,
            tokens=tokens,
            labels={"a": pairs[:, 0], "b": pairs[:, 1], "c": answers, "train": train[chosen]},
            facts=self.facts,
            words=tuple(
                tuple("=" if token == self.p else str(token) for token in row)
                for row in tokens.tolist()
            ),
        )

    def _paired(self, split: str, count: int | None, seed: int, change: str) -> Pairs:
        """Both numbers, or one of them, are others and so is the answer; or they change places.

        Where a - b is wanted, and not b - a, numbers that change places change the answer: those
        pairs are left out, since swapped ones are controls.
        """
        everything = self.examples(split, None, seed)
        clean = sampled(torch.arange(len(everything)), count, seed)
        a, b, c = (everything.label(name) for name in "abc")
        differs = {name: x[clean, None] != x for name, x in {"a": a, "b": b, "c": c}.items()}
        allowed = {
            "both": differs["a"] & differs["b"] & differs["c"],
            "a": differs["a"] & ~differs["b"] & differs["c"],
            "b": ~differs["a"] & differs["b"] & differs["c"],
            "swap": (a[clean, None] == b) & (b[clean, None] == a) & differs["a"] & ~differs["c"],
        }[change]
        rows, corrupted = partners(allowed, seed)
        right = c[clean[rows]]
        wrong = other_classes(right, self.p, seed) if self.changes[change] else c[corrupted]
        return Pairs(
            clean=everything.at(clean[rows]),
            corrupted=everything.at(corrupted),
            position=torch.full_like(right, 1 + self.equals),
            right=right,
            wrong=wrong,
            change=change,
            control=self.changes[change],
            roles={
                name: torch.full_like(right, place)
                for place, name in enumerate(["a", "b", *["="] * self.equals])
            },
        )

    @property
    def _total(self) -> int:
        """How many pairs there are, training and test pairs together."""
        return self.p**2 if self.ordered else self.p * (self.p + 1) // 2

    def _pairs(self) -> Int[Tensor, "n 2"]:
        numbers = torch.arange(self.p)
        if self.ordered:
            return torch.cartesian_prod(numbers, numbers)
        return torch.combinations(numbers, with_replacement=True)

    def _named(self) -> Int[Tensor, " n"]:
        return read_ranges(self.train_pairs or "", self._total)

    def _trained(self, generator: torch.Generator) -> Int[Tensor, " n"]:
        """Indices of the training pairs in their random order."""
        candidates = torch.arange(self._total) if self.draws_split else self._named()
        return candidates[torch.randperm(len(candidates), generator=generator)[: self.train_count]]

    def _answers(self, pairs: Int[Tensor, "n 2"]) -> Int[Tensor, " n"]:
        return OPERATIONS[self.operation](pairs[:, 0], pairs[:, 1]) % self.p

    def _tokens(self, pairs: Int[Tensor, "n 2"]) -> Int[Tensor, "n pos"]:
        if not self.equals:
            return pairs
        return torch.cat([pairs, torch.full_like(pairs[:, :1], self.p)], dim=1)


def write_ranges(indices: Int[Tensor, " n"]) -> str:
    """Indices as text in one line, each once and ascending, neighbours as a range: `0-3 7 9-12`.

    A range includes both its ends, as page numbers do.
    """
    ascending = indices.unique()
    starts = (ascending.diff() > 1).nonzero()[:, 0] + 1
    runs = [run.tolist() for run in torch.tensor_split(ascending, starts.cpu()) if len(run)]
    return " ".join(str(run[0]) + (f"-{run[-1]}" if run[1:] else "") for run in runs)


def read_ranges(text: str, total: int) -> Int[Tensor, " n"]:
    """The indices that a text such as `0-3 7 9-12` names, ascending; none where it is empty.

    Args:
        text: Indices and ranges, separated by spaces.
        total: Every index must be below this number.

    Raises:
        ValueError: A word is neither an index nor a range, comes twice or out of order, or reaches
            `total`.
    """
    ranges, lowest = [torch.empty(0, dtype=torch.long)], 0
    for word in text.split():
        match = INDEX_OR_RANGE.fullmatch(word)
        if match is None:
            raise ValueError(f"'{word[:40]}' is neither an index nor a range such as 3-7")
        first, last = int(match[1]), int(match[2] or match[1])
        if not lowest <= first <= last:
            raise ValueError(f"'{word}' is out of order: name each index once, ascending")
        if last >= total:
            raise ValueError(f"'{word}' reaches beyond the last index, {total - 1}")
        ranges.append(torch.arange(first, last + 1))
        lowest = last + 1
    return torch.cat(ranges)
