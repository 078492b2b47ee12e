"""How alike are two trees over the same words, and how alike are trees that know nothing?

Two trees are compared by their brackets: the spans (start, stop) of all nodes but single words,
the whole sentence among them. Beside it stand trees made without looking at the words.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from analyses.trees.brackets import Span


def bracketing_f1(matches: float, found: float, gold: float) -> float:
    """Harmonic mean of precision and recall of brackets, over a sentence or a corpus.

    Binary trees over the same words have as many brackets each, and the three are the same. The
    bracket of the whole sentence counts, single words do not.

    Args:
        matches: Brackets in both trees.
        found: Brackets of the trees in question.
        gold: Brackets of the gold trees.

    Returns:
        A share; NaN where neither tree has a bracket.

    Source:
        Tparseval of Murty et al. 2023 (arXiv:2305.18741).
    """
    return 2 * matches / (found + gold) if found + gold else math.nan


def baseline_f1(golds: Sequence[Sequence[Span]], counts: Sequence[int]) -> dict[str, float]:
    """F1 of trees that know nothing of the words: three shapes, and the mean over random trees.

    Args:
        golds: Brackets of the gold trees.
        counts: Words of each sentence.
    """
    both = list(zip(golds, counts, strict=True))
    matches: dict[str, float] = {
        name: sum(len({*shape(count)} & {*gold}) for gold, count in both)
        for name, shape in SHAPES.items()
    }
    matches["random"] = sum(random_share(span, count) for gold, count in both for span in gold)
    found, gold = sum(count - 1 for count in counts), sum(map(len, golds))
    return {name: bracketing_f1(each, found, gold) for name, each in matches.items()}


def right_branching(count: int) -> list[Span]:
    """Every bracket ends with the last word."""
    return [(start, count) for start in range(count - 1)]


def left_branching(count: int) -> list[Span]:
    """Every bracket begins with the first word."""
    return [(0, stop) for stop in range(count, 1, -1)]


def balanced(count: int) -> list[Span]:
    """Every bracket is split in the middle, the second part the longer where one must be."""
    return _split_everywhere(count, lambda start, stop: (start + stop) // 2)


def random_tree(count: int, generator: torch.Generator) -> list[Span]:
    """Every bracket is split at random, all splits alike likely."""

    def draw(start: int, stop: int) -> int:
        return int(torch.randint(start + 1, stop, (1,), generator=generator))

    return _split_everywhere(count, draw)


def random_share(span: Span, count: int) -> float:
    """How likely a bracket is in such a random tree.

    A split of the whole must fall on each of the bracket's inner ends before any falls inside it:
    of m words 2 / m (m + 1), or 1 / m where it begins or ends with the sentence.
    """
    start, stop = span
    words = stop - start
    if words == count:
        return 1.0
    return 1 / words if start == 0 or stop == count else 2 / (words * (words + 1))


def _split_everywhere(count: int, split: Callable[[int, int], int]) -> list[Span]:
    spans, todo = [], [(0, count)]
    while todo:
        start, stop = todo.pop()
        if stop - start > 1:
            spans.append((start, stop))
            middle = split(start, stop)
            todo += [(middle, stop), (start, middle)]
    return spans


SHAPES: Mapping[str, Callable[[int], list[Span]]] = {
    "right_branching": right_branching,
    "left_branching": left_branching,
    "balanced": balanced,
}
