"""How much do two trees over the same words agree, and how much would trees that know nothing?

Two trees are compared by their brackets: the spans (start, stop) of all nodes but single words,
the whole sentence among them. Their agreement is compared with that of trees made without looking
at the words: three shapes, and random trees.

Source: Tparseval of Murty et al. 2023 (arXiv:2305.18741).
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from analyses.trees.brackets import Span


def bracketing_f1(matches: float, found: float, gold: float) -> float:
    """Harmonic mean of precision and recall of brackets, over a sentence or a corpus.

    Binary trees over the same words have the same number of brackets, so that precision, recall and
    F1 are equal. The bracket of the whole sentence counts, single words do not.

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
    guessed, gold = sum(count - 1 for count in counts), sum(map(len, golds))
    return {
        name: bracketing_f1(float(matches.sum()), guessed, gold)
        for name, matches in baseline_matches(golds, counts).items()
    }


def baseline_matches(
    golds: Sequence[Sequence[Span]], counts: Sequence[int]
) -> dict[str, Float[np.ndarray, " sentence"]]:
    """Gold brackets in each sentence's trees that know nothing; of random trees, expected ones.

    Args:
        golds: Brackets of the gold trees.
        counts: Words of each sentence.
    """
    both = list(zip(golds, counts, strict=True))
    matches = {
        **{
            shape.__name__: [len({*shape(count)} & {*gold}) for gold, count in both]
            for shape in (right_branching, left_branching, balanced)
        },
        "random": [sum(random_share(span, count) for span in gold) for gold, count in both],
    }
    return {name: np.array(values, dtype=np.float64) for name, values in matches.items()}


def right_branching(count: int) -> list[Span]:
    """Every bracket ends with the last word."""
    return [(start, count) for start in range(count - 1)]


def left_branching(count: int) -> list[Span]:
    """Every bracket begins with the first word."""
    return [(0, stop) for stop in range(count, 1, -1)]


def balanced(count: int) -> list[Span]:
    """Every bracket is split in the middle, the second part the longer where one must be."""
    spans, todo = [], [(0, count)]
    while todo:
        start, stop = todo.pop()
        if stop - start > 1:
            spans.append((start, stop))
            middle = (start + stop) // 2
            todo += [(middle, stop), (start, middle)]
    return spans


def random_share(span: Span, count: int) -> float:
    """The probability that a bracket is in a tree whose brackets are split at random.

    A split must fall on each end of the bracket inside the sentence before any falls within the
    bracket. For m words that is 2 / m (m + 1), or 1 / m where it begins or ends with the sentence.
    """
    start, stop = span
    words = stop - start
    if words == count:
        return 1.0
    return 1 / words if start == 0 or stop == count else 2 / (words * (words + 1))
