"""Dyck languages: which bracket closes the one that was opened last?

Strings consist of k types of matched brackets, of which at most `depth` are open at a time. Every
next bracket is predicted; accuracy is about the type of each closing bracket. A structure says
which brackets open, whatever their types. Validation strings contain only structures that occur in
training; each generalization string contains one that does not, and is much longer: 117 brackets
on average, against 50 in training and 13 in validation.

Source: Murty et al. 2023 (arXiv:2305.18741). Their released code takes the structure of each piece
between returns to depth 0, where the paper says that of the whole string.
"""

import string
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from hooks import Facts, Tree
from interp.tasks.base import Batch, share
from interp.tasks.fields import Count
from interp.tasks.language import dyck_strings
from interp.tasks.language.base import Flat, LanguageTask, flattened
from interp.tasks.language.dyck_strings import Strings, joined, parse

CHUNK_STRINGS = 2**14  # strings drawn at a time; a larger draw begins with the same strings
MAX_CHUNKS = 64  # chunks drawn before strings of a kind are taken to be too rare
WIDTHS = (32, 64, 96, 128, 192, 256, 384, 512, 768)
FAR_BRACKETS = 10  # brackets to the partner, from which on the paper counts


class Dyck(LanguageTask):
    """Strings of matched brackets, one a line.

    The default numbers of lines for validation and generalization have about 5,000 closing
    brackets, which is how many the released code scores of its 20,000.

    Attributes:
        k: Number of types of brackets.
        depth: The greatest number of open brackets.
        structure: What must be new in a generalization line: the open/close sequence of a piece
            between returns to depth 0, as in the released code, or that of the whole string, as in
            the paper.
        n_ctx: Positions of the model. The paper has no such bound.
        longer: What becomes of strings of more than n_ctx - 2 brackets, which leave no room for SOS
            and EOS: they are cut, so that their end is not predicted, or left out.
    """

    metrics: ClassVar = ("loss", "accuracy", "far_accuracy")

    name: Literal["dyck"] = "dyck"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    train_lines: Count | None = 200_000
    validation_lines: Count | None = 784
    generalization_lines: Count | None = 86
    k: int = Field(default=20, ge=1, le=26)
    depth: int = Field(default=10, ge=1, le=1024)  # passes over the brackets
    structure: Literal["pieces", "string"] = "pieces"
    n_ctx: Annotated[Count, Field(ge=8)] = 1024
    longer: Literal["cut", "leave_out"] = "cut"

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """What each token id stands for: PAD, opening brackets, closing brackets, EOS, SOS."""
        letters = string.ascii_lowercase[: self.k]
        opens, closes = [f"({letter}" for letter in letters], [f"{letter})" for letter in letters]
        return ("PAD", *opens, *closes, "EOS", "SOS")

    @property
    def widths(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]  # `n_ctx` decides
        """Numbers of positions that batches are padded to."""
        return (*(width for width in WIDTHS if width < self.n_ctx), self.n_ctx)

    @property
    def facts(self) -> Facts:
        """Names of tokens; `chance` is that of one closing bracket in k."""
        return Facts(chance=1 / self.k, vocabulary=self.vocabulary)

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Loss in nats, and the share of closing brackets whose type is right, the best of k types.

        `accuracy` is over all closing brackets, as the released code scores; `far_accuracy` over
        those at least 10 brackets behind their partner, as the paper says. NaN where there is no
        such bracket.
        """
        targets = batch["targets"]
        best = logits[..., self.k + 1 : 2 * self.k + 1].argmax(-1) + self.k + 1
        distance = distances(targets, self.k, self.depth)
        return {
            "loss": self.loss(logits, batch),
            "accuracy": share(best == targets, distance >= 1, logits.dtype),
            "far_accuracy": share(best == targets, distance >= FAR_BRACKETS, logits.dtype),
        }

    def next_strings(self, rng: np.random.Generator) -> Strings:
        """The next strings of a random stream, without those to leave out."""
        return self._without_longer(dyck_strings.draw(self.k, self.depth, CHUNK_STRINGS, rng))

    def structures(self, strings: Strings) -> list[set[bytes]]:
        """The structures that each string contains."""
        return list(strings.structures(self.structure == "pieces"))

    def _without_longer(self, strings: Strings) -> Strings:
        if self.longer == "leave_out":
            return strings.at(strings.lengths <= self.n_ctx - 2)
        return strings

    def _drawn(self, split: str, key: int) -> Strings:
        train, seen = trained(self, key)  # pyright: ignore[reportArgumentType]  # frozen: can be hashed
        if split == "train":
            return train
        rng, parts, train_keys = np.random.default_rng((key, 1)), [], set(train.row_keys())
        count = getattr(self, f"{split}_lines")
        for _ in range(MAX_CHUNKS):
            drawn = self.next_strings(rng)
            is_known = np.array([structures <= seen for structures in self.structures(drawn)])
            is_trained = np.array([key in train_keys for key in drawn.row_keys()])
            is_new = ~is_known if split == "generalization" else is_known & ~is_trained
            parts.append(drawn.at(is_new))
            if sum(map(len, parts)) >= count:
                return joined(parts).at(slice(count))
        raise ValueError(
            f"{split}_lines {count}: only {sum(map(len, parts))} such strings were found among "
            f"{MAX_CHUNKS * CHUNK_STRINGS}: lower it or train_lines, or raise k or depth"
        )

    def _read(self, path: str) -> Strings:
        return dyck_strings.read(path, self.vocabulary, self.depth)

    def _lines(self, split: str, generator: torch.Generator) -> Strings:
        return self._without_longer(super()._lines(split, generator))

    def _flat(self, lines: Strings) -> Flat:
        lengths = np.minimum(lines.lengths + 2, self.n_ctx)
        starts = np.cumsum(lengths) - lengths
        tokens = np.full(lengths.sum(), 2 * self.k + 1)  # EOS, where nothing else is written below
        tokens[starts] = 2 * self.k + 2
        place = 1 + np.arange(len(lines.brackets)) - np.repeat(lines.offsets[:-1], lines.lengths)
        is_kept = place < np.repeat(lengths, lines.lengths)
        tokens[(np.repeat(starts, lines.lengths) + place)[is_kept]] = lines.brackets[is_kept]
        return flattened(tokens, lengths)

    def _truth(self, lines: Strings, batch: Batch) -> tuple[dict[str, Tensor], tuple[Tree, ...]]:
        tokens, targets = batch["tokens"], batch["targets"]
        opens, closes = (tokens > 0) & (tokens <= self.k), is_closing(tokens, self.k)
        depth = (opens.long() - closes.long()).cumsum(-1)
        fed = (opens | closes).sum(1)
        labels = {
            "depth": depth * batch["scored"],
            "distance": distances(targets, self.k, self.depth),
            "deepest": depth.amax(1),
            "brackets": fed,
        }
        rows = zip(opens.tolist(), fed.tolist(), strict=True)
        return labels, tuple(parse(row[1 : count + 1], 1) for row, count in rows)


@lru_cache(maxsize=2)
def trained(task: Dyck, key: int) -> tuple[Strings, frozenset[bytes]]:
    """The training strings of a task and seed, and all structures in them."""
    rng, parts, count = np.random.default_rng((key, 0)), [], task.train_lines or 0
    while sum(map(len, parts)) < count:
        parts.append(task.next_strings(rng))
    train = joined(parts).at(slice(count))
    return train, frozenset().union(*task.structures(train))


def is_closing(tokens: Int[Tensor, "batch pos"], k: int) -> Tensor:
    """True at closing brackets."""
    return (tokens > k) & (tokens <= 2 * k)


def distances(brackets: Int[Tensor, "batch pos"], k: int, depth: int) -> Int[Tensor, "batch pos"]:
    """For each closing bracket, how many brackets before it its partner is; 0 elsewhere. Pure.

    Cost: `depth` passes over the brackets.

    Args:
        brackets: Token ids: 1 to k open, k + 1 to 2 k close, all others are no brackets.
        k: Number of types of brackets.
        depth: The greatest number of open brackets.
    """
    opens, closes = (brackets > 0) & (brackets <= k), is_closing(brackets, k)
    level = (opens.long() - closes.long()).cumsum(-1)
    places = torch.arange(brackets.shape[-1], device=brackets.device).expand_as(brackets)
    distance = torch.zeros_like(brackets)
    for depth_inside in range(1, depth + 1):
        last_opened = places.where(opens & (level == depth_inside), -1).cummax(-1).values
        closes_it = closes & (level == depth_inside - 1)
        distance = (places - last_opened).where(closes_it, distance)
    return distance
