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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import Field
from torch import Tensor

from hooks import Examples, Facts, Tree
from hooks.circuits.pairs import Pairs
from interp.tasks.base import Batch, other_classes, partners, share
from interp.tasks.data_files import text_lines
from interp.tasks.fields import Count
from interp.tasks.language.base import Flat, LanguageTask, flattened
from interp.tasks.pairing import prompted

MIN_BRACKETS = 4  # brackets of the shortest string
CHUNK_STRINGS = 2**14  # strings drawn at a time; a larger draw begins with the same strings
MAX_CHUNKS = 64  # chunks drawn before strings of a kind are taken to be too rare
WIDTHS = (32, 64, 96, 128, 192, 256, 384, 512, 768)
FAR_BRACKETS = 10  # brackets to the partner, from which on the paper counts


@dataclass(frozen=True, eq=False)
class Strings:
    """Strings of brackets end to end; of the ids, 1 to k open and k + 1 to 2 k close.

    Attributes:
        brackets: The ids of all brackets, one string after another.
        lengths: The number of brackets in each string.
        k: Number of types of brackets.
    """

    brackets: UInt8[np.ndarray, " bracket"]
    lengths: Int[np.ndarray, " string"]
    k: int

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def offsets(self) -> Int[np.ndarray, " offset"]:
        """Where each string begins, and where the last one ends."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def at(self, rows: Int[np.ndarray, " row"] | Bool[np.ndarray, " string"] | slice) -> "Strings":
        """The strings with these row numbers, in this order."""
        starts, lengths = self.offsets[:-1][rows], self.lengths[rows]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return Strings(self.brackets[np.repeat(starts, lengths) + within], lengths, self.k)

    def row_keys(self) -> list[bytes]:
        """A key for each string: its brackets as bytes."""
        brackets = self.brackets.tobytes()
        return [brackets[start:stop] for start, stop in pairwise(self.offsets.tolist())]

    def structures(self, in_pieces: bool) -> Iterator[set[bytes]]:
        """For each string, the set of its structures: which brackets open, whatever their types.

        Args:
            in_pieces: Whether each piece that ends with a return to depth 0 has a structure, rather
                than the whole string.
        """
        opens = (self.brackets <= self.k).tobytes()
        ends = self.offsets[1:]
        if in_pieces:  # the last piece of a string ends with the string
            ends = np.flatnonzero(np.cumsum(np.where(self.brackets <= self.k, 1, -1)) == 0) + 1
        pieces = [opens[start:stop] for start, stop in pairwise([0, *ends.tolist()])]
        for first, stop in pairwise([0, *(np.searchsorted(ends, self.offsets[1:]) + 1).tolist()]):
            yield set(pieces[first:stop])


def joined(parts: Sequence[Strings]) -> Strings:
    """Strings one after another."""
    return Strings(
        np.concatenate([part.brackets for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        parts[0].k,
    )


def draw(k: int, depth: int, count: int, rng: np.random.Generator) -> Strings:
    """Random strings of k types of brackets.

    A string is a random walk on a stack. At depth 0 it stops or opens a bracket, each with
    probability 1/2 (it always opens while it has fewer than 4 brackets). Deeper, it opens or closes
    with probability 1/2, and at the greatest depth it closes. The type of an opening bracket is
    drawn uniformly. Length has no bound.

    Args:
        k: Number of types of brackets.
        depth: The greatest number of open brackets.
        count: How many strings to draw.
        rng: Decides everything that is random.

    Source:
        The generator of Murty et al. 2023 (arXiv:2305.18741), after Hewitt et al. 2020
        (arXiv:2010.07515), which is passed a greatest length of 500 and never uses it.
    """
    stack, level = np.zeros((count, depth), dtype=np.uint8), np.zeros(count, dtype=np.int64)
    lengths = np.zeros(count, dtype=np.int64)
    walking, columns = np.arange(count), []
    while len(walking):
        open_now, heads = level[walking], rng.random(len(walking)) < 0.5
        stops = (open_now == 0) & heads & (len(columns) >= MIN_BRACKETS)
        walking, open_now, heads = walking[~stops], open_now[~stops], heads[~stops]
        opens = (open_now == 0) | (heads & (open_now < depth))
        types = rng.integers(1, k + 1, len(walking))
        stack[walking[opens], open_now[opens]] = types[opens]
        closed = stack[walking, np.maximum(open_now - 1, 0)]
        columns.append((walking, np.where(opens, types, closed + k).astype(np.uint8)))
        level[walking] += np.where(opens, 1, -1)
        lengths[walking] += 1
    starts = np.cumsum(lengths) - lengths
    brackets = np.zeros(lengths.sum(), dtype=np.uint8)
    for place, (rows, ids) in enumerate(columns):
        brackets[starts[rows] + place] = ids
    return Strings(brackets, lengths, k)


def read(path: str, vocabulary: Sequence[str], depth: int) -> Strings:
    """The strings of a published file; a line is a string, brackets and END with single spaces.

    Args:
        path: The file.
        vocabulary: What each id stands for; from 1 on, the k opening and then the k closing
            brackets.
        depth: The greatest number of open brackets.

    Raises:
        ValueError: A line is no such string; the message names file and line.
        FileNotFoundError: There is no such file.
    """
    k = len(vocabulary) // 2 - 1
    ids = {word: index for index, word in enumerate(vocabulary[: 2 * k + 1]) if index}
    strings: list[list[int]] = []
    for number, text in enumerate(text_lines(path), 1):
        *words, last = text.split(" ")
        unknown = [word for word in words if word not in ids]
        if last != "END" or not words:
            raise ValueError(f"{path}:{number}: no string of brackets and END, with single spaces")
        if unknown:
            raise ValueError(f"{path}:{number}: '{unknown[0]}' is none of the {2 * k} brackets")
        strings.append([ids[word] for word in words])
        fault = _fault(strings[-1], k, depth)
        if fault:
            raise ValueError(f"{path}:{number}: {fault}")
    brackets = np.array([bracket for brackets in strings for bracket in brackets], dtype=np.uint8)
    return Strings(brackets, np.array([len(brackets) for brackets in strings]), k)


def _fault(brackets: Sequence[int], k: int, depth: int) -> str:
    """What is wrong with a string of brackets; empty where nothing is."""
    stack: list[int] = []
    for place, bracket in enumerate(brackets, 1):
        if bracket <= k:
            stack.append(bracket)
        elif not stack or stack.pop() != bracket - k:
            return f"bracket {place} closes what is not open"
        if len(stack) > depth:
            return f"bracket {place} is at depth {depth + 1}, and depth is {depth}"
    return f"{len(stack)} brackets are never closed" if stack else ""


def parse(opens: Sequence[bool], first: int) -> Tree:
    """The tree of a string, from the grammar S -> B S | B, B -> ( R, R -> S ) | ).

    The tree branches to the right throughout. Any binary tree of a bracketing is a convention; this
    one is the grammar's derivation. In a string that was cut, the sister of a bracket that is never
    closed is all that follows it.

    Args:
        opens: Whether each bracket opens; every closing bracket has a partner.
        first: The position of the first bracket.
    """
    levels: list[list[Tree]] = [[]]
    for position, is_open in enumerate(opens, first):
        if is_open:
            levels.append([position])
            continue
        opening, *inside = levels.pop()
        levels[-1].append((opening, _to_the_right([*inside, position])))
    while len(levels) > 1:
        unclosed = _to_the_right(levels.pop())
        levels[-1].append(unclosed)
    return _to_the_right(levels[0])


def _to_the_right(parts: Sequence[Tree]) -> Tree:
    """A tree of some parts that branches to the right."""
    return reduce(lambda right, left: (left, right), reversed(parts))


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
    changes: ClassVar = {"type": False, "closed": True}

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

        `accuracy` is over all closing brackets, as the released code scores; `far_accuracy` is over
        closing brackets at least 10 brackets behind their partner, as the paper says. NaN where
        there is no such bracket.
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
        """The next strings of a random stream, without long ones where these are left out."""
        return self._without_longer(draw(self.k, self.depth, CHUNK_STRINGS, rng))

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
            is_known = np.array(
                [structures <= seen for structures in drawn.structures(self.structure == "pieces")]
            )
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
        return read(path, self.vocabulary, self.depth)

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

    def _paired(self, split: str, count: int | None, seed: int, change: str) -> Pairs:
        """Prefixes before a closing bracket; the bracket that it closes gets another type.

        Or, in controls, both brackets of a pair that is closed already. The bracket to be closed is
        never the last of the prefix, so that its type must be fetched from elsewhere, and a closed
        pair is always there. Which brackets open stays, and with it the kind of the split.
        """
        if self.k == 1:
            raise ValueError("k is 1: there is no other type of bracket to change to; raise k")
        examples = self.examples(split, count, seed)
        # Where bracket p + 1 closes, distance[p] is how far before it its partner is.
        rows, query = partners(examples.label("distance") > 1, seed)
        examples, row = examples.at(rows), torch.arange(len(rows))
        distance = examples.label("distance")
        # Whole lines: the last bracket of a line that was cut is a target only.
        lines = torch.cat([examples.model_inputs[:, :1], examples.targets], dim=1)
        closer = query + 1
        if change == "closed":
            is_before = torch.arange(lines.shape[1]) <= query[:, None]
            closer = partners(is_closing(lines, self.k) & is_before, seed, 2)[1]
        opener = closer - distance[row, closer - 1]
        opening = other_classes(lines[row, opener] - 1, self.k, seed, 1) + 1
        changed = lines.scatter(1, opener[:, None], opening[:, None])
        changed = changed.scatter(1, closer[:, None], opening[:, None] + self.k)
        clean = self._prefixes(examples, query)
        tokens = changed[:, : clean.model_inputs.shape[1]] * clean.visible
        targets = changed[:, 1 : 1 + clean.scored.shape[1]] * clean.scored
        words = self._words(tokens, clean.visible.sum(1))
        corrupted = replace(clean, tokens=tokens, targets=targets, words=words)
        right, wrong = lines[row, query + 1], changed[row, query + 1]
        roles = {"opener": query + 1 - distance[row, query], "query": query}
        if change == "closed":
            wrong = other_classes(right - self.k - 1, self.k, seed, 3) + self.k + 1
            roles |= {"closed opener": opener, "closed closer": closer}
        return Pairs(
            clean, corrupted, query, right, wrong, change, self.changes[change], roles=roles
        )

    def _prefixes(self, examples: Examples, position: Int[Tensor, " string"]) -> Examples:
        """Strings up to a position, with the labels and trees of what is left of them."""
        prefixes = prompted(replace(examples, trees=None), position)
        tokens, visible = prefixes.model_inputs, prefixes.visible
        targets = examples.targets[:, : tokens.shape[1]] * visible
        labels, trees = self._structure({"tokens": tokens, "targets": targets, "scored": visible})
        return replace(prefixes, labels=labels, trees=trees)

    def _truth(self, lines: Strings, batch: Batch) -> tuple[dict[str, Tensor], tuple[Tree, ...]]:
        return self._structure(batch)

    def _structure(self, batch: Batch) -> tuple[dict[str, Tensor], tuple[Tree, ...]]:
        tokens = batch["tokens"]
        opens, closes = (tokens > 0) & (tokens <= self.k), is_closing(tokens, self.k)
        depth, n_brackets = (opens.long() - closes.long()).cumsum(-1), (opens | closes).sum(1)
        labels = {
            "depth": depth * batch["scored"],
            "distance": distances(batch["targets"], self.k, self.depth),
            "deepest": depth.amax(1),
            "brackets": n_brackets,
        }
        rows = zip(opens.tolist(), n_brackets.tolist(), strict=True)
        return labels, tuple(parse(row[1 : count + 1], 1) for row, count in rows)


@lru_cache(maxsize=2)
def trained(task: Dyck, key: int) -> tuple[Strings, frozenset[bytes]]:
    """The training strings of a task and seed, and all structures in them."""
    rng, parts, count = np.random.default_rng((key, 0)), [], task.train_lines or 0
    while sum(map(len, parts)) < count:
        parts.append(task.next_strings(rng))
    train = joined(parts).at(slice(count))
    return train, frozenset().union(*train.structures(task.structure == "pieces"))


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
        distance = (places - last_opened).where(closes & (level == depth_inside - 1), distance)
    return distance
