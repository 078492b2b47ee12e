"""Which words do the gold trees of examples stand over?

The positions of a sentence's words, examples without what follows the sentence, and the sentences
as a result holds them: words, lengths and gold brackets, one sentence after the other.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from analyses.trees.brackets import first_leaf, spans_of
from hooks import Examples


def first_word(examples: Examples) -> int:
    """The position of every sentence's first word; what stands before it is no word.

    Raises:
        ValueError: There are no trees, or sentences begin at different positions.
    """
    firsts = {first_leaf(tree) for tree in _trees(examples)}
    if len(firsts) != 1:
        raise ValueError(f"trees: sentences begin at the positions {sorted(firsts)}; give one")
    return firsts.pop()


def word_counts(examples: Examples) -> Int[Tensor, " batch"]:
    """How many words each sentence has."""
    trees = (spans_of(tree) for tree in _trees(examples))
    return torch.tensor([spans[0][1] - spans[0][0] if spans else 1 for spans in trees])


def short_sentences(examples: Examples, longest: int) -> Examples:
    """The examples whose sentences have at most `longest` words; if none has, the shortest ones.

    Raises:
        ValueError: `longest` is less than 1, or there are no trees.
    """
    if longest < 1:
        raise ValueError(f"longest = {longest}: a sentence has at least one word")
    counts = word_counts(examples)
    is_short = counts <= max(longest, int(counts.min()))
    return examples if is_short.all() else examples.at(is_short.nonzero()[:, 0])


def sentences_only(examples: Examples) -> Examples:
    """The examples cut after the last word of their gold trees.

    What precedes the sentence stays: a start token. Labels with one value for each position,
    targets and words are cut at the same places.

    Raises:
        ValueError: There are no trees, or sentences begin at different positions.
    """
    lengths = first_word(examples) + word_counts(examples)
    longest, n_pos = int(lengths.max()), examples.model_inputs.shape[1]
    # What is answered after the sentence (at its end sign) is cut off with it.
    is_kept = (torch.arange(longest) < lengths[:, None]).to(examples.scored.device)
    return replace(
        examples,
        targets=examples.targets[:, :longest] * is_kept,
        scored=examples.scored[:, :longest] & is_kept,
        tokens=None if examples.tokens is None else examples.tokens[:, :longest],
        inputs=None if examples.inputs is None else examples.inputs[:, :longest],
        lengths=lengths.to(examples.model_inputs.device),
        labels={
            name: values[:, :longest] if values.shape[1:2] == (n_pos,) else values
            for name, values in examples.labels.items()
        },
        words=examples.words
        and tuple(
            row[:length] for row, length in zip(examples.words, lengths.tolist(), strict=True)
        ),
    )


def sentence_words(examples: Examples) -> list[tuple[str, ...]]:
    """The words of each sentence for people to read; its tokens' numbers where there are none."""
    cut, first = sentences_only(examples), first_word(examples)
    lengths = cut.visible.sum(1).tolist()
    texts = cut.words or [tuple(map(str, row)) for row in cut.model_inputs.tolist()]
    return [tuple(row[first:length]) for row, length in zip(texts, lengths, strict=True)]


def sentence_table(examples: Examples) -> dict[str, Any]:
    """What a result holds of its sentences, one after the other.

    Returns:
        `vocabulary`, the words that occur; `words` by number in it, `lengths` in words; `gold`,
        the brackets (start, stop) of the gold trees, and `gold_counts`, how many each has.
    """
    first, texts = first_word(examples), sentence_words(examples)
    vocabulary, words = np.unique([word for text in texts for word in text], return_inverse=True)
    gold = [spans_of(tree) for tree in _trees(examples)]
    flat = [(start - first, stop - first) for spans in gold for start, stop in spans]
    return {
        "vocabulary": tuple(vocabulary.tolist()),
        "words": words.astype(np.int32),
        "lengths": np.array([len(text) for text in texts]),
        "gold": np.array(flat, dtype=np.int16).reshape(-1, 2),
        "gold_counts": np.array([len(spans) for spans in gold]),
    }


def entries_of(
    entries: Int[np.ndarray, "entry ..."], counts: Int[np.ndarray, " sentence"], number: int
) -> list[Any]:
    """The entries of one sentence, of an array that holds one sentence after the other.

    Args:
        entries: Those of all sentences, such as words or brackets.
        counts: How many entries each sentence has.
        number: Which sentence.
    """
    start = int(counts[:number].sum())
    return entries[start : start + int(counts[number])].tolist()


def _trees(examples: Examples) -> tuple[object, ...]:
    """The gold trees, which there must be."""
    if not examples.trees:
        raise ValueError("trees: these examples have no gold trees, which say where sentences are")
    return examples.trees
