"""Lines of the two English tasks: a sentence, a marker, and the sentence again, copied or changed.

`my yak does sleep . quest` is followed by `does my yak sleep ?`, and `... . decl` by the sentence
itself. A model is fed SOS, the sentence, `.`, the marker and the copy or change, and predicts each
next token up to EOS. Token ids: 0 is padding; the words in the order of their code points follow
from 1 on, then EOS and SOS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from interp.tasks.language.grammar import (
    CLASSES,
    MAX_CHOICES,
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
    """Sentences, and whether each one is to be changed rather than copied."""

    sentences: Sentences
    is_changed: Bool[np.ndarray, " line"]

    def __len__(self) -> int:
        return len(self.is_changed)

    def at(self, rows: Int[np.ndarray, " row"] | Bool[np.ndarray, " line"] | slice) -> "Lines":
        """The lines with these row numbers, in this order."""
        sentences = Sentences(self.sentences.template[rows], self.sentences.choices[rows])
        return Lines(sentences, self.is_changed[rows])

    def row_keys(self) -> list[bytes]:
        """A key for each line; two lines are equal if and only if their keys are."""
        columns = [self.sentences.template, self.is_changed, self.sentences.choices]
        table = np.column_stack(columns).astype(np.uint8)
        keys, width = table.tobytes(), table.shape[1]
        return [keys[start : start + width] for start in range(0, len(keys), width)]


def joined(parts: Sequence[Lines]) -> Lines:
    """The different lines of several parts, each in the place where it first occurs."""
    sentences = Sentences(
        np.concatenate([part.sentences.template for part in parts]),
        np.concatenate([part.sentences.choices for part in parts]),
    )
    lines = Lines(sentences, np.concatenate([part.is_changed for part in parts]))
    first_rows: dict[bytes, int] = {}
    for row, key in enumerate(lines.row_keys()):
        first_rows.setdefault(key, row)
    return lines.at(np.fromiter(first_rows.values(), dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Language:
    """The words of a task, and how its lines are written.

    Attributes:
        has_auxiliaries: Whether clauses have auxiliaries.
        markers: The word before a copy, and the word before a change.
        ends: The sign at the end of a copy, and at the end of a change.
        source: Forms of the words in sentences.
        changed: Forms of the words in changed sentences.
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
        by_number = [forms[name] for forms in (self.source, self.changed) for name in used]
        words = {word for numbers in by_number for words in numbers for word in words}
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
        """The id of each word by class, number and choice; 0 where there is no such word."""
        table = np.zeros((len(CLASSES) + 1, 2, MAX_CHOICES), dtype=np.int64)
        for code, name in enumerate(CLASSES):
            for number, words in enumerate(forms[name]):
                # In a language without auxiliaries, their words have no ids.
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
            # The main auxiliary comes first; the words before it move back by one.
            order = np.where(slots <= main, (slots - 1) % (main + 1), slots)
            changes = np.take_along_axis(changes, order, axis=1)
        return np.where(lines.is_changed[:, None], changes, copies)

    def flat(self, lines: Lines) -> dict[str, Tensor]:
        """The lines end to end, each from SOS to EOS."""
        lengths = self.grammar.lengths[lines.sentences.template]
        changed = lines.is_changed.astype(int)
        source, target = self.sources(lines.sentences), self.targets(lines)
        marker, end = (
            np.array([self.ids[sign] for sign in signs])[changed]
            for signs in (self.markers, self.ends)
        )
        tokens = np.zeros((len(lines), 2 * MAX_WORDS + 5), dtype=np.int64)
        tokens[:, 0] = self.ids["SOS"]
        for n in np.unique(lengths):
            rows = lengths == n
            tokens[rows, 1 : n + 1] = source[rows, :n]
            tokens[rows, n + 1], tokens[rows, n + 2] = self.ids["."], marker[rows]
            tokens[rows, n + 3 : 2 * n + 3] = target[rows, :n]
            tokens[rows, 2 * n + 3], tokens[rows, 2 * n + 4] = end[rows], self.ids["EOS"]
        return flattened(tokens[tokens > 0], 2 * lengths + 5)

    def texts(self, lines: Lines) -> list[str]:
        """Each line as it stands in the published files: `source . marker<TAB>target .`."""
        flat = self.flat(lines)
        tokens, ends = flat["flat"].tolist(), flat["offsets"].tolist()
        lengths = self.grammar.lengths[lines.sentences.template].tolist()
        texts = []
        for start, stop, n in zip(ends, ends[1:], lengths, strict=False):
            words = [self.vocabulary[token] for token in tokens[start + 1 : stop - 1]]
            texts.append(f"{' '.join(words[: n + 2])}\t{' '.join(words[n + 2 :])}")
        return texts
