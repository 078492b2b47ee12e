"""What the two English tasks share: how their lines are written, drawn and read, and their trees.

A line is a sentence, a marker, and the sentence again, copied or changed. `my yak does sleep .
quest` is followed by `does my yak sleep ?`, and `... . decl` by the sentence itself. A model is fed
SOS, the sentence, `.`, the marker and the copy or change, and predicts each next token up to EOS.
Token ids: 0 is padding; the words in code-point order follow from 1 on, then EOS and SOS.

Lines are drawn one after another. A line is discarded if it would settle by which rule a sentence
is changed, or if it was drawn before. The first lines are for training and the next for validation,
as in the published data. A line of a published file is `source<TAB>target`. The classes of its
words determine its template, since no two templates have the same sequence of classes. The parsed
line is then written anew, and is accepted if that gives the same text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooks import Facts, SentenceFacts, Tree
from hooks.circuits.pairs import Pairs
from interp.randomness import generator
from interp.tasks.base import Batch, sampled
from interp.tasks.data_files import text_lines
from interp.tasks.language.base import Flat, LanguageTask, dense, flattened
from interp.tasks.language.english_pairs import NO_SLOT, changed, slots
from interp.tasks.language.grammar import (
    CLASSES,
    HEAD_SLOT,
    MAX_CHOICES,
    MAX_WORDS,
    PREDICATES,
    SUBJECTS,
    Forms,
    Grammar,
    Sentences,
    draw,
    grammar,
    spelled,
)
from interp.tasks.pairing import prompted

CHUNK_LINES = 2**14  # lines drawn at a time; a larger draw begins with the same lines
Weights = tuple[Sequence[float], Sequence[float]]  # of kinds of subject and of predicate


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
        columns = (self.sentences.template, self.is_changed, self.sentences.choices)
        return [row.tobytes() for row in np.column_stack(columns).astype(np.uint8)]


def joined(parts: Sequence[Lines]) -> Lines:
    """The different lines of several parts, each in the place where it first occurs."""
    sentences = Sentences(
        np.concatenate([part.sentences.template for part in parts]),
        np.concatenate([part.sentences.choices for part in parts]),
    )
    lines = Lines(sentences, np.concatenate([part.is_changed for part in parts]))
    first_rows = np.unique(lines.row_keys(), return_index=True)[1]
    return lines.at(np.sort(first_rows))


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
    def vocabulary(self) -> tuple[str, ...]:
        """What each id stands for; the words are in the order of their code points."""
        used = {name for classes in self.grammar.templates for name in classes}
        by_number = [forms[name] for forms in (self.source, self.changed) for name in used]
        words = {word for numbers in by_number for words in numbers for word in words}
        return ("PAD", *sorted(words | {".", *self.markers, *self.ends}), "EOS", "SOS")

    @cached_property
    def ids(self) -> dict[str, int]:
        """Id of each word."""
        return {word: index for index, word in enumerate(self.vocabulary)}

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
            main, slots = self.grammar.main[lines.sentences.template][:, None], np.arange(MAX_WORDS)
            # The main auxiliary comes first; the words before it move back by one.
            order = np.where(slots <= main, (slots - 1) % (main + 1), slots)
            changes = np.take_along_axis(changes, order, axis=1)
        return np.where(lines.is_changed[:, None], changes, copies)

    def flat(self, lines: Lines) -> dict[str, Tensor]:
        """The lines end to end, each from SOS to EOS."""
        lengths = self.grammar.lengths[lines.sentences.template]
        source, target = self.sources(lines.sentences), self.targets(lines)
        marker, end = (
            np.array([self.ids[sign] for sign in signs])[lines.is_changed.astype(int)]
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
        words = [self.vocabulary[token] for token in flat["flat"].tolist()]
        starts, stops = flat["offsets"][:-1].tolist(), flat["offsets"][1:].tolist()
        lengths = self.grammar.lengths[lines.sentences.template].tolist()
        # The target follows SOS, the n words of the sentence, its full stop and the marker.
        return [
            f"{' '.join(words[start + 1 : start + n + 3])}\t"
            f"{' '.join(words[start + n + 3 : stop - 1])}"
            for start, stop, n in zip(starts, stops, lengths, strict=True)
        ]


def read_lines(path: str, language: Language) -> Lines:
    """The lines of a file.

    Raises:
        ValueError: A line is not a line of the language; the message names file and line.
        FileNotFoundError: There is no such file.
    """
    places = {classes: place for place, classes in enumerate(language.grammar.templates)}
    # For each word that a sentence may hold: its class, and its index among the class' words.
    by_word = {
        word: (name, choice)
        for name in CLASSES
        for words in language.source[name]
        for choice, word in enumerate(words)
        if word in language.ids
    }
    texts = text_lines(path)
    template, choices, is_changed = [], np.zeros((len(texts), MAX_WORDS), dtype=np.uint8), []
    for number, text in enumerate(texts):
        where = f"{path}:{number + 1}"
        sentence, marker = _sentence(text, language, where)
        unknown = [word for word in sentence if word not in by_word]
        if unknown:
            raise ValueError(f"{where}: '{unknown[0]}' is no word of a sentence here")
        classes = tuple(by_word[word][0] for word in sentence)
        if classes not in places:
            raise ValueError(f"{where}: no sentence has the word classes {' '.join(classes)}")
        template.append(places[classes])
        choices[number, : len(sentence)] = [by_word[word][1] for word in sentence]
        is_changed.append(marker == language.markers[1])
    lines = Lines(Sentences(np.array(template), choices), np.array(is_changed))
    for number, (text, written) in enumerate(zip(texts, language.texts(lines), strict=True), 1):
        if text != written:
            shown = written.replace("\t", "<TAB>")
            raise ValueError(f"{path}:{number}: this line should be '{shown}'")
    return lines


def _sentence(text: str, language: Language, where: str) -> tuple[Sequence[str], str]:
    """The words of a line's sentence, and its marker."""
    source, tab, _ = text.partition("\t")
    if not tab:
        raise ValueError(f"{where}: not source<TAB>target: there is no tab")
    *sentence, stop, marker = ["", "", *source.split(" ")]
    if stop != "." or marker not in language.markers:
        raise ValueError(
            f"{where}: the source does not end with . {' or . '.join(language.markers)}"
        )
    return sentence[2:], marker


