"""Strings of matched brackets of several types: how they are drawn, cut into pieces and parsed.

A string is a random walk on a stack. At depth 0 it stops or opens a bracket, each with probability
1/2 (it always opens while it has fewer than 4 brackets). Deeper, it opens or closes with
probability 1/2, and at the greatest depth it closes. The type of an opening bracket is drawn
uniformly. Length has no bound. Brackets are ids: 1 to k open, k + 1 to 2 k close.

Source: the generator of Murty et al. 2023 (arXiv:2305.18741), after Hewitt et al. 2020
(arXiv:2010.07515), which is passed a greatest length of 500 and never uses it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int, UInt8

from hooks import Tree
from interp.tasks.data_files import text_lines

MIN_BRACKETS = 4  # brackets of the shortest string


@dataclass(frozen=True, eq=False)
class Strings:
    """Strings of brackets end to end.

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
        ends = self._piece_ends() if in_pieces else self.offsets[1:]
        pieces = [opens[start:stop] for start, stop in pairwise([0, *ends.tolist()])]
        last = np.searchsorted(ends, self.offsets[1:]) + 1
        for first, stop in pairwise([0, *last.tolist()]):
            yield set(pieces[first:stop])

    def _piece_ends(self) -> Int[np.ndarray, " piece"]:
        """Where each piece ends; the last piece of a string ends with the string."""
        steps = np.where(self.brackets <= self.k, 1, -1)
        return np.flatnonzero(np.cumsum(steps) == 0) + 1


def joined(parts: Sequence[Strings]) -> Strings:
    """Strings one after another."""
    return Strings(
        np.concatenate([part.brackets for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        parts[0].k,
    )


def draw(k: int, depth: int, count: int, rng: np.random.Generator) -> Strings:
    """Random strings of k types of brackets.

    Args:
        k: Number of types of brackets.
        depth: The greatest number of open brackets.
        count: How many strings to draw.
        rng: Decides everything that is random.
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
    *before, tree = parts
    for part in reversed(before):
        tree = (part, tree)
    return tree
