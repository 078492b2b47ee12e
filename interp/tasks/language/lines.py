"""Lines of the two English tasks: a sentence, a marker, and the sentence again, copied or changed.

`my yak does sleep . quest` is followed by `does my yak sleep ?`, and `... . decl` by the sentence
itself. A model is fed SOS, the sentence, `.`, the marker and the sentence again, and predicts each
next token up to EOS. Ids: 0 pads, words from 1 in the order of their code points, then EOS, SOS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from interp.tasks.language.grammar import (
    CLASSES,
    MAX_WORDS,
    Forms,
    Grammar,
    Sentences,
    grammar,
    spelled,
)
from interp.tasks.language.packing import flattened


@dataclass(frozen=True, eq=False)
class Lines:
    """Sentences, and whether each is to be changed rather than copied."""

    sentences: Sentences
    is_changed: Bool[np.ndarray, " line"]

    def __len__(self) -> int:
        return len(self.is_changed)

    def at(self, rows: Int[np.ndarray, " row"] | Bool[np.ndarray, " line"] | slice) -> "Lines":
        """The lines of these numbers, in this order."""
        sentences = Sentences(self.sentences.template[rows], self.sentences.choices[rows])
        return Lines(sentences, self.is_changed[rows])

    def row_keys(self) -> list[bytes]:
        """Bytes by line, the same where the lines are."""
        columns = [self.sentences.template, self.is_changed, self.sentences.choices]
        table = np.column_stack(columns).astype(np.uint8)
        whole, width = table.tobytes(), table.shape[1]
        return [whole[start : start + width] for start in range(0, len(whole), width)]


def joined(parts: Sequence[Lines]) -> Lines:
    """Lines one after another, without those that came before."""
    sentences = Sentences(
        np.concatenate([each.sentences.template for each in parts]),
        np.concatenate([each.sentences.choices for each in parts]),
    )
    lines = Lines(sentences, np.concatenate([each.is_changed for each in parts]))
    first: dict[bytes, int] = {}
    for row, key in enumerate(lines.row_keys()):
        first.setdefault(key, row)
    return lines.at(np.fromiter(first.values(), dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Language:
    """The words of a task, and how its lines are written.

    Attributes:
        has_auxiliaries: Whether clauses have auxiliaries.
        markers: What stands between a sentence and its copy, and its change.
        ends: What a copy ends with, and a change.
        source: Forms of the words in sentences.
        changed: Forms of the words in changes.
        fronts: Whether a change moves the main auxiliary to the front.
    """

    has_auxiliaries: bool
    markers: tuple[str, str]
    ends: tuple[str, str]
    source: Forms
    changed: Forms
    fronts: bool

    @property
    def grammar(self) -> Grammar:
        """The templates of the sentences."""
        return grammar(self.has_auxiliaries)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words in the order of their code points; the first has id 1."""
        used = {name for classes in self.grammar.templates for name in classes}
        forms = [self.source, self.changed]
        words = {word for each in forms for name in used for form in each[name] for word in form}
        return tuple(sorted(words | {".", *self.markers, *self.ends}))

    @cached_property
    def ids(self) -> dict[str, int]:
        """Id of each word."""
        return {word: index for index, word in enumerate(self.vocabulary)}

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """What each id stands for."""
        return ("PAD", *self.words, "EOS", "SOS")

    def table(self, forms: Forms) -> Int[np.ndarray, "class number choice"]:
        """Id of each word by class, number and choice; 0 where there is none."""
        table = np.zeros((len(CLASSES) + 1, 2, 26), dtype=np.int64)
        for code, name in enumerate(CLASSES):
            for number, words in enumerate(forms[name]):
                # Without auxiliaries theirs are no words of the language.
                table[code, number, : len(words)] = [self.ids.get(word, 0) for word in words]
        return table

    def sources(self, sentences: Sentences) -> Int[np.ndarray, "line slot"]:
        """Ids of the sentences' words, 0 beyond the last."""
        return spelled(self.grammar, sentences, self.table(self.source))

    def targets(self, lines: Lines) -> Int[np.ndarray, "line slot"]:
        """Ids of the words of each line's copy or change, 0 beyond the last."""
        copies = self.sources(lines.sentences)
        changes = spelled(self.grammar, lines.sentences, self.table(self.changed))
        if self.fronts:
            main = self.grammar.main[lines.sentences.template][:, None]
            slots = np.arange(MAX_WORDS)
            order = np.where(slots <= main, (slots - 1) % (main + 1), slots)
            changes = np.take_along_axis(changes, order, axis=1)
        return np.where(lines.is_changed[:, None], changes, copies)

    def flat(self, lines: Lines) -> dict[str, Tensor]:
        """The lines end to end, each from SOS to EOS."""
        lengths = self.grammar.lengths[lines.sentences.template]
        changed = lines.is_changed.astype(int)
        first, again = self.sources(lines.sentences), self.targets(lines)
        signs = [np.array([self.ids[sign] for sign in pair]) for pair in (self.markers, self.ends)]
        marker, end = (pair[changed] for pair in signs)
        tokens = np.zeros((len(lines), 2 * MAX_WORDS + 5), dtype=np.int64)
        tokens[:, 0] = self.ids["SOS"]
        for n in np.unique(lengths):
            rows = lengths == n
            tokens[rows, 1 : n + 1] = first[rows, :n]
            tokens[rows, n + 1], tokens[rows, n + 2] = self.ids["."], marker[rows]
            tokens[rows, n + 3 : 2 * n + 3] = again[rows, :n]
            tokens[rows, 2 * n + 3], tokens[rows, 2 * n + 4] = end[rows], self.ids["EOS"]
        return flattened(tokens[tokens > 0], 2 * lengths + 5)

    def texts(self, lines: Lines) -> list[str]:
        """Each line as published files have it: `source . marker<TAB>target .`."""
        flat = self.flat(lines)
        tokens, ends = flat["flat"].tolist(), flat["offsets"].tolist()
        lengths = self.grammar.lengths[lines.sentences.template].tolist()
        texts = []
        for start, stop, n in zip(ends, ends[1:], lengths, strict=False):
            words = [self.vocabulary[token] for token in tokens[start + 1 : stop - 1]]
            texts.append(f"{' '.join(words[: n + 2])}\t{' '.join(words[n + 2 :])}")
        return texts