class EnglishTask(LanguageTask):
    """Sentences to be copied, or changed by a rule that the training lines leave ambiguous.

    Attributes:
        language: The words of the task, and how its lines are written.
        chance: The best accuracy without looking.
        roles: What the words of a sentence are called in pairs, by their names in `slots`.
        leaves_kind: Changes after which a line may be of the other kind: the rules differ about it
            and did not, or the reverse.
    """

    language: ClassVar[Language]
    chance: ClassVar[float]
    roles: ClassVar[Mapping[str, str]] = {}
    leaves_kind: ClassVar[frozenset[str]] = frozenset()

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """What each token id stands for: PAD, the words in code-point order, EOS, SOS."""
        return self.language.vocabulary

    @property
    def facts(self) -> Facts:
        """Names that labels and tokens stand for, and `chance`."""
        return Facts(
            chance=self.chance,
            vocabulary=self.vocabulary,
            groups=(SentenceFacts(subjects=SUBJECTS, predicates=PREDICATES),),
        )

    def answered(
        self, logits: Float[Tensor, "batch pos d_vocab_out"], targets: Int[Tensor, "batch pos"]
    ) -> Bool[Tensor, " batch"]:
        """Whether greedy decoding would give all of each line's second half, EOS included. Pure.

        That is so where every next token is the likeliest, given the right tokens before it.
        """
        copy, change = (self.language.ids[marker] for marker in self.language.markers)
        is_marker = ((targets == copy) | (targets == change)).long()
        is_answer = (is_marker.cumsum(-1) - is_marker > 0) & (targets > 0)
        return ~((logits.argmax(-1) != targets) & is_answer).any(-1)

    def weights(self, split: str) -> Weights:
        """The weights with which sentences of a split are drawn."""
        raise NotImplementedError

    def divides_rules(self, sentences: Sentences) -> Bool[np.ndarray, " sentence"]:
        """Whether only one of the two rules is right about each sentence when it is changed."""
        raise NotImplementedError

    def generalizes(self, sentences: Sentences) -> Bool[np.ndarray, " sentence"]:
        """Whether each sentence, drawn with the weights for generalization, is taken for it."""
        return self.divides_rules(sentences)

    def settles(self, lines: Lines) -> Bool[np.ndarray, " line"]:
        """Whether each line is right by only one of the two rules, and so tells them apart."""
        return lines.is_changed & self.divides_rules(lines.sentences)

    def next_lines(self, split: str, rng: np.random.Generator) -> Lines:
        """The next lines of a stream, about half of them changed; none tells the two rules apart.

        In the split `generalization` all lines are changed, and all tell the two rules apart.
        """
        sentences = draw(self.language.grammar, self.weights(split), CHUNK_LINES, rng)
        if split == "generalization":
            rng.random(CHUNK_LINES)  # so that the next sentences are those of earlier versions
            lines = Lines(sentences, np.ones(CHUNK_LINES, dtype=bool))
            return lines.at(self.generalizes(sentences))
        lines = Lines(sentences, rng.random(CHUNK_LINES) < 0.5)
        return lines.at(~self.settles(lines))

    def rivals(self, sentences: Sentences) -> Sentences:
        """Sentences whose answer is the wrong one of control pairs."""
        raise NotImplementedError

    def _paired(self, split: str, count: int | None, seed: int, change: str) -> Pairs:
        """Lines that are to be changed, up to where their main auxiliary or verb is answered.

        A corrupted line is written by the grammar. It is of the split's kind, but for the changes
        that leave it (`leaves_kind`), and is not among the lines of another split.
        """
        lines = self._lines(split, generator(seed, 0))
        lines = lines.at(lines.is_changed)
        fits, sentences = changed(self.language.grammar, lines.sentences, change, seed)
        corrupted = Lines(sentences, lines.is_changed)
        fits &= self._is_of_kind(split, lines)
        if change not in self.leaves_kind:
            fits &= self._is_of_kind(split, corrupted)
        rows = np.flatnonzero(fits)
        rows = rows[~self._is_elsewhere(split, corrupted.at(rows), seed)]
        rows = sampled(torch.from_numpy(rows), count, seed).numpy()
        return self._pairs_of(lines.at(rows), corrupted.at(rows), change)

    def _is_of_kind(self, split: str, lines: Lines) -> Bool[np.ndarray, " line"]:
        if split == "generalization":
            return self.generalizes(lines.sentences)
        return ~self.settles(lines)

    def _is_elsewhere(self, split: str, lines: Lines, seed: int) -> Bool[np.ndarray, " line"]:
        """Whether lines are among those of a split that is trained or validated on, not this."""
        own = "train" if split.startswith("train") else split
        elsewhere: set[bytes] = set()
        if not self.settles(lines).all():
            for name in {"train", "validation"} - {own}:
                elsewhere |= set(self._lines(name, generator(seed, 0)).row_keys())
        return np.array([key in elsewhere for key in lines.row_keys()], dtype=bool)

    def _pairs_of(self, lines: Lines, corrupted: Lines, change: str) -> Pairs:
        control = self.changes[change]
        position = self._answer_positions(lines)
        clean, other = (prompted(self._shown(each), position) for each in (lines, corrupted))
        rival = Lines(self.rivals(lines.sentences), lines.is_changed) if control else corrupted
        right, wrong = (
            dense(self._flat(each), self.widths[-1] - 1)["targets"].gather(1, position[:, None])
            for each in (lines, rival)
        )
        return Pairs(
            clean=clean,
            corrupted=other,
            position=position,
            right=right[:, 0],
            wrong=wrong[:, 0],
            change=change,
            control=control,
            roles=self._positions(lines),
        )

    def _answer_positions(self, lines: Lines) -> Int[Tensor, " line"]:
        """The positions at which models answer with the main auxiliary or verb of the change."""
        template, grammar = lines.sentences.template, self.language.grammar
        answer = 0 if self.language.fronts else grammar.main[template]
        return torch.from_numpy(grammar.lengths[template] + 2 + answer)

    def _positions(self, lines: Lines) -> dict[str, Int[Tensor, " line"]]:
        """Positions by role, of the roles that all lines have."""
        template, found = lines.sentences.template, slots(self.language.grammar)
        words = self.language.grammar.lengths[template]
        by_role = {role: found[name][template] for role, name in self.roles.items()}
        by_role = {role: slot for role, slot in by_role.items() if (slot != NO_SLOT).all()}
        places = {role: slot + 1 for role, slot in by_role.items()}
        places |= {"period": words + 1, self.language.markers[1]: words + 2}
        if not self.language.fronts:
            main = found["main"][template]
            places |= {
                f"copied {role}": words + 3 + slot
                for role, slot in by_role.items()
                if (slot < main).all()
            }
            places["query"] = words + 2 + main
        return {role: torch.from_numpy(place) for role, place in places.items()}

    def _drawn(self, split: str, key: int) -> Lines:
        first = self.train_lines or 0 if split == "validation" else 0
        count = first + (getattr(self, f"{split}_lines") or 0)
        rng = np.random.default_rng((key, int(split == "generalization")))
        parts: list[Lines] = []
        while sum(map(len, parts)) < count:
            parts.append(self.next_lines(split, rng))
            if sum(map(len, parts)) >= count:
                parts = [joined(parts)]
        return parts[0].at(slice(first, count))

    def _read(self, path: str) -> Lines:
        return read_lines(path, self.language)

    def _check_kind(self, split: str, lines: Lines, path: str) -> None:
        must_settle = split == "generalization"
        wrong = np.flatnonzero(self.settles(lines) != must_settle)
        if len(wrong):
            fault = (
                "does not tell the two rules apart, and generalization has only lines that do"
                if must_settle
                else "tells the two rules apart, and only generalization may"
            )
            raise ValueError(f"{path}:{wrong[0] + 1}: this line {fault}: take it out")

    def _flat(self, lines: Lines) -> Flat:
        return self.language.flat(lines)

    def _width(self, lengths: Tensor) -> int:
        return self.widths[-1] - 1  # the longest line of the language

    def _truth(self, lines: Lines, batch: Batch) -> tuple[dict[str, Tensor], tuple[Tree, ...]]:
        sentences, grammar = lines.sentences, self.language.grammar
        facts = {
            "subject": sentences.subject,
            "predicate": sentences.predicate,
            "number": plural_heads(sentences).astype(np.int64),
            "words": grammar.lengths[sentences.template],
            "main": grammar.main[sentences.template] + 1,
            "changed": lines.is_changed,
        }
        labels = {name: torch.from_numpy(values) for name, values in facts.items()}
        return labels, tuple(grammar.trees[template] for template in sentences.template.tolist())


def plural_heads(sentences: Sentences) -> Bool[np.ndarray, " sentence"]:
    """Whether the main subject's noun is plural."""
    return sentences.is_plural(np.full(len(sentences), HEAD_SLOT))
